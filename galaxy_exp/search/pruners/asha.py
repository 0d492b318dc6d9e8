"""Asynchronous successive halving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from galaxy_exp.records import Objective

__all__ = ["AshaPruner", "rungs_below"]


@dataclass(frozen=True, slots=True)
class AshaPruner:
    """Asynchronous successive halving, stopping variant (Li et al. 2020, MLSys).

    Rungs are at `first_rung`, times `reduction_factor`, and so on, below `epochs`. At a rung a trial goes on if its
    best value so far is among the top 1/`reduction_factor` of all trials that have reached that rung; while fewer
    than `reduction_factor` have, it goes on, as there is nothing to compare it with.
    """

    objective: Objective
    first_rung: int
    reduction_factor: int
    epochs: int

    def is_rung(self, number: int, epoch: int) -> bool:
        return epoch in self._rungs

    def should_stop(self, number: int, curve: Sequence[float], others: Mapping[int, Sequence[float]]) -> bool:
        epoch = len(curve)
        if not self.is_rung(number, epoch):
            return False
        own = self._best_key(curve)
        sign = -1.0 if self.objective.direction == "max" else 1.0
        keys = [  # as `_best_key`, written out: this is what a decision in a large sweep consists of
            min([sign * value for value in other[:epoch] if value == value], default=math.inf)
            for other in others.values()
            if len(other) >= epoch
        ]
        reached = len(keys) + 1
        if reached < self.reduction_factor:
            return False
        better = sum(key < own for key in keys)
        return better >= max(1, reached // self.reduction_factor)

    def first_decision(self, number: int) -> int | None:
        return self._rungs[0] if self._rungs else None

    def _best_key(self, curve: Sequence[float]) -> float:
        return min(self.objective.sort_key(value) for value in curve)

    @property
    def _rungs(self) -> tuple[int, ...]:
        return rungs_below(self.epochs, self.first_rung, self.reduction_factor)


@cache
def rungs_below(epochs: int, first_rung: int, reduction_factor: int) -> tuple[int, ...]:
    """The epochs after which trials of `epochs` epochs are compared."""
    rungs = []
    rung = first_rung
    while rung < epochs:
        rungs.append(rung)
        rung *= reduction_factor
    return tuple(rungs)
