"""Covariance matrix adaptation."""

from __future__ import annotations

import cmaes
import numpy as np

from galaxy_exp.search.history import History
from galaxy_exp.search.samplers.chance import RandomSampler
from galaxy_exp.search.space import Dimension, SearchSpace, Values
from galaxy_exp.seeding import derive_seed

__all__ = ["CmaEsSampler", "adapted_dimensions"]

_FIRST_STEP = 0.25
"""Standard deviation of the first generation, as a share of each range."""


class CmaEsSampler:
    """CMA-ES (Hansen and Ostermeier 2001) over the numbers that are always active; the rest is left to chance.

    The strategy is built again for every proposal from the trials that ended, in the order in which they did: as many
    as its population has are a generation, whoever proposed them. When it has converged it starts again from a random
    point.
    """

    draws = 5
    has_a_state = False

    def __init__(self, space: SearchSpace, history: History, seed: int) -> None:
        self._space = space
        self._history = history
        self._seed = seed
        self._adapted = adapted_dimensions(space)
        self._chance = RandomSampler(space, history, seed)

    def sample(self, number: int, draw: int) -> Values:
        if not self._adapted:
            return self._chance.sample(number, draw)
        strategy = self._strategy(derive_seed(self._seed, "proposal", number, draw))
        point = np.clip(strategy.ask(), 0.0, 1.0)
        coordinates = {dimension.parameter: float(u) for dimension, u in zip(self._adapted, point, strict=True)}
        rng = np.random.default_rng(derive_seed(self._seed, "random", number, draw))

        def choose(dimension: Dimension) -> object:
            u = coordinates.get(dimension.parameter)
            return dimension.from_unit(rng.random() if u is None else u)

        return self._space.fill(choose)

    def _strategy(self, seed: int) -> cmaes.CMA:
        """The strategy after all whole generations; `seed` decides what it asks for next."""
        strategy = self._start(np.full(len(self._adapted), 0.5), seed)
        generation: list[tuple[np.ndarray, float]] = []
        for restarts, solution in enumerate(self._solutions()):
            generation.append(solution)
            if len(generation) < strategy.population_size:
                continue
            strategy.tell(generation)
            generation = []
            if strategy.should_stop():
                centre = np.random.default_rng(derive_seed(self._seed, "restart", restarts)).random(len(self._adapted))
                strategy = self._start(centre, seed)
        return strategy

    def _start(self, mean: np.ndarray, seed: int) -> cmaes.CMA:
        bounds = np.tile([0.0, 1.0], (len(mean), 1))
        return cmaes.CMA(mean=mean, sigma=_FIRST_STEP, bounds=bounds, seed=seed)

    def _solutions(self) -> list[tuple[np.ndarray, float]]:
        """What is known of points within the space."""
        solutions = []
        losses = self._history.losses(penalise_violations=True)
        for position, loss in zip(self._history.ended, losses, strict=True):
            encoded = self._space.encode(self._history.observations[position].values)
            if loss is None or any(dimension.parameter not in encoded for dimension in self._adapted):
                continue
            point = [dimension.to_unit(encoded[dimension.parameter]) for dimension in self._adapted]
            solutions.append((np.array(point), loss[0]))
        return solutions


def adapted_dimensions(space: SearchSpace) -> list[Dimension]:
    """What CMA-ES can search: numbers with a choice and without a condition."""
    return [dimension for dimension in space.tunable if dimension.is_numeric and not dimension.conditions]
