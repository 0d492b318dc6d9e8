"""Proposals where an expert expects the best configuration."""

from __future__ import annotations

import numpy as np

from galaxy_exp.search.cube import UnitCube
from galaxy_exp.search.earlier_sweeps import MIN_OTHERS, trust_in
from galaxy_exp.search.history import History
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace, Values

__all__ = ["ExpertPrior"]

FIRST_TRUST = 0.5
"""The trust before there are trials to compare."""


class ExpertPrior:
    """Draws a share of the proposals from the priors of a space.

    The share is the trust in the priors: the fraction of the trials near their centres that are good, with one good and
    one bad added, and trials that still run taken as bad. Near is where the density of the priors is higher than
    without them, and good is what beats more than half of the trials elsewhere. All of this follows from the history.

    Inspired by PriorBand (Mallik et al. 2023, NeurIPS), which also mixes draws from the prior with others. That weighs
    them by how likely the best trials of a rung are under the prior, and draws near the incumbent too.

    Args:
        space: with one prior or more.
        history: of the sweep, which grows.
        seed: the proposals follow from it.
        trials: results of this sweep up to which the share is the trust; with n of them it is trust * trials / n.
    """

    def __init__(self, space: SearchSpace, history: History, seed: int, trials: float) -> None:
        self._space = space
        self._cube = UnitCube(space)
        self._history = history
        self._seed = seed
        self._trials = trials
        self._near: dict[int, bool] = {}

    def centre(self) -> Values | None:
        """The centre of every prior, with the defaults of the other hyperparameters; None if it was tried."""
        values = self._space.expected
        return None if self._history.count(values) else values

    def propose(self, number: int) -> Values | None:
        """An untried configuration, or None if the sampler has to choose."""
        rng = np.random.default_rng(derive_seed(self._seed, "prior", number))
        if rng.random() >= self._share():
            return None
        point = self._cube.draw_from_prior(rng.random((1, len(self._space.tunable))))[0]
        values = self._cube.configuration(point)
        return None if self._history.count(values) else values

    def _share(self) -> float:
        return self.trust() * min(1.0, self._trials / max(1, self._history.n_results))

    def trust(self) -> float:
        """From 0 to 1."""
        losses = dict(zip(self._history.ended, self._history.losses(penalise_violations=True), strict=True))
        positions = range(len(self._history.observations))
        near = [losses.get(position) for position in positions if self._is_near(position)]
        elsewhere = [losses.get(position) for position in positions if not self._is_near(position)]
        others = [loss for loss in elsewhere if loss is not None]
        return FIRST_TRUST if len(others) < MIN_OTHERS else trust_in(near, others)

    def _is_near(self, position: int) -> bool:
        if position not in self._near:
            point = self._cube.place(self._history.observations[position].values)
            self._near[position] = bool(self._cube.log_prior(point[None])[0] > 0)
        return self._near[position]
