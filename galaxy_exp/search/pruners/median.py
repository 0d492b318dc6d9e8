"""Stopping trials that are below the median."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from galaxy_exp.records import Objective
from galaxy_exp.search.pruners.base import best_keys

__all__ = ["MIN_OTHERS", "MedianPruner"]

MIN_OTHERS = 5
"""With fewer curves to compare with a trial goes on; as in Optuna's MedianPruner (`n_startup_trials`)."""


@dataclass(frozen=True, slots=True)
class MedianPruner:
    """The median stopping rule of Vizier (Golovin et al. 2017, KDD, section 3.2.2).

    From `first_rung` on, a trial is stopped after an epoch if its best value so far is worse than the median of the
    others' averages over their epochs up to this one.
    """

    objective: Objective
    first_rung: int
    epochs: int

    def is_rung(self, number: int, epoch: int) -> bool:
        return self.first_rung <= epoch < self.epochs

    def should_stop(self, number: int, curve: Sequence[float], others: Mapping[int, Sequence[float]]) -> bool:
        epoch = len(curve)
        averages = [
            self.objective.sort_key(sum(other[:epoch]) / epoch) for other in others.values() if len(other) >= epoch
        ]
        if not self.is_rung(number, epoch) or len(averages) < MIN_OTHERS:
            return False
        return best_keys(self.objective, curve)[-1] > statistics.median(averages)

    def first_decision(self, number: int) -> int | None:
        return self.first_rung if self.first_rung < self.epochs else None
