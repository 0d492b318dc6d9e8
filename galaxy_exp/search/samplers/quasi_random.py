"""Points that fill the space more evenly than chance does."""

from __future__ import annotations

from typing import Any

from scipy.stats import qmc

from galaxy_exp.search.history import History
from galaxy_exp.search.space import SearchSpace, Values
from galaxy_exp.seeding import derive_seed

__all__ = ["SobolSampler"]


class SobolSampler:
    """A scrambled Sobol sequence (Sobol' 1967; Owen 1998): trial n gets its n-th point.

    Every hyperparameter with a choice is a coordinate; that of an inactive one is not used.
    """

    draws = 1
    has_a_state = False

    def __init__(self, space: SearchSpace, history: History, seed: int) -> None:
        self._space = space
        self._sequence: Any = None
        if space.tunable:
            self._sequence = qmc.Sobol(len(space.tunable), scramble=True, seed=derive_seed(seed, "sobol"))

    def sample(self, number: int, draw: int) -> Values:
        if self._sequence is None:
            return self._space.fill(lambda dimension: None)
        self._sequence.reset()
        if number:
            self._sequence.fast_forward(number)
        point = self._sequence.random(1)[0]
        coordinates = {dimension.parameter: float(u) for dimension, u in zip(self._space.tunable, point, strict=True)}
        return self._space.fill(lambda dimension: dimension.from_unit(coordinates[dimension.parameter]))
