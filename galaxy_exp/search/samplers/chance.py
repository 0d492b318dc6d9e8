"""Random search."""

from __future__ import annotations

import numpy as np

from galaxy_exp.search.history import History
from galaxy_exp.search.space import SearchSpace, Values
from galaxy_exp.seeding import derive_seed

__all__ = ["RandomSampler"]


class RandomSampler:
    """Every hyperparameter at random on its own scale (Bergstra and Bengio 2012, JMLR 13)."""

    draws = 1
    has_a_state = False

    def __init__(self, space: SearchSpace, history: History, seed: int) -> None:
        self._space = space
        self._seed = seed

    def sample(self, number: int, draw: int) -> Values:
        rng = np.random.default_rng(derive_seed(self._seed, "random", number, draw))
        return self._space.fill(lambda dimension: dimension.from_unit(rng.random()))
