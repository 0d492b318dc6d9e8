"""The state of a sweep, as a fold over its journal's events."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from galaxy_exp.config import SweepConfig, parse_sweep
from galaxy_exp.config.differences import changes_workers
from galaxy_exp.config.reading import SweepFile
from galaxy_exp.config.search_section import COSTS
from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import JournalError
from galaxy_exp.journal.events import (
    EpochReported,
    Event,
    FinalistsChosen,
    ModelRegistered,
    ParentRunCreated,
    PromotionDecided,
    SealedTestOpened,
    SweepChanged,
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialRunCreated,
    TrialStarted,
    WinnerChosen,
    WorkerLost,
    WorkersChosen,
)
from galaxy_exp.journal.order import misplaced
from galaxy_exp.records import Constraint, EpochReport, Gain, HyperparameterValue, Objective, TrialResult, TrialState

__all__ = ["SweepRecord", "TrialRecord", "result_value", "violations"]


@dataclass(slots=True)
class TrialRecord:
    """One trial, from its proposal to its end."""

    number: int
    values: dict[str, HyperparameterValue]
    seed: int
    proposed_at: float
    attempt: int = 0
    """0 until a worker got it; then the current execution's number."""
    run_id: str | None = None
    settled: bool = False
    """Whether its values were not proposed but settled beforehand: the baseline, an enqueued configuration."""
    confirms: int | None = None
    """The finalist that it trains again with another seed; None for a trial of the search."""
    run_attempt: int = 0
    """The attempt that `run_id` belongs to."""
    reports: list[EpochReport] = field(default_factory=list)
    """Of the current attempt only."""
    report_times: list[float] = field(default_factory=list)
    started_at: float | None = None
    """When a worker got the current attempt; seconds since 1970."""
    result: TrialResult | None = None
    ended_at: float | None = None
    projected: bool = False
    losses: list[str] = field(default_factory=list)
    """Why earlier attempts lost their worker."""

    @property
    def state(self) -> TrialState:
        return self.result.state if self.result else TrialState.RUNNING

    @property
    def epochs(self) -> int:
        return self.result.epochs if self.result else len(self.reports)

    def curve(self, metric: str) -> list[float]:
        """The values of a metric, one an epoch; epochs that lack it are left out."""
        return [report.metrics[metric] for report in self.reports if metric in report.metrics]

    def objective_value(self, objective: Objective) -> float | None:
        """The objective at the best epoch, or so far for a running trial; None if there is no epoch."""
        if self.result is not None:
            return self.result.metrics.get(objective.name) if self.result.state.has_model else None
        best: float | None = None
        for value in self.curve(objective.name):
            if best is None or objective.is_better(value, best):
                best = value
        return best

    def objective_values(self, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
        """All objectives at the best epoch of a finished trial; None if one of them is not known."""
        if self.result is None or not self.result.state.has_model:
            return None
        values = [result_value(self.result, objective.name) for objective in objectives]
        return tuple(value for value in values if value is not None) if None not in values else None


def result_value(result: TrialResult, name: str) -> float | None:
    """A metric of the best epoch, or what the network costs; None if it was not measured."""
    if name in COSTS:
        return float(getattr(result, name)) or None
    return result.metrics.get(name)


def violations(result: TrialResult, constraints: Sequence[Constraint]) -> tuple[float, ...]:
    """`Constraint.violation` of each constraint on something that was measured."""
    values = ((constraint, result_value(result, constraint.name)) for constraint in constraints)
    return tuple(constraint.violation(value) for constraint, value in values if value is not None)


def _dominates(keys: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the first is nowhere worse and somewhere better."""
    return all(a <= b for a, b in zip(keys, others, strict=True)) and list(keys) != list(others)


@dataclass
class SweepRecord:
    """What a journal says of its sweep. Changed only by `apply`."""

    started: SweepStarted
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    """By number, in the order they were proposed."""
    end_order: list[int] = field(default_factory=list)
    history: list[tuple[Literal["proposed", "ended"], int]] = field(default_factory=list)
    """What a search was asked and told, in order, by number of the trial."""
    precision: str = ""
    """The dtype policy of all trials: that of the first that reported an epoch or ended; empty before."""
    active_seconds: float = 0.0
    """Between events, without the time from a driver's end to the next one's start."""
    tracking_uri: str = ""
    """The MLflow store, without its password: as the sweep began, or as resuming changed it."""
    parent_run_id: str | None = None
    finalists: list[int] | None = None
    """None while the search goes on."""
    why_search_ended: str = ""
    winner: int | None = None
    test_reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    test_set: frozenset[str] = frozenset()
    """The digests by which the ledger (`registry.openings`) knows the held-out test set, once it is open."""
    opening: int = 0
    """Which opening of the test set this sweep's was, from 1; 0 if it is not open, and for sweeps of older releases."""
    gains: dict[str, Gain] = field(default_factory=dict)
    """Of the winner over the baseline on the sealed test, by metric; empty without a baseline and in older sweeps."""
    registered: ModelRegistered | None = None
    promotion: PromotionDecided | None = None
    ended: SweepEnded | None = None
    changed: list[SweepChanged] = field(default_factory=list)
    """What resuming changed, in order."""
    workers_chosen: WorkersChosen | None = None
    """What `execution.workers: auto` came to; None without it, and before it is known."""
    ended_before_resuming: int = 0
    """How many trials had ended when the sweep was last resumed."""
    updated_at: float = 0.0
    """When the sweep last went on; not when MLflow was written to, which `sync` and `doctor` may do days later."""
    _running: dict[int, TrialRecord] = field(default_factory=dict)
    """Proposed and not ended."""
    _ranking: list[tuple[float, int]] = field(default_factory=list, compare=False, repr=False)
    """Key of the objective and number of the trials that may win, the best first, of the first `_n_ranked` that ended.
    """
    _n_ranked: int = field(default=0, compare=False, repr=False)
    _ranking_lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    """Observers may look from another thread."""
    _epochs_ended: int = 0
    """Of trials that ended."""

    def __post_init__(self) -> None:
        self.tracking_uri = self.started.tracking_uri

    @classmethod
    def from_events(cls, events: Iterable[Event], where: Path | str) -> SweepRecord:
        """Folds a journal.

        Raises:
            JournalError: if it does not begin with `sweep_started`, or an event cannot follow those before it.
        """
        iterator: Iterator[Event] = iter(events)
        first = next(iterator, None)
        if not isinstance(first, SweepStarted):
            raise JournalError(f"{where}: the journal does not begin with the start of a sweep")
        record = cls(first, updated_at=first.time)
        for line, event in enumerate(iterator, start=2):
            if (why := misplaced(event, record)) is not None:
                raise JournalError(f"{where}:{line}: {event.event} {why}")
            record.apply(event)
        return record

    @cached_property
    def config(self) -> SweepConfig:
        """What holds now: as the sweep began, or as resuming changed it."""
        latest = self.changed[-1] if self.changed else self.started
        return parse_sweep(latest.config, f"journal of {self.sweep_id}")

    @cached_property
    def config_at_start(self) -> SweepConfig:
        """What held when the sweep began, before resuming changed it."""
        return parse_sweep(self.started.config, f"journal of {self.sweep_id}")

    @property
    def execution(self) -> ExecutionConfig:
        """`config.execution`, with a number of workers in place of `auto` once it is chosen."""
        settings = self.config.execution
        if settings.workers != "auto" or self.workers_chosen is None:
            return settings
        return settings.model_copy(update={"workers": self.workers_chosen.workers})

    @property
    def sweep_file(self) -> SweepFile | None:
        """Where `config` came from, if from a file."""
        return (self.changed[-1] if self.changed else self.started).sweep_file

    @property
    def sweep_id(self) -> str:
        return self.started.sweep_id

    @property
    def simulated(self) -> bool:
        """Whether the images are simulated galaxies, wherever they came from: no score says anything of real ones."""
        return self.started.simulated

    @property
    def winning_trial(self) -> TrialRecord | None:
        """The trial whose model was chosen; None as long as none is."""
        return None if self.winner is None else self.trials[self.winner]

    @property
    def winner_test(self) -> dict[str, Any] | None:
        """The winner's report on the sealed test, as `TestReport.to_dict()`; None before there is one."""
        return None if self.winner is None else self.test_reports.get(self.winner)

    @property
    def baseline_test(self) -> dict[str, Any] | None:
        """The baseline's; None also if it is the winner, or the sweep has no baseline."""
        if self.winner in (None, 0) or not self.config.search.baseline:
            return None
        return self.test_reports.get(0)

    @cached_property
    def objective(self) -> Objective:
        return self.config.search.objective_record

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return self.config.search.objectives

    @property
    def settled(self) -> list[dict[str, HyperparameterValue]]:
        """The configurations that the first trials get: the baseline, if there is one, and what was enqueued."""
        baseline = [self.started.baseline] if self.config.search.baseline else []
        return [*baseline, *self.started.enqueued]

    @property
    def searched(self) -> list[TrialRecord]:
        """The trials of the search, by number; without those that train a finalist again."""
        return [trial for trial in list(self.trials.values()) if trial.confirms is None]

    def confirmations(self, finalist: int) -> list[TrialRecord]:
        """The trials with a model that trained a finalist again."""
        again = (trial for trial in list(self.trials.values()) if trial.confirms == finalist)
        return [trial for trial in again if trial.objective_value(self.objective) is not None]

    @property
    def running(self) -> list[TrialRecord]:
        """Proposed and not ended, by number."""
        return list(self._running.values())

    def leaderboard(self, first: int | None = None) -> list[TrialRecord]:
        """Finished trials of the search that may win, the best first; ties go to the earlier trial.

        A trial without a model may not, nor the baseline if it breaks a constraint.

        Args:
            first: so many of them at most; None: all.
        """
        with self._ranking_lock:
            for number in self.end_order[self._n_ranked :]:
                self._rank(self.trials[number])
                self._n_ranked += 1
            return [self.trials[number] for _, number in self._ranking[:first]]

    def _rank(self, trial: TrialRecord) -> None:
        value = self.score(trial)
        if trial.confirms is None and value is not None:
            insort(self._ranking, (self.objective.sort_key(value), trial.number))

    def score(self, trial: TrialRecord) -> float | None:
        """The objective of a finished trial that may win; None for others, as a baseline that breaks a constraint."""
        if trial.result is None:
            return None
        if any(violation > 0 for violation in violations(trial.result, self.config.search.constraint_records)):
            return None
        return trial.objective_value(self.objective)

    @property
    def epochs(self) -> int:
        """Epochs of all trials; those that a dead worker took with it are not counted."""
        return self._epochs_ended + sum(trial.epochs for trial in self.running)

    def pareto_front(self) -> list[TrialRecord]:
        """Finished trials that no other beats in one objective without losing in another; best first in the first."""
        scored = [(trial, trial.objective_values(self.objectives)) for trial in self.leaderboard()]
        known = [
            (trial, [o.sort_key(v) for o, v in zip(self.objectives, values, strict=True)])
            for trial, values in scored
            if values is not None
        ]
        return [trial for trial, keys in known if not any(_dominates(other, keys) for _, other in known)]

    def consecutive_failures(self) -> int:
        """How many of the latest trials to end failed or were lost, in a row, since the sweep was last resumed.

        Those that break a constraint neither count nor end the row.
        """
        count = 0
        for position in range(len(self.end_order) - 1, self.ended_before_resuming - 1, -1):
            state = self.trials[self.end_order[position]].state
            if state.has_model:
                break
            count += state is not TrialState.INFEASIBLE
        return count

    def apply(self, event: Event) -> None:
        """Takes one event into account; KeyError if it names a trial never proposed."""
        if not isinstance(event, ParentRunCreated | TrialRunCreated | TrialProjected | ModelRegistered):
            if not isinstance(event, SweepResumed | SweepChanged):  # the time before these nobody worked
                self.active_seconds += max(0.0, event.time - self.updated_at)
            self.updated_at = event.time
        match event:
            case TrialProposed():
                self.trials[event.number] = self._running[event.number] = TrialRecord(
                    event.number, event.values, event.seed, event.time, settled=event.settled, confirms=event.confirms
                )
                self.history.append(("proposed", event.number))
            case TrialStarted():
                trial = self.trials[event.number]
                trial.attempt, trial.started_at = event.attempt, event.time
                trial.reports, trial.report_times = [], []
            case EpochReported():
                self.precision = self.precision or event.report.precision
                self.trials[event.report.number].reports.append(event.report)
                self.trials[event.report.number].report_times.append(event.time)
            case WorkerLost():
                self.trials[event.number].losses.append(event.reason)
            case TrialEnded():
                self._end(self.trials[event.result.number], event.result, event.time)
            case TrialRunCreated():
                trial = self.trials[event.number]
                trial.run_id, trial.run_attempt = event.run_id, event.attempt
            case TrialProjected():
                self.trials[event.number].projected = True
            case _:
                self._apply_to_sweep(event)

    def _take_store(self, uri: str) -> None:
        """Another MLflow store, which has no run and no version yet."""
        self.tracking_uri = uri
        self.parent_run_id = self.registered = self.promotion = None
        for trial in self.trials.values():
            trial.run_id, trial.run_attempt, trial.projected = None, 0, False

    def _end(self, trial: TrialRecord, result: TrialResult, time: float) -> None:
        self.precision = self.precision or result.precision
        trial.ended_at, trial.result = time, result  # in this order for observers in another thread
        self.end_order.append(trial.number)
        self.history.append(("ended", trial.number))
        self._running.pop(trial.number, None)
        self._epochs_ended += trial.epochs

    def _apply_to_sweep(self, event: Event) -> None:
        match event:
            case ParentRunCreated():
                self.parent_run_id = event.run_id
            case FinalistsChosen():
                self.finalists, self.why_search_ended = event.numbers, event.reason
            case WinnerChosen():
                self.winner = event.number
            case SealedTestOpened():
                self.test_reports[event.number] = event.report
                self.test_set |= {str(event.report.get("digest", "")), event.test_images} - {""}
                self.opening = max(self.opening, event.opening)
                self.gains |= {metric: Gain.of_difference(metric, *ends) for metric, ends in event.gains.items()}
            case ModelRegistered():
                self.registered = event
            case PromotionDecided():
                self.promotion = event
                self.opening = max(self.opening, event.opening)
            case SweepEnded():
                self.ended = event
            case SweepChanged():
                self.changed.append(event)
                if changes_workers(event.changes):
                    self.workers_chosen = None
                self.__dict__.pop("config", None)  # the cached one
                if event.tracking_uri:
                    self._take_store(event.tracking_uri)
                if event.reopens_search:
                    self.finalists, self.why_search_ended = None, ""
            case WorkersChosen():
                self.workers_chosen = event
            case SweepResumed():
                self.ended, self.ended_before_resuming = None, len(self.end_order)
            case _:
                raise TypeError(f"no rule for {type(event).__name__}")
