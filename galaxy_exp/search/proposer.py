"""What the loop needs from a search, whatever is behind it: a sampler of ours or any KerasTuner oracle."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from galaxy_exp.records import Evidence, HyperparameterValue, Outcome

__all__ = ["Evidence", "NoProposal", "Outcome", "Proposer", "epochs_of"]


class NoProposal(Enum):
    """Why there is no configuration to try now."""

    WAIT = "wait"
    """The next proposal depends on a trial that still runs."""
    EXHAUSTED = "exhausted"
    """There is none left: every configuration of a finite space was tried, or the search has come to its end."""


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


def epochs_of(values: Mapping[str, HyperparameterValue], default: int) -> int:
    """For how many epochs a configuration is trained: KerasTuner's Hyperband says so among its values."""
    return int(values.get("tuner/epochs", default))
