"""The ask/tell loop: a source gives trials, an engine trains them, the journal records, and a
scheduler says which trial gets the next epochs."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from galaxy_exp.errors import EngineError, SweepFailedError
from galaxy_exp.execution.engine import Engine, EngineEvent, LostWorker, SlotFreed
from galaxy_exp.execution.hang_detection import HangDetector
from galaxy_exp.execution.observers import Observer
from galaxy_exp.execution.orders import OrderDesk, ordered_decision
from galaxy_exp.execution.trials import NewTrial, TrialSource
from galaxy_exp.journal.events import (
    EpochReported,
    Event,
    SweepResumed,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    WorkerLost,
)
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import (
    DATA_GONE,
    DISK_FULL,
    ENCODER_GONE,
    Decision,
    EpochReport,
    TrialResult,
    TrialSpec,
    TrialState,
)
from galaxy_exp.search.proposer import continued_trial, epochs_of
from galaxy_exp.search.schedulers import Scheduler
from galaxy_exp.seeding import derive_seed

__all__ = ["MAX_LOST_WORKERS", "SweepLoop"]

MAX_LOST_WORKERS = 4
"""A trial that has lost this many workers in a row, none of which came further than the one before, is not issued
again; restarts of the driver do not count."""

_TICK_SECONDS = 1.0
"""How often the loop looks for hung workers and free slots while there are no events."""

_SLEEP_SECONDS = 60.0
"""A loop that waited longer than this for an event slept with its machine; `search.max_hours` does not count that."""


@dataclass(eq=False)
class SweepLoop:
    """Runs the trials of one sweep."""

    journal: Journal
    """Open; its record says which trials exist already."""
    source: TrialSource
    """New; the loop replays the recorded trials into it."""
    scheduler: Scheduler
    """Decides after each epoch whether a trial continues, and which paused trial does."""
    engine: Engine
    """Started or not; the caller closes it."""
    make_spec: Callable[[TrialRecord, int], TrialSpec]
    """Returns what a worker needs for an attempt at a trial."""
    observers: Sequence[Observer] = ()
    """Called with each event while no worker waits for an answer, and with all events before the loop ends."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    hang_detector: HangDetector = field(default_factory=HangDetector)
    stopping: Callable[[], bool] = lambda: False
    """Whether to end as soon as the running epochs are done."""
    keep_files: Callable[[TrialResult], None] = lambda _: None
    """Makes the files of the attempt that ended those of its trial; called before the end is journaled."""
    orders: OrderDesk | None = None
    """Takes what people ask of the running sweep; None: nobody can."""
    epochs_known: Callable[[TrialRecord], int] = lambda _: 0
    """How many epochs the checkpoint has that the next attempt at a trial begins with; 0 without one."""
    to_continue: Sequence[int] = ()
    """Ended trials that continue before any new one starts, as far as the budget and checkpoints allow."""

    def __post_init__(self) -> None:
        self._unobserved: deque[Event] = deque()
        self._to_issue: deque[int] = deque()
        self._running: set[int] = set()
        """Trials that a worker has; without those that are not answered because the sweep stops."""
        self._suspended: set[int] = set()
        """Those of `running` that end only because the sweep stops: they leave a checkpoint, and their end is not
        journaled, so that resuming continues them."""
        self._looked_at = -math.inf
        """When the loop last looked for hung workers."""
        self._why_none_is_started = ""
        self._awaits_a_result = False
        self._curves = {
            trial.number: [self._objective_of(report) for report in trial.known]
            for trial in self.journal.record.trials.values()
            if self.source.owns(trial)
        }
        """The objective after each of `TrialRecord.known`, by trial of the source."""

    def run(self) -> str:
        """Runs until there are no more trials; returns why the last one was the last.

        Raises:
            SweepFailedError: too many trials in a row failed, or the scheduler chose a trial that is not paused.
            KeyboardInterrupt: `stopping` returned True, and all running epochs are done.
            EngineError: raised by the engine; or the disk is too full for a trial's files.
        """
        self.source.replay(self._record)
        self._to_issue.extend(trial.number for trial in self._record.running if self.source.owns(trial))
        self._to_issue.extend(self.to_continue)
        while self._fill_slots() or self._running:
            event = self._next_event()
            if event is not None:
                self._handle(event)
            self._take_orders()
        self._notify_all()
        if self.stopping():
            raise KeyboardInterrupt
        return self._why_none_is_started

    @property
    def _record(self) -> SweepRecord:
        return self.journal.record

    def _fill_slots(self) -> bool:
        """Starts a trial in each free slot; returns whether there would be more trials for more slots."""
        while not self.stopping():
            if not self.engine.free_slots():
                return bool(self._running or self._to_issue) or not self._is_over()
            trial = self._start_next()
            if trial is None:
                return False
            self._curves[trial.number] = [self._objective_of(report) for report in trial.known]
            self.engine.submit(self.make_spec(trial, trial.attempt))
            self._running.add(trial.number)
            self.hang_detector.watch(trial.number)
        return False

    def _is_over(self) -> bool:
        """Whether there are no more trials, so that the loop need not wait for a worker."""
        reason = self.source.refusal(self._record, self.clock())
        self._why_none_is_started = reason or self._why_none_is_started
        return reason is not None and self._next_paused(can_start_new=False) is None

    def _start_next(self) -> TrialRecord | None:
        """The trial to train next, after its start was journaled; None if there is none now."""
        while self._to_issue:
            trial = self._record.trials[self._to_issue.popleft()]
            known = self.epochs_known(trial)
            if trial.result is not None and (not known or self._is_spent()):
                continue
            return self._continue(trial, known)
        can_start_new = not self._awaits_a_result and self.source.refusal(self._record, self.clock()) is None
        paused = self._next_paused(can_start_new=can_start_new)
        if paused is None and not self._awaits_a_result:
            found = self.source.next_trial(self._record, self.clock())
            if isinstance(found, NewTrial):
                return self._start_new(found)
            self._why_none_is_started, self._awaits_a_result = found.reason, found.until_a_result
            paused = self._next_paused(can_start_new=False)
        return None if paused is None else self._continue(paused, self.epochs_known(paused))

    def _is_spent(self) -> bool:
        """Whether no ended trial continues."""
        return self._record.is_ordered_to_finish or self.source.exceeded(self._record, self.clock())

    def _continue(self, trial: TrialRecord, from_epoch: int) -> TrialRecord:
        self._write(TrialStarted(number=trial.number, attempt=trial.attempt + 1, from_epoch=from_epoch))
        return trial

    def _paused(self) -> list[TrialRecord]:
        return [trial for trial in self._record.trials.values() if trial.is_paused and self.source.owns(trial)]

    def _next_paused(self, *, can_start_new: bool) -> TrialRecord | None:
        """The paused trial that continues instead of a new one; None if there is none."""
        paused = [trial.number for trial in self._paused() if not (trial.held and can_start_new)]
        if not paused or self._is_spent():
            return None
        if self._record.is_baseline(paused[0]):
            return self._record.trials[0]
        number = self.scheduler.choose(self._curves, paused, can_start_new=can_start_new)
        if number is not None and number not in paused:
            raise SweepFailedError(
                f"search.scheduler {self._record.config.search.scheduler}: choose returned {number!r}; expected None "
                f"or the number of a paused trial: {', '.join(map(str, paused))}"
            )
        return None if number is None else self._record.trials[number]

    def _start_new(self, new: NewTrial) -> TrialRecord:
        number = len(self._record.trials)
        seed = derive_seed(self._record.config.search.seed, "trial", number)
        start = TrialStarted(number=number, attempt=1)
        continued = continued_trial(new.values) if new.is_proposed and new.finalist is None else None
        if continued is not None and (trial := self._record.trials.get(continued[0])) is not None:
            seed = trial.seed  # the same training, even if it has to begin with the first epoch
            if self.epochs_known(trial) == continued[1]:
                start = TrialStarted(number=number, attempt=1, from_epoch=continued[1], continues=trial.number)
        proposed = TrialProposed(
            number=number, values=new.values, seed=seed, predetermined=not new.is_proposed, retrains=new.finalist
        )
        self._write(proposed, start)
        return self._record.trials[number]

    def _next_event(self) -> EngineEvent | None:
        """The next event of the engine; while there is none, the observers get the events that they have not seen."""
        while self._unobserved:
            event = self._poll_engine(0)
            if event is not None:
                return event
            self._notify(self._unobserved.popleft())
        return self._poll_engine(_TICK_SECONDS)

    def _poll_engine(self, timeout_seconds: float) -> EngineEvent | None:
        asked_at = self.clock()
        event = self.engine.next_event(timeout_seconds)
        if (waited := self.clock() - asked_at) > _SLEEP_SECONDS:
            self._write(SweepResumed(asleep_seconds=waited))
        self.hang_detector.note_alive()
        if event is None and time.monotonic() - self._looked_at >= _TICK_SECONDS:
            # a worker counts as silent only after all events that were waiting have been handled
            self._looked_at = time.monotonic()
            for number, reason in self.hang_detector.hung_trials().items():
                self.hang_detector.forget(number)
                self.engine.kill(number, reason)
        return event

    def _handle(self, event: EngineEvent) -> None:
        match event:
            case EpochReport():
                self._decide(event)
            case TrialResult():
                self._end(event)
            case LostWorker():
                self._recover(event)
            case SlotFreed():
                return  # `_fill_slots` uses it

    def _take_orders(self) -> None:
        def why_no_trial() -> str | None:
            return self.source.refusal(self._record, self.clock())

        if self.orders is not None and self.orders.take(self._record, self._write, why_no_trial):
            self._awaits_a_result = False

    def _decide(self, report: EpochReport) -> None:
        known = self._record.precision
        if report.precision and known and report.precision != known:  # it began before the precision was recorded
            self.hang_detector.forget(report.number)
            why = f"training.precision: auto is {report.precision} on its machine; all trials of this sweep use {known}"
            self.engine.kill(report.number, why)
            return
        self._curves[report.number][report.epoch - 1 : report.epoch] = [self._objective_of(report)]
        decision = self._decision(report)
        is_paused = decision is Decision.PAUSE
        self._write(EpochReported(report=report, go_on=decision is Decision.CONTINUE, paused=is_paused))
        if decision is Decision.CONTINUE and self.stopping() and report.epoch < self._epochs_of(report.number):
            if not self._record.config.execution.has_checkpoints:
                self._no_longer_running(report.number)
                return
            self._suspended.add(report.number)
            decision = Decision.PAUSE
        self.engine.answer(report.number, decision)
        self.hang_detector.note_report(report.number)

    def _decision(self, report: EpochReport) -> Decision:
        number = report.number
        trial = self._record.trials[number]
        ordered = ordered_decision(trial, report.epoch, self._record.config.training.epochs)
        if ordered is not Decision.CONTINUE:
            return ordered
        if report.epoch >= self._epochs_of(number):
            return Decision.CONTINUE
        if self.source.exceeded(self._record, self.clock(), epochs_reported=report.epoch - len(trial.known)):
            return Decision.PAUSE
        if report.epoch <= len(trial.answers):  # an epoch that is trained again
            return trial.answers[report.epoch - 1]
        if self._record.is_baseline(number):
            return Decision.CONTINUE
        return self.scheduler.decide(number, self._curves, [each.number for each in self._paused()])

    def _objective_of(self, report: EpochReport) -> float:
        return report.metrics.get(self._record.objective.name, math.nan)

    def _epochs_of(self, number: int) -> int:
        return epochs_of(self._record.trials[number].values, self._record.config.training.epochs)

    def _no_longer_running(self, number: int) -> None:
        self._running.discard(number)
        self.hang_detector.forget(number)

    def _end(self, result: TrialResult) -> None:
        self._no_longer_running(result.number)
        if result.number in self._suspended:
            return
        if result.reason == DISK_FULL:  # not a failure of the trial, which is trained again once there is space
            raise EngineError(f"trial {result.number} cannot write its files: {DISK_FULL}; make some")
        if result.reason.startswith(ENCODER_GONE):  # resuming the sweep copies it again, or raises
            raise EngineError(f"trial {result.number}: {result.reason}")
        if result.reason.startswith(DATA_GONE):  # `make_spec` restores the images, or raises, for the next attempt
            self._recover(LostWorker(result.number, result.attempt, result.reason))
            return
        result = self._without_loss(result)
        self.keep_files(result)
        self._write(TrialEnded(result=result))
        self._awaits_a_result = False
        self.source.tell(self._record, self._record.trials[result.number])
        self._refuse_endless_failure()

    def _recover(self, loss: LostWorker) -> None:
        self._no_longer_running(loss.number)
        self._write(WorkerLost(number=loss.number, attempt=loss.attempt, reason=loss.reason))
        trial = self._record.trials[loss.number]
        if trial.losses_in_a_row < MAX_LOST_WORKERS or self.epochs_known(trial) > trial.from_epoch:
            self._to_issue.appendleft(loss.number)
            return
        reason = f"lost {trial.losses_in_a_row} workers; the last: {loss.reason}"
        self._end(TrialResult(loss.number, loss.attempt, TrialState.LOST, reason))

    def _without_loss(self, result: TrialResult) -> TrialResult:
        """The same end; without a model, that of a trial which had ended before it continued: it keeps what it had."""
        earlier = self._record.last_ends.get(result.number)
        if result.state.has_model or earlier is None or earlier.result is None:
            return result
        why = result.reason if result.state is TrialState.LOST else f"{result.state}: {result.reason}"
        reason = f"{earlier.result.reason}; continued, and {why}"
        return replace(earlier.result, state=TrialState.STOPPED, reason=reason, seconds=result.seconds)

    def _refuse_endless_failure(self) -> None:
        failures = self._record.consecutive_failures()
        if failures < self._record.config.search.max_failures:
            return
        self._notify_all()
        last = self._record.trials[self._record.end_order[-1]]
        reason = last.result.reason if last.result else ""
        raise SweepFailedError(
            f"{failures} trials in a row failed (search.max_failures is {failures}); "
            f"the last, trial {last.number}: {reason}"
        )

    def _write(self, *events: Event) -> None:
        self._unobserved.extend(self.journal.append_all(events))

    def _notify_all(self) -> None:
        while self._unobserved:
            self._notify(self._unobserved.popleft())

    def _notify(self, event: Event) -> None:
        for observer in self.observers:
            observer.on_event(event, self._record)
