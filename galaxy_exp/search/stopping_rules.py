"""Rules that stop trials for good.

A rule is a pure function of the curves seen so far, so nothing has to be restored when a sweep is resumed and the
decision is the same with any engine.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from galaxy_exp.records import Objective
from galaxy_exp.search.history import best_key

__all__ = [
    "AshaStopping",
    "Brackets",
    "Curves",
    "HyperbandStopping",
    "MedianStopping",
    "NoStopping",
    "PatienceStopping",
    "StoppingRule",
    "rungs_below",
]

Curves = Mapping[int, Sequence[float]]
"""The first objective after each epoch, by trial: of all trials of the search, running, paused or ended."""

_MIN_OTHERS = 5
"""Curves to compare with below which the median rule stops no trial; Optuna's `n_startup_trials`."""


class StoppingRule(Protocol):
    """Compares a trial's curve with those of the others. Epochs count from 1."""

    def is_rung(self, number: int, epoch: int) -> bool:
        """Whether trial `number` may be stopped after this epoch."""
        ...

    def should_stop(self, number: int, curve: Sequence[float], others: Curves) -> bool:
        """Whether trial `number` ends here.

        Args:
            curve: the objective after each epoch of the trial, the last one just reported; may hold nan.
            others: the curves of all other trials by number, running or finished, of any length.
        """
        ...

    def first_decision(self, number: int) -> int | None:
        """The first epoch after which trial `number` may be stopped; None if it runs all its epochs in any case."""
        ...


@dataclass(frozen=True, slots=True)
class AshaStopping:
    """Asynchronous successive halving, stopping variant (Li et al. 2020, MLSys).

    Rungs are at `first_rung`, times `reduction_factor`, and so on, below `epochs`. At a rung a trial continues if its
    best value so far is among the top 1/`reduction_factor` of all trials that have reached that rung; while fewer
    than `reduction_factor` have, it continues, as there is nothing to compare it with.
    """

    objective: Objective
    first_rung: int
    reduction_factor: int
    epochs: int

    def is_rung(self, number: int, epoch: int) -> bool:
        return epoch in self._rungs

    def should_stop(self, number: int, curve: Sequence[float], others: Curves) -> bool:
        epoch = len(curve)
        if not self.is_rung(number, epoch):
            return False
        best = best_key(self.objective, curve)
        sign = -1.0 if self.objective.direction == "max" else 1.0
        keys = [  # as `best_key`, written out: most of the time of a decision in a large sweep is spent here
            min([sign * value for value in other[:epoch] if value == value], default=math.inf)
            for other in others.values()
            if len(other) >= epoch
        ]
        reached = len(keys) + 1
        if reached < self.reduction_factor:
            return False
        better = sum(key < best for key in keys)
        return better >= max(1, reached // self.reduction_factor)

    def first_decision(self, number: int) -> int | None:
        return self._rungs[0] if self._rungs else None

    @property
    def _rungs(self) -> tuple[int, ...]:
        return rungs_below(self.epochs, self.first_rung, self.reduction_factor)


@dataclass(frozen=True)
class Brackets:
    """The brackets of Hyperband (Li et al. 2018, JMLR 18), all at the same time (Li et al. 2020, MLSys).

    Bracket 0 has its first rung at `first_rung`, each further one `reduction_factor` times later, and the last one has
    none: its trials run all their epochs. The number of a trial alone decides its bracket.
    """

    objective: Objective
    first_rung: int
    reduction_factor: int
    epochs: int

    @property
    def n_brackets(self) -> int:
        """One that begins at each rung, and one without any."""
        return len(rungs_below(self.epochs, self.first_rung, self.reduction_factor)) + 1

    def bracket_of(self, number: int) -> int:
        """The bracket of trial `number`, from 0 up."""
        cycle = _bracket_cycle(self.n_brackets, self.reduction_factor)
        return cycle[number % len(cycle)]

    def first_rung_of(self, bracket: int) -> int:
        """The epoch of its first rung; not below `epochs` in the last bracket."""
        return self.first_rung * int(self.reduction_factor**bracket)

    def curves_in(self, bracket: int, curves: Curves) -> Curves:
        """The curves of the trials in a bracket."""
        return {number: curve for number, curve in curves.items() if self.bracket_of(number) == bracket}


class HyperbandStopping(Brackets):
    """Hyperband that stops trials: each is compared within its bracket, as in `AshaStopping`."""

    def is_rung(self, number: int, epoch: int) -> bool:
        return self._halving_of(number).is_rung(number, epoch)

    def should_stop(self, number: int, curve: Sequence[float], others: Curves) -> bool:
        rivals = self.curves_in(self.bracket_of(number), others)
        return self._halving_of(number).should_stop(number, curve, rivals)

    def first_decision(self, number: int) -> int | None:
        return self._halving_of(number).first_decision(number)

    def _halving_of(self, number: int) -> AshaStopping:
        first_rung = self.first_rung_of(self.bracket_of(number))
        return AshaStopping(self.objective, first_rung, self.reduction_factor, self.epochs)


@dataclass(frozen=True, slots=True)
class MedianStopping:
    """The median stopping rule of Vizier (Golovin et al. 2017, KDD, section 3.2.2).

    From `first_rung` on, a trial is stopped after an epoch if its best value so far is worse than the median of the
    others' averages over their epochs up to this one.
    """

    objective: Objective
    first_rung: int
    epochs: int

    def is_rung(self, number: int, epoch: int) -> bool:
        return self.first_rung <= epoch < self.epochs

    def should_stop(self, number: int, curve: Sequence[float], others: Curves) -> bool:
        epoch = len(curve)
        averages = [
            self.objective.sort_key(sum(other[:epoch]) / epoch) for other in others.values() if len(other) >= epoch
        ]
        if not self.is_rung(number, epoch) or len(averages) < _MIN_OTHERS:
            return False
        return best_key(self.objective, curve) > statistics.median(averages)

    def first_decision(self, number: int) -> int | None:
        return self.first_rung if self.first_rung < self.epochs else None


@dataclass(frozen=True, slots=True)
class PatienceStopping:
    """A trial ends once its own best value is `patience` epochs old; the others do not matter."""

    objective: Objective
    patience: int
    epochs: int

    def is_rung(self, number: int, epoch: int) -> bool:
        return self.patience < epoch < self.epochs

    def should_stop(self, number: int, curve: Sequence[float], others: Curves) -> bool:
        if not self.is_rung(number, len(curve)):
            return False
        before = best_key(self.objective, curve[: len(curve) - self.patience])
        return best_key(self.objective, curve) >= before

    def first_decision(self, number: int) -> int | None:
        return self.patience + 1 if self.patience + 1 < self.epochs else None


@dataclass(frozen=True, slots=True)
class NoStopping:
    """Every trial runs all its epochs."""

    def is_rung(self, number: int, epoch: int) -> bool:
        return False

    def should_stop(self, number: int, curve: Sequence[float], others: Curves) -> bool:
        return False

    def first_decision(self, number: int) -> int | None:
        return None


@cache
def rungs_below(epochs: int, first_rung: int, reduction_factor: int) -> tuple[int, ...]:
    """The epochs after which trials of `epochs` epochs are compared."""
    rungs = []
    rung = first_rung
    while rung < epochs:
        rungs.append(rung)
        rung *= reduction_factor
    return tuple(rungs)


@cache
def _bracket_cycle(n_brackets: int, reduction_factor: int) -> tuple[int, ...]:
    """The brackets of the first trials, to be repeated, mixed so that every stretch of trials has its part of each.

    A bracket has n trials of a cycle (Li et al. 2018, algorithm 1, line 3).
    """
    halvings = reversed(range(n_brackets))
    sizes = [math.ceil(n_brackets / (each + 1) * reduction_factor**each) for each in halvings]
    total = sum(sizes)
    owed = [0] * len(sizes)
    cycle = []
    for _ in range(total):
        owed = [debt + size for debt, size in zip(owed, sizes, strict=True)]
        bracket = owed.index(max(owed))
        owed[bracket] -= total
        cycle.append(bracket)
    return tuple(cycle)
