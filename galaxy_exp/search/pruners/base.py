"""What the loop asks of a rule for early stopping.

A pruner is a pure function of the curves seen so far, so nothing has to be restored when a sweep is resumed and the
decision is the same with any engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from galaxy_exp.records import Objective

__all__ = ["Pruner", "best_keys"]


class Pruner(Protocol):
    """Compares a trial's curve with those of the others. Epochs count from 1."""

    def is_rung(self, number: int, epoch: int) -> bool:
        """Whether trial `number` may be stopped after this epoch."""
        ...

    def should_stop(self, number: int, curve: Sequence[float], others: Mapping[int, Sequence[float]]) -> bool:
        """Whether trial `number` ends here.

        Args:
            curve: the objective after each epoch of the trial, the last one just reported; may hold nan.
            others: the curves of all other trials by number, running or finished, of any length.
        """
        ...

    def first_decision(self, number: int) -> int | None:
        """The first epoch after which trial `number` may be stopped; None if it runs all its epochs in any case."""
        ...


def best_keys(objective: Objective, curve: Sequence[float]) -> list[float]:
    """The best value up to each epoch, as keys that sort the best first; nan is the worst."""
    best: list[float] = []
    for value in curve:
        key = objective.sort_key(value)
        best.append(min(key, best[-1]) if best else key)
    return best
