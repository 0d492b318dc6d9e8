"""Covariance matrix adaptation."""

from __future__ import annotations

import cmaes
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.history import History
from galaxy_exp.search.samplers import RandomSampler, Sampler
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import Hyperparameter, SearchSpace, Values

__all__ = ["CmaEsSampler", "adapted_hyperparameters"]

_FIRST_STEP = 0.25
"""Standard deviation of the first generation, as a fraction of each range."""

_Solution = tuple[NDArray[np.float64], float]


class CmaEsSampler(Sampler):
    """CMA-ES (Hansen and Ostermeier 2001) over the numbers that are always active; the others are sampled at random.

    The strategy is built again for every proposal from the trials that ended, in the order in which they did: as many
    as its population has are a generation, whoever proposed them. When it has converged it restarts from a random
    point.
    """

    draws = 5
    prior_trials = 10.0

    def __init__(self, space: SearchSpace, history: History, seed: int) -> None:
        self._space = space
        self._history = history
        self._seed = seed
        self._adapted = adapted_hyperparameters(space)
        self._random = RandomSampler(space, history, seed)

    def sample(self, number: int, draw: int) -> Values:
        if not self._adapted:
            return self._random.sample(number, draw)
        strategy = self._strategy(derive_seed(self._seed, "proposal", number, draw))
        point = np.clip(strategy.ask(), 0.0, 1.0)
        coordinates = {each.key: float(u) for each, u in zip(self._adapted, point, strict=True)}
        rng = np.random.default_rng(derive_seed(self._seed, "random", number, draw))

        def choose(hyperparameter: Hyperparameter) -> HyperparameterValue:
            u = coordinates.get(hyperparameter.key)
            return hyperparameter.domain.from_unit(rng.random() if u is None else u)

        return self._space.fill(choose)

    def _strategy(self, seed: int) -> cmaes.CMA:
        """The strategy after all whole generations; `seed` decides what it asks for next."""
        strategy = self._start(np.full(len(self._adapted), 0.5), seed)
        generation: list[_Solution] = []
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

    def _start(self, mean: NDArray[np.float64], seed: int) -> cmaes.CMA:
        bounds = np.tile([0.0, 1.0], (len(mean), 1))
        return cmaes.CMA(mean=mean, sigma=_FIRST_STEP, bounds=bounds, seed=seed)

    def _solutions(self) -> list[_Solution]:
        """Points within the space, with their losses."""
        solutions = []
        for position, loss in self._history.known_losses().items():
            found = self._space.find(self._history.observations[position].values)
            if all(each.key in found for each in self._adapted):
                point = [each.domain.to_unit(found[each.key]) for each in self._adapted]
                solutions.append((np.array(point), loss[0]))
        return solutions


def adapted_hyperparameters(space: SearchSpace) -> list[Hyperparameter]:
    """Those that CMA-ES can search: tunable numbers without a condition."""
    return [each for each in space.tunable if each.is_numeric and not each.conditions]
