"""What the search asks of a sampler, and the samplers that learn nothing: random, grid and quasi-random search."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.stats import qmc

from galaxy_exp.search.history import History
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace, Values

__all__ = ["GridSampler", "RandomSampler", "Sampler", "SamplerFactory", "SobolSampler"]


class Sampler(ABC):
    """Chooses configurations. One that depends on the history alone continues a resumed sweep as if uninterrupted."""

    draws = 1
    """How often to ask again if a configuration was tried before; after that random search chooses."""
    has_a_state = False
    """Whether its choices depend on more than the history, so that a resumed sweep has to ask it all over again."""
    prior_trials = math.inf
    """After how many results fewer proposals are drawn from an expert's priors; see `ExpertPrior`."""

    @abstractmethod
    def sample(self, number: int, draw: int) -> Values | None:
        """The active hyperparameters of trial `number`, after the trials that ended so far; None if nothing is left.

        `draw` counts from 0, one more each time a proposal for this trial was tried before.
        """


SamplerFactory = Callable[[SearchSpace, History, int], Sampler]
"""Makes a sampler over a space and a history, which grows while the sampler lives, with a seed."""


class RandomSampler(Sampler):
    """Every hyperparameter at random on its own scale (Bergstra and Bengio 2012, JMLR 13)."""

    def __init__(self, space: SearchSpace, history: History, seed: int) -> None:
        self._space = space
        self._seed = seed

    def sample(self, number: int, draw: int) -> Values:
        rng = np.random.default_rng(derive_seed(self._seed, "random", number, draw))
        return self._space.fill(lambda hyperparameter: hyperparameter.domain.from_unit(rng.random()))


class GridSampler(Sampler):
    """Every configuration of a finite space in order, the last hyperparameter varying fastest.

    It does not wait for trials to end, and leaves out configurations that were tried for another reason.
    """

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


class SobolSampler(Sampler):
    """A scrambled Sobol sequence (Sobol' 1967; Owen 1998): trial n gets its n-th point.

    It fills the space more evenly than random search. Each tunable hyperparameter is a coordinate, which is not used
    where the hyperparameter is inactive.
    """

    def __init__(self, space: SearchSpace, history: History, seed: int) -> None:
        self._space = space
        self._sequence: Any = None
        if space.tunable:
            self._sequence = qmc.Sobol(len(space.tunable), scramble=True, seed=derive_seed(seed, "sobol"))

    def sample(self, number: int, draw: int) -> Values:
        if self._sequence is None:
            return self._space.at({})
        self._sequence.reset()
        if number:
            self._sequence.fast_forward(number)
        point = self._sequence.random(1)[0].tolist()
        return self._space.at({each.key: u for each, u in zip(self._space.tunable, point, strict=True)})
