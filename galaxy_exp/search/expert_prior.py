"""Proposals where an expert expects the best configuration."""

from __future__ import annotations

import numpy as np

from galaxy_exp.search.cube import UnitCube
from galaxy_exp.search.earlier_sweeps import MIN_OTHERS
from galaxy_exp.search.history import History
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace, Values

__all__ = ["ExpertPrior"]

FIRST_TRUST = 0.5
"""The trust before there are trials to compare."""


class ExpertPrior:
    """Draws a share of the proposals from the priors of a space, after Mallik et al. (2023, NeurIPS).

    The share is the trust in the priors: the fraction of the trials near their centres that are good, with one good and
    one bad added. Near is where the density of the priors is higher than without them, and good is what beats more than
    half of the trials elsewhere. So a prior that misleads is soon left. All of this follows from the history.

    Args:
        space: with one prior or more.
        history: of the sweep, which grows.
        seed: the proposals follow from it.
        trials: results up to which the share is the trust; with n of them it is trust * trials / n.
    """

    def __init__(self, space: SearchSpace, history: History, seed: int, trials: float) -> None:
        self._space = space
        self._cube = UnitCube(space)
        self._history = history
        self._seed = seed
        self._trials = trials
        self._near: dict[int, bool] = {}

    def propose(self, number: int, *, is_first: bool) -> Values | None:
        """An untried configuration, or None if the sampler has to choose.

        Args:
            is_first: whether nothing was proposed so far; then it is the centre of the priors.
        """
        if is_first and not self._history.count(self._space.expected):
            return self._space.expected
        rng = np.random.default_rng(derive_seed(self._seed, "prior", number))
        if rng.random() >= self._share():
            return None
        point = self._cube.draw_from_prior(rng.random((1, len(self._space.tunable))))[0]
        values = self._cube.configuration(point)
        return None if self._history.count(values) else values

    def _share(self) -> float:
        n_results = len(self._history.ended)
        return self.trust() * min(1.0, self._trials / max(1, n_results))

    def trust(self) -> float:
        """From 0 to 1."""
        losses = self._history.losses(penalise_violations=True)
        known = [(loss, self._is_near(p)) for p, loss in zip(self._history.ended, losses, strict=True) if loss]
        near = np.array([loss for loss, is_near in known if is_near])
        others = np.array([loss for loss, is_near in known if not is_near])
        if len(others) < MIN_OTHERS or not len(near):
            return FIRST_TRUST
        is_good = np.mean(others[None] > near[:, None], axis=(1, 2)) > 0.5
        return float((is_good.sum() + 1) / (len(near) + 2))

    def _is_near(self, position: int) -> bool:
        if position not in self._near:
            point = self._cube.place(self._history.observations[position].values)
            self._near[position] = bool(self._cube.log_prior(point[None])[0] > 0)
        return self._near[position]
