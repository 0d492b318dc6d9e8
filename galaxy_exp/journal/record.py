"""The state of a sweep and of its trials, as recorded in its journal; `journal.replay` alone changes it."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import pairwise, takewhile
from statistics import fmean
from typing import Any

from galaxy_exp.config import SweepConfig, parse_sweep
from galaxy_exp.config.reading import SweepFile
from galaxy_exp.config.search_section import COSTS
from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.journal.events import (
    ModelRegistered,
    OrderTaken,
    PromotionDecided,
    SweepChanged,
    SweepEnded,
    SweepStarted,
    WorkersChosen,
)
from galaxy_exp.records import (
    Constraint,
    Decision,
    EpochReport,
    Gain,
    HyperparameterValue,
    Objective,
    TrialResult,
    TrialState,
)
from galaxy_exp.wording import count

__all__ = ["HistoryStep", "Step", "SweepRecord", "TrialRecord", "result_value", "violations"]


class Step(StrEnum):
    """What a search learns of a trial."""

    PROPOSED = "proposed"
    ENDED = "ended"
    """Again each time that a trial which had ended has continued."""


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """A proposal or an end, as it was then: the trial may have continued since."""

    step: Step
    number: int
    """Of the trial."""
    result: TrialResult | None = None
    """At an end."""
    reports: tuple[EpochReport, ...] = ()
    """At an end: all epochs up to it."""
    report_times: tuple[float, ...] = ()


@dataclass(slots=True, repr=False)
class TrialRecord:
    """One trial, from its proposal to its end. Times are in seconds since 1970."""

    number: int
    values: dict[str, HyperparameterValue]
    seed: int
    proposed_at: float
    attempt: int = 0
    """The current attempt; 0 before a worker got the trial."""
    from_epoch: int = 0
    """The epochs of the checkpoint that the current attempt began with."""
    run_id: str | None = None
    """Its run in MLflow."""
    predetermined: bool = False
    """Whether the sweep file or an order, not the sampler, chose its values: the baseline, or an enqueued one."""
    retrains: int | None = None
    """The finalist that it trains again with another seed; None for a trial of the search."""
    run_attempt: int = 0
    """The latest attempt that `run_id` belongs to."""
    revision: int = 0
    """How often epochs that were reported no longer counted, or the trial began anew."""
    run_revision: int = 0
    """The `revision` whose epochs `run_id` has: with another one it has epochs that do not count."""
    reports: list[EpochReport] = field(default_factory=list)
    """Of the current attempt, and before them those of the epochs that its checkpoint has; the first of these may be
    of another trial, which it continues."""
    report_times: list[float] = field(default_factory=list)
    decision: Decision = Decision.CONTINUE
    """The answer to the last report of the current attempt."""
    known: list[EpochReport] = field(default_factory=list)
    """The newest report of each epoch, also of those that an attempt without a checkpoint has not trained again yet:
    what the scheduler compares does not depend on lost workers and checkpoints."""
    answers: list[Decision] = field(default_factory=list)
    """The decision after each of `known`; CONTINUE where a paused trial has continued since."""
    started_at: float | None = None
    """When a worker got the current attempt."""
    result: TrialResult | None = None
    ended_at: float | None = None
    seconds_before: float = 0.0
    """Of the attempts that ended before the current one."""
    projected: bool = False
    """Whether MLflow has everything about the ended trial."""
    losses: list[str] = field(default_factory=list)
    """Why earlier attempts lost their worker."""
    losses_in_a_row: int = 0
    """Of these the latest, since an attempt last began with a later epoch than the one before."""
    ordered: Decision = Decision.CONTINUE
    """PAUSE or STOP if an order ends it early."""
    ends_after: int = 0
    """The epoch after which it ends by order; the one it was in when the order was taken."""
    held: bool = False
    """Whether an order paused it, so that it continues only when no new trial may start."""
    is_interrupted: bool = False
    """Whether it has not ended and no process works on its sweep; set for readers."""

    def __repr__(self) -> str:
        return (
            f"TrialRecord(number={self.number}, {self.state_name}, {count(self.epochs, 'epoch')}, values={self.values})"
        )

    @property
    def state(self) -> TrialState:
        return self.result.state if self.result else TrialState.RUNNING

    @property
    def seconds(self) -> float:
        """Wall time in workers until it last ended, without that of attempts that were lost."""
        return self.seconds_before + (self.result.seconds if self.result else 0.0)

    @property
    def epoch_seconds(self) -> float | None:
        """Mean wall time of training an epoch; None for a trial that has trained none.

        The first epoch of each attempt, which also traces and compiles, is left out. If there is no other, it is the
        mean over all epochs, validation included.
        """
        later = [
            report.metrics["epoch_seconds"]
            for before, report in pairwise(self.reports)
            if (before.number, before.attempt) == (report.number, report.attempt) and "epoch_seconds" in report.metrics
        ]
        if later:
            return fmean(later)
        return self.result.training_seconds / self.result.epochs if self.result and self.result.epochs else None

    @property
    def is_paused(self) -> bool:
        """Whether it has ended for now, and may continue."""
        return self.state is TrialState.STOPPED and self.decision is Decision.PAUSE

    @property
    def state_name(self) -> str:
        """The state as people see it: `paused` if it was stopped and may continue, `interrupted` if none trains it."""
        if self.is_interrupted:
            return "interrupted"
        return "paused" if self.is_paused else str(self.state)

    @property
    def epochs(self) -> int:
        return self.result.epochs if self.result else len(self.reports)

    def end_by_order(self, decision: Decision) -> None:
        """It ends after the epoch that is being trained; if it is paused, it stays so, or never continues.

        While the worker that was answered PAUSE still saves, the trial counts as paused.
        """
        self.held = decision is Decision.PAUSE
        if self.result is not None:
            self.decision = decision
        elif self.decision is Decision.CONTINUE:
            self.ordered, self.ends_after = decision, len(self.reports) + 1
        elif decision is Decision.STOP:
            self.decision = self.answers[-1] = decision

    def ordered_at(self, epoch: int) -> Decision:
        """What an order answers to the report of an epoch; CONTINUE without one."""
        return self.ordered if epoch >= self.ends_after else Decision.CONTINUE

    @property
    def own_epochs(self) -> int:
        """`epochs` without those of another trial that it continues, and with those that a running trial repeats."""
        taken_over = takewhile(lambda report: report.number != self.number, self.reports)
        epochs = self.epochs if self.result else max(len(self.reports), len(self.known))
        return max(0, epochs - sum(1 for _ in taken_over))

    def take_report(self, report: EpochReport, decision: Decision, time: float) -> None:
        """Adds the report of an epoch and its answer; it replaces what was known of this epoch and later ones."""
        self.revision += report.epoch <= len(self.reports)
        del self.reports[report.epoch - 1 :], self.report_times[report.epoch - 1 :]
        self.reports.append(report)
        self.report_times.append(time)
        position = slice(report.epoch - 1, report.epoch)
        self.known[position], self.answers[position] = [report], [decision]
        self.decision = decision

    def curve(self, metric: str) -> list[float]:
        """The values of a metric, one per epoch; epochs that lack it are left out."""
        return [report.metrics[metric] for report in self.reports if metric in report.metrics]

    def objective_value(self, objective: Objective) -> float | None:
        """The objective at the best epoch, or so far for a running trial; None if there is no epoch."""
        if self.result is not None:
            return self.result.metrics.get(objective.name) if self.result.state.has_model else None
        return min(self.curve(objective.name), key=objective.sort_key, default=None)

    def objective_values(self, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
        """All objectives at the best epoch of a finished trial; None if one of them is not known."""
        if self.result is None or not self.result.state.has_model:
            return None
        values = [result_value(self.result, objective.name) for objective in objectives]
        return tuple(value for value in values if value is not None) if None not in values else None


def result_value(result: TrialResult, name: str) -> float | None:
    """A metric of the best epoch, or one of the network's costs; None if it was not measured."""
    if name in COSTS:
        return float(getattr(result, name)) or None
    return result.metrics.get(name)


def violations(result: TrialResult, constraints: Sequence[Constraint]) -> tuple[float, ...]:
    """`Constraint.violation` of each constraint on something that was measured."""
    values = ((constraint, result_value(result, constraint.name)) for constraint in constraints)
    return tuple(constraint.violation(value) for constraint, value in values if value is not None)


@dataclass(repr=False)
class SweepRecord:
    """The state of a sweep. Observers may read it from another thread."""

    started: SweepStarted
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    """By number, in the order of their proposal."""
    unfinished: dict[int, TrialRecord] = field(default_factory=dict)
    """Those of `trials` that have not ended."""
    end_order: list[int] = field(default_factory=list)
    """Numbers of the trials that have ended."""
    history: list[HistoryStep] = field(default_factory=list)
    """Proposals and ends in their order."""
    last_ends: dict[int, HistoryStep] = field(default_factory=dict, compare=False, repr=False)
    """Of `history`, how each trial ended the last time."""
    precision: str = ""
    """The dtype policy of all trials: that of the first one that reported an epoch or ended; empty before."""
    active_seconds: float = 0.0
    """Time in which a process worked on the sweep."""
    tracking_uri: str = ""
    """The MLflow store, without its password: as the sweep began, or as resuming changed it."""
    parent_run_id: str | None = None
    experiment_id: str | None = None
    """Of the parent run in MLflow; None in journals of earlier releases."""
    finalists: list[int] | None = None
    """None while the search continues."""
    why_search_ended: str = ""
    winner: int | None = None
    test_reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    """`TestReport.to_dict()` by number of the trial."""
    test_set: frozenset[str] = frozenset()
    """The digests by which the ledger (`registry.held_out`) knows the held-out test set; empty before it is opened."""
    opening: int = 0
    """Number of this opening of the test set, from 1; 0 if it is not opened, and for sweeps of older releases."""
    gains: dict[str, Gain] = field(default_factory=dict)
    """Of the winner over the baseline on the test set, by metric; empty without a baseline and in older sweeps."""
    registered: ModelRegistered | None = None
    promotion: PromotionDecided | None = None
    ended: SweepEnded | None = None
    changed: list[SweepChanged] = field(default_factory=list)
    """What resuming and orders changed, in order."""
    orders: list[OrderTaken] = field(default_factory=list)
    """What was asked for while it ran, in order, with the answers."""
    enqueued_by_order: list[dict[str, HyperparameterValue]] = field(default_factory=list)
    """Configurations to try, each as the next trial; those that have begun included."""
    is_ordered_to_finish: bool = False
    """Whether an order ended the search; until resuming changes a limit."""
    workers_chosen: WorkersChosen | None = None
    """The result of `execution.workers: auto`; None without it, and before it is known."""
    ended_before_resuming: int = 0
    """How many trials had ended when the sweep was last resumed."""
    updated_at: float = 0.0
    """Time of the last event of the sweep itself; writing to MLflow, perhaps days later, does not count."""
    finished_epochs: int = 0
    """Epochs of the trials that have ended."""
    _ranking: list[tuple[float, int]] = field(default_factory=list, compare=False, repr=False)
    """The leaderboard, as sort key and number, of the first `_n_ranked` trials that ended."""
    _n_ranked: int = field(default=0, compare=False, repr=False)
    _ranking_lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def __repr__(self) -> str:
        return f"SweepRecord({self.sweep_id!r}, {count(len(self.trials), 'trial')})"

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copies: all but the lock."""
        return {name: value for name, value in vars(self).items() if name != "_ranking_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _ranking_lock=threading.Lock())

    def __post_init__(self) -> None:
        self.tracking_uri = self.started.tracking_uri

    @property
    def sweep_id(self) -> str:
        return self.started.sweep_id

    @property
    def simulated(self) -> bool:
        """Whether the images are simulated galaxies, so that no score says anything about real ones."""
        return self.started.simulated

    # configuration

    @cached_property
    def config(self) -> SweepConfig:
        """The current configuration: as the sweep began, or as resuming or an order changed it."""
        latest = self.changed[-1] if self.changed else self.started
        return parse_sweep(latest.config, f"journal of {self.sweep_id}")

    @cached_property
    def config_at_start(self) -> SweepConfig:
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
        """The file that `config` came from, if any."""
        return (self.changed[-1] if self.changed else self.started).sweep_file

    @cached_property
    def objective(self) -> Objective:
        return self.config.search.objective_record

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return self.config.search.objectives

    @property
    def has_baseline(self) -> bool:
        """Whether trial 0 is the baseline."""
        return self.config.search.baseline

    def is_baseline(self, number: int | None) -> bool:
        """Whether this is the number of the baseline; None, of no trial, is not."""
        return number == 0 and self.has_baseline

    @property
    def predetermined(self) -> list[dict[str, HyperparameterValue]]:
        """Configurations that were not proposed: the baseline, if any, and those that were enqueued, also by order."""
        baseline = [self.started.baseline] if self.has_baseline else []
        return [*baseline, *self.started.enqueued, *self.enqueued_by_order]

    @property
    def waiting(self) -> list[dict[str, HyperparameterValue]]:
        """Those of `predetermined` that have not begun; they are the next trials."""
        n_begun = sum(trial.predetermined for trial in list(self.trials.values()))
        return self.predetermined[n_begun:]

    # trials

    @property
    def running(self) -> list[TrialRecord]:
        """Trials that have not ended, by number."""
        return sorted(self.unfinished.values(), key=lambda trial: trial.number)

    @property
    def searched(self) -> list[TrialRecord]:
        """The trials of the search, by number; without those that train a finalist again."""
        return [trial for trial in list(self.trials.values()) if trial.retrains is None]

    def changes_from_baseline(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a trial's values that differ from the baseline's."""
        baseline = self.started.baseline
        return {name: value for name, value in values.items() if baseline.get(name) != value}

    def retrainings(self, finalist: int) -> list[TrialRecord]:
        """The trials with a model that trained a finalist again."""
        again = (trial for trial in list(self.trials.values()) if trial.retrains == finalist)
        return [trial for trial in again if trial.objective_value(self.objective) is not None]

    @property
    def epochs(self) -> int:
        """Epochs of all trials; those that were trained again after a worker was lost count once."""
        return self.finished_epochs + sum(trial.own_epochs for trial in self.running)

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

    def reopen(self, trial: TrialRecord) -> None:
        """A trial that had ended continues: it counts as running again."""
        with self._ranking_lock:
            position = self.end_order.index(trial.number)
            if position < self._n_ranked:
                self._n_ranked -= 1
                self._ranking = [entry for entry in self._ranking if entry[1] != trial.number]
            del self.end_order[position]
            if position < self.ended_before_resuming:
                self.ended_before_resuming -= 1
        self.finished_epochs -= trial.own_epochs
        trial.seconds_before += trial.result.seconds if trial.result else 0.0
        trial.result, trial.ended_at, trial.projected = None, None, False
        self.unfinished[trial.number] = trial

    # ranking

    def score(self, trial: TrialRecord) -> float | None:
        """The objective of a finished trial that may win; None for others, as a baseline that breaks a constraint."""
        if trial.result is None:
            return None
        if any(violation > 0 for violation in violations(trial.result, self.config.search.constraint_records)):
            return None
        return trial.objective_value(self.objective)

    def leaderboard(self, first: int | None = None) -> list[TrialRecord]:
        """The `first` (None: all) trials of the search with a `score`, best first; of equal ones, the earlier first."""
        with self._ranking_lock:
            for number in self.end_order[self._n_ranked :]:
                trial = self.trials[number]
                value = self.score(trial)
                if trial.retrains is None and value is not None:
                    insort(self._ranking, (self.objective.sort_key(value), number))
                self._n_ranked += 1
            return [self.trials[number] for _, number in self._ranking[:first]]

    def pareto_front(self) -> list[TrialRecord]:
        """Finished trials that no other beats in one objective without losing in another; best first in the first."""
        scored = [(trial, trial.objective_values(self.objectives)) for trial in self.leaderboard()]
        known = [
            (trial, [o.sort_key(v) for o, v in zip(self.objectives, values, strict=True)])
            for trial, values in scored
            if values is not None
        ]
        return [trial for trial, keys in known if not any(_dominates(other, keys) for _, other in known)]

    # winner

    @property
    def winning_trial(self) -> TrialRecord | None:
        """The trial whose model was chosen; None before the choice."""
        return None if self.winner is None else self.trials[self.winner]

    @property
    def winner_test(self) -> dict[str, Any] | None:
        """The winner's report on the test set, as `TestReport.to_dict()`; None before the test."""
        return None if self.winner is None else self.test_reports.get(self.winner)

    @property
    def baseline_test(self) -> dict[str, Any] | None:
        """The baseline's report; None also if it is the winner, or the sweep has no baseline."""
        if self.winner in (None, 0) or not self.has_baseline:
            return None
        return self.test_reports.get(0)


def _dominates(keys: Sequence[float], others: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(keys, others, strict=True)) and list(keys) != list(others)
