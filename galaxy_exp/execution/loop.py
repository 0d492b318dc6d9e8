"""The single-threaded ask/tell loop: a source gives trials, an engine trains, the journal remembers, a pruner stops."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from galaxy_exp.errors import EngineError, SweepFailedError
from galaxy_exp.execution.curves import Curves
from galaxy_exp.execution.engine import Engine, EngineEvent, LostWorker
from galaxy_exp.execution.pace import Pace
from galaxy_exp.execution.sources import NewTrial, NoTrial, TrialSource
from galaxy_exp.journal.events import EpochReported, Event, TrialEnded, TrialProposed, TrialStarted, WorkerLost
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import DATA_GONE, DISK_FULL, EpochReport, TrialResult, TrialSpec, TrialState
from galaxy_exp.search.proposer import epochs_of
from galaxy_exp.search.pruners import Pruner
from galaxy_exp.seeding import derive_seed

__all__ = ["MAX_LOST_WORKERS", "Observer", "SweepLoop"]

MAX_LOST_WORKERS = 4
"""A trial whose worker died is issued again at most three times; driver restarts do not count."""

_TICK_SECONDS = 1.0
"""How often the loop looks around when no worker says anything."""


class Observer(Protocol):
    """Somebody who follows a sweep; called after the event is in the journal, never twice for one event."""

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """One event; `record` already includes it, and possibly later ones."""
        ...


class SweepLoop:
    """Runs the trials of one sweep to its end.

    Args:
        journal: open; its record says where the sweep stands, nothing at first.
        source: fresh; what the journal has of it is replayed into it.
        pruner: decides on each epoch's report.
        engine: started or not; the caller closes it.
        make_spec: what a worker needs for the next attempt at a trial.
        observers: told of each event when no worker is waiting for an answer; of all of them before the loop ends.
        clock: seconds since 1970.
        pace: finds hung workers.
        settle_files: makes the files of the attempt that ended those of its trial; called before the end is journaled.
        stopping: whether to end as soon as the running epochs are done.
    """

    def __init__(
        self,
        journal: Journal,
        source: TrialSource,
        pruner: Pruner,
        engine: Engine,
        make_spec: Callable[[TrialRecord, int], TrialSpec],
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
        stopping: Callable[[], bool] = lambda: False,
        settle_files: Callable[[TrialResult], None] = lambda _: None,
    ) -> None:
        self._journal = journal
        self._source = source
        self._pruner = pruner
        self._engine = engine
        self._make_spec = make_spec
        self._observers = observers
        self._clock = clock
        self._pace = pace or Pace()
        self._stopping = stopping
        self._settle_files = settle_files
        self._unseen: deque[Event] = deque()
        self._to_issue: deque[int] = deque()
        self._at_work: set[int] = set()
        """Trials that a worker has and that are neither ended nor waiting for an answer they will not get."""
        self._looked_at = -math.inf
        """When hung workers were last looked for."""
        self._why_none_is_started = ""
        self._awaits_a_result = False
        self._curves = Curves(journal.record)

    def run(self) -> str:
        """Goes on until no trial is left to run; returns why it ended.

        Raises:
            SweepFailedError: when too many trials in a row failed.
            KeyboardInterrupt: it was to stop, and all running epochs are done.
            EngineError: as the engine's; or there is no disk left for a trial's files.
        """
        self._source.replay(self._record)
        self._to_issue.extend(trial.number for trial in self._record.running if self._source.owns(trial))
        while self._fill_slots() or self._at_work:
            event = self._next_event()
            if event is not None:
                self._handle(event)
        self._show_all()
        if self._stopping():
            raise KeyboardInterrupt
        return self._why_none_is_started

    @property
    def _record(self) -> SweepRecord:
        return self._journal.record

    def _fill_slots(self) -> bool:
        """Starts as many trials as there are slots; returns whether more might be started with more slots."""
        while not self._stopping():
            if not self._engine.free_slots():
                return bool(self._at_work or self._to_issue) or not self._is_over()
            trial = self._start_next()
            if trial is None:
                return False
            self._curves.begin(trial.number)
            self._engine.submit(self._make_spec(trial, trial.attempt))
            self._at_work.add(trial.number)
            self._pace.begin(trial.number)
        return False

    def _is_over(self) -> bool:
        """Whether no trial is left, so that no worker need be waited for."""
        reason = self._source.refusal(self._record, self._clock())
        self._why_none_is_started = reason or self._why_none_is_started
        return reason is not None

    def _start_next(self) -> TrialRecord | None:
        """The trial to train now, with its start journaled; None if there is none at present."""
        if self._to_issue:
            trial = self._record.trials[self._to_issue.popleft()]
            self._write(TrialStarted(number=trial.number, attempt=trial.attempt + 1))
            return trial
        if self._awaits_a_result:
            return None
        found = self._source.next_trial(self._record, self._clock())
        if isinstance(found, NoTrial):
            self._why_none_is_started, self._awaits_a_result = found.reason, found.until_a_result
            return None
        return self._enter(found)

    def _enter(self, new: NewTrial) -> TrialRecord:
        number = len(self._record.trials)
        seed = derive_seed(self._record.config.search.seed, "trial", number)
        self._write(
            TrialProposed(
                number=number, values=new.values, seed=seed, predetermined=new.settled, retrains=new.confirms
            ),
            TrialStarted(number=number, attempt=1),
        )
        return self._record.trials[number]

    def _next_event(self) -> EngineEvent | None:
        """The next engine event; while there is none, the observers hear what they missed."""
        while self._unseen:
            event = self._poll_engine(0)
            if event is not None:
                return event
            self._show(self._unseen.popleft())
        return self._poll_engine(_TICK_SECONDS)

    def _poll_engine(self, timeout_seconds: float) -> EngineEvent | None:
        event = self._engine.next_event(timeout_seconds)
        if event is None and time.monotonic() - self._looked_at >= _TICK_SECONDS:
            # only now is a silent worker one that has said nothing
            self._looked_at = time.monotonic()
            for number, reason in self._pace.overdue().items():
                self._pace.forget(number)
                self._engine.kill(number, reason)
        return event

    def _handle(self, event: EngineEvent) -> None:
        match event:
            case EpochReport():
                self._decide(event)
            case TrialResult():
                self._end(event)
            case LostWorker():
                self._recover(event)

    def _decide(self, report: EpochReport) -> None:
        known = self._record.precision
        if report.precision and known and report.precision != known:  # both began before either was known
            self._pace.forget(report.number)
            why = f"training.precision: auto is {report.precision} on its machine; all trials of this sweep use {known}"
            self._engine.kill(report.number, why)
            return
        go_on = not self._source.exceeded(self._record, self._clock()) and not self._should_stop(report)
        self._write(EpochReported(report=report, go_on=go_on))
        if (objective := self._record.objective.name) in report.metrics:
            self._curves.add(report.number, report.metrics[objective])
        if go_on and self._stopping() and report.epoch < self._epochs_of(report.number):
            self._take_from_work(report.number)
            return
        self._engine.answer(report.number, go_on)
        self._pace.hear(report.number)

    def _should_stop(self, report: EpochReport) -> bool:
        search = self._record.config.search
        if (search.baseline and report.number == 0) or not self._pruner.is_rung(report.number, report.epoch):
            return False
        curve = [*self._curves[report.number], report.metrics[self._record.objective.name]]
        return self._pruner.should_stop(report.number, curve, self._curves.without(report.number))

    def _epochs_of(self, number: int) -> int:
        return epochs_of(self._record.trials[number].values, self._record.config.training.epochs)

    def _take_from_work(self, number: int) -> None:
        self._at_work.discard(number)
        self._pace.forget(number)

    def _end(self, result: TrialResult) -> None:
        self._take_from_work(result.number)
        self._settle_files(result)
        if result.reason == DISK_FULL:  # says nothing of the trial, which is trained again once there is space
            raise EngineError(f"trial {result.number} cannot write its files: {DISK_FULL}; make some")
        if result.reason.startswith(DATA_GONE):  # the next attempt's specification restores them, or says why not
            self._recover(LostWorker(result.number, result.attempt, result.reason))
            return
        self._write(TrialEnded(result=result))
        self._awaits_a_result = False
        self._source.tell(self._record, self._record.trials[result.number])
        self._refuse_endless_failure()

    def _recover(self, loss: LostWorker) -> None:
        self._take_from_work(loss.number)
        self._write(WorkerLost(number=loss.number, attempt=loss.attempt, reason=loss.reason))
        n_lost = len(self._record.trials[loss.number].losses)
        if n_lost < MAX_LOST_WORKERS:
            self._to_issue.appendleft(loss.number)
            return
        reason = f"lost {n_lost} workers; the last: {loss.reason}"
        self._end(TrialResult(loss.number, loss.attempt, TrialState.LOST, reason))

    def _refuse_endless_failure(self) -> None:
        failures = self._record.consecutive_failures()
        if failures < self._record.config.search.max_failures:
            return
        self._show_all()
        last = self._record.trials[self._record.end_order[-1]]
        reason = last.result.reason if last.result else ""
        raise SweepFailedError(
            f"{failures} trials in a row failed (search.max_failures is {failures}); "
            f"the last, trial {last.number}: {reason}"
        )

    def _write(self, *events: Event) -> None:
        self._unseen.extend(self._journal.append_all(events))

    def _show_all(self) -> None:
        while self._unseen:
            self._show(self._unseen.popleft())

    def _show(self, event: Event) -> None:
        for observer in self._observers:
            observer.on_event(event, self._record)
