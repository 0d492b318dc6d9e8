"""Stopping trials that no longer improve, and stopping none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from galaxy_exp.records import Objective
from galaxy_exp.search.pruners.base import best_keys

__all__ = ["NoPruner", "PatiencePruner"]


@dataclass(frozen=True, slots=True)
class PatiencePruner:
    """A trial ends once its own best value is `patience` epochs old; the others do not matter."""

    objective: Objective
    patience: int
    epochs: int

    def is_rung(self, number: int, epoch: int) -> bool:
        return self.patience < epoch < self.epochs

    def should_stop(self, number: int, curve: Sequence[float], others: Mapping[int, Sequence[float]]) -> bool:
        if not self.is_rung(number, len(curve)):
            return False
        best = best_keys(self.objective, curve)
        return best[-1] >= best[-1 - self.patience]

    def first_decision(self, number: int) -> int | None:
        return self.patience + 1 if self.patience + 1 < self.epochs else None


@dataclass(frozen=True, slots=True)
class NoPruner:
    """Every trial runs all its epochs."""

    def is_rung(self, number: int, epoch: int) -> bool:
        return False

    def should_stop(self, number: int, curve: Sequence[float], others: Mapping[int, Sequence[float]]) -> bool:
        return False

    def first_decision(self, number: int) -> int | None:
        return None
