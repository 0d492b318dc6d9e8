"""What the sweep's loop asks of a search: one of our samplers, or any KerasTuner oracle."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from galaxy_exp.records import Evidence, HyperparameterValue, Outcome

__all__ = ["Evidence", "NoProposal", "Outcome", "Proposer", "continued_trial", "epochs_of"]


class NoProposal(Enum):
    """Why there is no configuration to try now."""

    WAIT = "wait"
    """The next proposal depends on a trial that still runs."""
    EXHAUSTED = "exhausted"
    """Every configuration of a finite space was tried, or the search has ended."""


class Proposer(Protocol):
    """Proposes hyperparameters; used from one thread.

    Every trial of a sweep is made known by its number, in order: either `propose` chose its values, or they were
    decided elsewhere (the baseline, an enqueued configuration, a recorded proposal) and `adopt` is called. The same
    calls in the same order lead to the same proposals.
    """

    def propose(self, number: int) -> Mapping[str, HyperparameterValue] | NoProposal:
        """The active hyperparameters of a new trial, which counts as running from now on."""
        ...

    def adopt(self, number: int, values: Mapping[str, HyperparameterValue], *, proposed: bool) -> None:
        """Adds a trial whose values are decided.

        Args:
            proposed: whether `propose` chose these values in an earlier process of the sweep, so that a search with a
                state of its own has to repeat the proposal; False for values that it never chose.
        """
        ...

    def tell(self, number: int, outcome: Outcome) -> None:
        """A trial ended; called once for each."""
        ...


def epochs_of(values: Mapping[str, HyperparameterValue], default: int) -> int:
    """For how many epochs a configuration is trained; KerasTuner's Hyperband states it among the values."""
    return int(values.get("tuner/epochs", default))


def continued_trial(values: Mapping[str, HyperparameterValue]) -> tuple[int, int] | None:
    """The number of the trial that a configuration continues, and after how many epochs; None if it continues none.

    KerasTuner's Hyperband states both among the values of a trial that it promotes.
    """
    number, epochs = values.get("tuner/trial_id"), values.get("tuner/initial_epoch")
    if not isinstance(number, str) or not number.isdecimal() or not epochs:
        return None
    return int(number), int(epochs)
