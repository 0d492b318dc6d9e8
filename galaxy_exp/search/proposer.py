"""What the loop needs from a search, whatever is behind it: a sampler of ours or any KerasTuner oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from galaxy_exp.records import HyperparameterValue, TrialState

__all__ = ["Evidence", "NoProposal", "Outcome", "Proposer"]


class NoProposal(Enum):
    """Why there is no configuration to try now."""

    WAIT = "wait"
    """The next proposal depends on a trial that still runs."""
    EXHAUSTED = "exhausted"
    """There is none left: every configuration of a finite space was tried, or the search has come to its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search learns from a trial that ended."""

    state: TrialState
    curve: tuple[float, ...] = ()
    """The first objective after each epoch that was trained; may hold nan."""
    values: tuple[float, ...] | None = None
    """Every objective at the best epoch; None for a trial without a model."""
    violations: tuple[float, ...] = ()
    """`Constraint.violation` of each constraint, as far as known: above 0 where one is broken."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A finished trial of an earlier sweep, with the active hyperparameters only."""

    values: dict[str, HyperparameterValue]
    outcome: Outcome


class Proposer(Protocol):
    """Proposes hyperparameters; used from one thread.

    Every trial of a sweep is made known by its number, in order: either `propose` gave its values, or they were
    decided elsewhere (the baseline, an enqueued configuration, a recorded proposal) and `adopt` says so. Given the
    same calls in the same order, the same is proposed.
    """

    def propose(self, number: int) -> Mapping[str, HyperparameterValue] | NoProposal:
        """The active hyperparameters of a new trial, which counts as running from now on."""
        ...

    def adopt(self, number: int, values: Mapping[str, HyperparameterValue], *, proposed: bool) -> None:
        """Takes up a trial whose values are settled.

        Args:
            proposed: whether `propose` gave these values in an earlier life of the sweep, so that a search with a
                state of its own has to go through the proposal again; False for values that it never chose.
        """
        ...

    def tell(self, number: int, outcome: Outcome) -> None:
        """A trial ended; once for each."""
        ...
