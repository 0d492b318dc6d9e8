"""Grid search."""

from __future__ import annotations

from collections.abc import Iterator

from galaxy_exp.search.history import History
from galaxy_exp.search.space import SearchSpace, Values

__all__ = ["GridSampler"]


class GridSampler:
    """Every configuration of a finite space in order, the last hyperparameter varying fastest.

    It waits for no trial to end, and passes over what was tried before for another reason.
    """

    draws = 1
    has_a_state = False

    def __init__(self, space: SearchSpace, history: History, seed: int) -> None:
        self._history = history
        self._configurations: Iterator[Values] = space.configurations()
        self._next: Values | None = None

    def sample(self, number: int, draw: int) -> Values | None:
        while self._next is None or self._history.count(self._next):
            self._next = next(self._configurations, None)
            if self._next is None:
                return None
        return self._next
