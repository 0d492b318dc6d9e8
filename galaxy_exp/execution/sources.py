"""Where the loop's trials come from: the search, and then the finalists trained again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from galaxy_exp.config.search_section import SAMPLERS
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.outcomes import outcome_of
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.proposer import NoProposal, Proposer

__all__ = ["FinalistSource", "NewTrial", "NoTrial", "SearchSource", "TrialSource"]


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A configuration to train."""

    values: dict[str, HyperparameterValue]
    settled: bool = False
    """See `TrialProposed.settled`."""
    confirms: int | None = None
    """See `TrialProposed.confirms`."""


@dataclass(frozen=True, slots=True)
class NoTrial:
    """None is started now."""

    reason: str
    until_a_result: bool = False
    """Whether to ask again when a trial has ended."""


class TrialSource(Protocol):
    """Gives the loop its trials; used from one thread."""

    def owns(self, trial: TrialRecord) -> bool:
        """Whether a recorded trial came from here."""
        ...

    def replay(self, record: SweepRecord) -> None:
        """Comes to where the record stands; called once, first."""
        ...

    def refusal(self, record: SweepRecord, now: float) -> str | None:
        """Why no further trial is started, as far as the record tells; `now` in seconds since 1970."""
        ...

    def next_trial(self, record: SweepRecord, now: float) -> NewTrial | NoTrial:
        """The next configuration, or why there is none; `now` in seconds since 1970."""
        ...

    def exceeded(self, record: SweepRecord, now: float) -> bool:
        """Whether running trials end with the epoch that was just reported, which is not in the record yet."""
        ...

    def tell(self, record: SweepRecord, trial: TrialRecord) -> None:
        """A trial from here ended."""
        ...


class SearchSource:
    """The baseline, what was enqueued, and then what the search proposes, as long as the budget lasts."""

    def __init__(self, proposer: Proposer, budget: Budget) -> None:
        self._proposer = proposer
        self._budget = budget

    def owns(self, trial: TrialRecord) -> bool:
        """See `TrialSource`."""
        return trial.confirms is None

    def replay(self, record: SweepRecord) -> None:
        """Proposals and results in the order in which they were journaled."""
        for what, number in record.history:
            trial = record.trials[number]
            if not self.owns(trial):
                continue
            if what == "proposed":
                self._proposer.adopt(number, trial.values, proposed=not trial.settled)
            else:
                self.tell(record, trial)

    def refusal(self, record: SweepRecord, now: float) -> str | None:
        """See `TrialSource`."""
        return self._budget.refusal(record, now)

    def next_trial(self, record: SweepRecord, now: float) -> NewTrial | NoTrial:
        """See `TrialSource`."""
        reason = self.refusal(record, now)
        if reason is not None:
            return NoTrial(reason)
        number, settled = len(record.trials), record.settled
        if number < len(settled):
            self._proposer.adopt(number, settled[number], proposed=False)
            return NewTrial(settled[number], settled=True)
        proposal = self._proposer.propose(number)
        if proposal is NoProposal.EXHAUSTED:
            is_ours = record.config.search.sampler in SAMPLERS
            return NoTrial(
                "every configuration of the space was tried" if is_ours else "the sampler has nothing left to try"
            )
        if proposal is NoProposal.WAIT:
            reason = "the sampler waits for results, and no trial runs that could give any"
            return NoTrial(reason, until_a_result=True)
        return NewTrial(dict(proposal))

    def exceeded(self, record: SweepRecord, now: float) -> bool:
        """See `TrialSource`."""
        return self._budget.exceeded(record, now, epochs_reported=1) is not None

    def tell(self, record: SweepRecord, trial: TrialRecord) -> None:
        """See `TrialSource`."""
        constraints = record.config.search.constraint_records
        self._proposer.tell(trial.number, outcome_of(trial, record.objectives, constraints))


class FinalistSource:
    """Every finalist once with a fresh seed, then every one again, until each was trained with `seeds` seeds."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds

    def owns(self, trial: TrialRecord) -> bool:
        """See `TrialSource`."""
        return trial.confirms is not None

    def replay(self, record: SweepRecord) -> None:
        """Nothing is kept here: what comes next follows from the record alone."""

    def refusal(self, record: SweepRecord, now: float) -> str | None:
        """See `TrialSource`."""
        is_over = self._position(record) >= len(record.finalists or []) * self._seeds
        return "every finalist was trained with every seed" if is_over else None

    def next_trial(self, record: SweepRecord, now: float) -> NewTrial | NoTrial:
        """See `TrialSource`."""
        reason = self.refusal(record, now)
        if reason is not None:
            return NoTrial(reason)
        finalists = record.finalists or []
        finalist = finalists[self._position(record) % len(finalists)]
        return NewTrial(dict(record.trials[finalist].values), confirms=finalist)

    def _position(self, record: SweepRecord) -> int:
        return sum(self.owns(trial) for trial in record.trials.values())

    def exceeded(self, record: SweepRecord, now: float) -> bool:
        """Never: the budget is the search's."""
        return False

    def tell(self, record: SweepRecord, trial: TrialRecord) -> None:
        """See `TrialSource`."""
