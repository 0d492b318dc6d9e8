"""A scheduler to be beaten: train every configuration for i epochs, and the best to the end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from galaxy_exp.records import Decision, Objective
from galaxy_exp.search.history import best_key
from galaxy_exp.search.schedulers import Curves

__all__ = ["IEpoch"]

BATCH = 20
"""Trials of which one is trained to its end."""


@dataclass(frozen=True, slots=True)
class IEpoch:
    """i-Epoch (Bohdal et al. 2023, AutoML workshop track), in batches, so that it uses any budget.

    Each trial is paused after `first_rung` epochs. The trials that reached them form batches of `BATCH` in the order of
    their numbers. The best of each full batch continues to its last epoch before another trial starts. When no new
    trial may start, the last batch counts as full.

    Args:
        first_rung: the i of the name.
        epochs: of a whole training.
    """

    objective: Objective
    first_rung: int
    epochs: int

    def decide(self, number: int, curves: Curves, paused: Collection[int]) -> Decision:
        return Decision.PAUSE if len(curves[number]) == self.first_rung else Decision.CONTINUE

    def choose(self, curves: Curves, paused: Collection[int], *, can_start_new: bool) -> int | None:
        reached = sorted(number for number, curve in curves.items() if len(curve) >= self.first_rung)
        for start in range(0, len(reached), BATCH):
            batch = reached[start : start + BATCH]
            is_full = len(batch) == BATCH or not can_start_new
            has_promoted = any(len(curves[number]) > self.first_rung for number in batch)
            best = min(batch, key=lambda number: (best_key(self.objective, curves[number]), number))
            if is_full and not has_promoted and best in paused:
                return best
        return None

    def first_decision(self, number: int) -> int | None:
        return self.first_rung if self.first_rung < self.epochs else None
