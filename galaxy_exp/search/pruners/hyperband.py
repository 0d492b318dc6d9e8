"""Hyperband: successive halving with several first rungs side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from galaxy_exp.records import Objective
from galaxy_exp.search.pruners.asha import AshaPruner, rungs_below

__all__ = ["HyperbandPruner", "bracket_cycle", "bracket_shares"]


@dataclass(frozen=True, slots=True)
class HyperbandPruner:
    """Hyperband (Li et al. 2018, JMLR 18) with asynchronous brackets (Li et al. 2020, MLSys).

    Bracket 0 has its first rung at `first_rung`, each further one `reduction_factor` times later, and the last one has
    none: its trials run all their epochs. A trial is compared within its bracket only, as in `AshaPruner`. Its number
    alone decides which bracket that is.
    """

    objective: Objective
    first_rung: int
    reduction_factor: int
    epochs: int

    def bracket_of(self, number: int) -> int:
        """The bracket of trial `number`, from 0 up."""
        n_brackets = len(rungs_below(self.epochs, self.first_rung, self.reduction_factor)) + 1
        cycle = bracket_cycle(bracket_shares(n_brackets, self.reduction_factor))
        return cycle[number % len(cycle)]

    def is_rung(self, number: int, epoch: int) -> bool:
        return self._halving_in(self.bracket_of(number)).is_rung(number, epoch)

    def should_stop(self, number: int, curve: Sequence[float], others: Mapping[int, Sequence[float]]) -> bool:
        bracket = self.bracket_of(number)
        rivals = {other: curve for other, curve in others.items() if self.bracket_of(other) == bracket}
        return self._halving_in(bracket).should_stop(number, curve, rivals)

    def first_decision(self, number: int) -> int | None:
        return self._halving_in(self.bracket_of(number)).first_decision(number)

    def _halving_in(self, bracket: int) -> AshaPruner:
        first_rung = self.first_rung * self.reduction_factor**bracket
        return AshaPruner(self.objective, first_rung, self.reduction_factor, self.epochs)


def bracket_shares(n_brackets: int, reduction_factor: int) -> tuple[int, ...]:
    """How many of every sum(shares) trials each bracket gets: n of Li et al. 2018, algorithm 1, line 3."""
    most = n_brackets - 1
    return tuple(
        math.ceil(n_brackets / (halvings + 1) * reduction_factor**halvings) for halvings in range(most, -1, -1)
    )


@cache
def bracket_cycle(shares: tuple[int, ...]) -> tuple[int, ...]:
    """The bracket of each of sum(shares) trials, so mixed that every stretch of them has its share of each."""
    total = sum(shares)
    owed = [0] * len(shares)
    cycle = []
    for _ in range(total):
        owed = [debt + share for debt, share in zip(owed, shares, strict=True)]
        bracket = owed.index(max(owed))
        owed[bracket] -= total
        cycle.append(bracket)
    return tuple(cycle)
