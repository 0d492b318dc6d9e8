"""Pruners decide after an epoch whether a trial goes on.

A pruner is a pure function of the curves seen so far, so nothing has to be restored when a sweep is
resumed and the decision is the same with any engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from galaxy_exp.config.problems import did_you_mean
from galaxy_exp.config.sweep import SearchConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.records import Objective

__all__ = ["PRUNERS", "AshaPruner", "NoPruner", "Pruner", "build_pruner"]


class Pruner(Protocol):
    """Compares a trial's curve with those of the others."""

    def is_rung(self, epoch: int) -> bool:
        """Whether trials are compared after this epoch (counted from 1)."""
        ...

    def should_stop(self, curve: Sequence[float], others: Iterable[Sequence[float]]) -> bool:
        """Whether the trial ends here.

        Args:
            curve: the objective after each epoch of the trial, the last one just reported.
            others: the curves of all other trials, running or finished, of any length.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoPruner:
    """Every trial runs all its epochs."""

    def is_rung(self, epoch: int) -> bool:
        return False

    def should_stop(self, curve: Sequence[float], others: Iterable[Sequence[float]]) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class AshaPruner:
    """Asynchronous successive halving, stopping variant (Li et al. 2020, MLSys).

    Rungs are at `first_rung`, times `reduction_factor`, and so on. At a rung a trial goes on if its best
    value so far is among the top 1/`reduction_factor` of all trials that have reached that rung; while
    fewer than `reduction_factor` have, it goes on, as there is nothing to compare it with.
    """

    objective: Objective
    first_rung: int
    reduction_factor: int

    def is_rung(self, epoch: int) -> bool:
        rung = self.first_rung
        while rung < epoch:
            rung *= self.reduction_factor
        return rung == epoch

    def should_stop(self, curve: Sequence[float], others: Iterable[Sequence[float]]) -> bool:
        epoch = len(curve)
        if not self.is_rung(epoch):
            return False
        own = self._best_key(curve)
        keys = [self._best_key(other[:epoch]) for other in others if len(other) >= epoch]
        reached = len(keys) + 1
        if reached < self.reduction_factor:
            return False
        better = sum(key < own for key in keys)
        return better >= max(1, reached // self.reduction_factor)

    def _best_key(self, curve: Sequence[float]) -> float:
        return min((self.objective.sort_key(value) for value in curve), default=math.inf)


def _build_asha(search: SearchConfig) -> Pruner:
    return AshaPruner(search.objective_record, search.first_rung, search.reduction_factor)


PRUNERS: dict[str, Callable[[SearchConfig], Pruner]] = {"asha": _build_asha, "none": lambda _: NoPruner()}
"""A new pruner is one class here and one line in this table."""


def build_pruner(search: SearchConfig) -> Pruner:
    """The pruner that a sweep names.

    Raises:
        ConfigError: if there is none of that name.
    """
    if search.pruner not in PRUNERS:
        name = search.pruner
        raise ConfigError(f'search.pruner: unknown pruner "{name}"; {did_you_mean(name, list(PRUNERS))}')
    return PRUNERS[search.pruner](search)
