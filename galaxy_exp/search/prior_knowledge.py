"""What is known before a search: configurations that did well in earlier sweeps whose scores cannot be compared with
those of this one, and where an expert expects the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from galaxy_exp.records import Evidence
from galaxy_exp.search.cube import UnitCube
from galaxy_exp.search.history import History, Losses, Observation
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace, Values, fingerprint

__all__ = ["EarlierSweeps", "ExpertPrior", "trust_in"]

BEST_FRACTION = 0.25
"""Fraction of an earlier sweep's measured trials that are candidates: its best ones."""

MAX_CANDIDATES = 10
"""Candidates of one earlier sweep, at most."""

MIN_OTHERS = 2
"""Finished trials that are no candidates before the first candidate is proposed: it is compared with them, and the
scheduler can pause or stop it early."""

MIN_TRUST = 0.5
"""Below it nothing more of an earlier sweep is tried. Before its first candidate, the trust is exactly this."""


class EarlierSweeps:
    """Proposes the best configurations of earlier sweeps, as long as they do well in this one.

    Only the order of the trials within their own sweep counts, so that it makes no difference on which scale an earlier
    sweep measured. A candidate is good if it beats more than half of this sweep's trials that are no candidates. The
    trust in an earlier sweep is the fraction of its candidates that were good, with one good and one bad added, and
    candidates that still run taken as bad. It is the probability that the next proposal is a candidate of the most
    trusted sweep. All of this follows from the history.

    Args:
        evidence: trials of earlier sweeps; those that are `comparable`, or no longer in the space, are left out.
    """

    def __init__(self, evidence: Sequence[Evidence], space: SearchSpace, history: History, seed: int) -> None:
        self._history = history
        self._seed = seed
        by_sweep: dict[str, list[Evidence]] = {}
        for known in evidence:
            if not known.comparable:
                by_sweep.setdefault(known.sweep_id, []).append(known)
        self._sweeps = [_best(found, space, history) for found in by_sweep.values()]
        self._candidates = {fingerprint(values) for sweep in self._sweeps for values in sweep}

    def propose(self, number: int) -> Values | None:
        """The best untried candidate of the most trusted sweep, or None if the sampler has to choose."""
        untried = [[values for values in sweep if not self._history.count(values)] for sweep in self._sweeps]
        if not any(untried):
            return None
        trusts = [self._trust(sweep) if left else 0.0 for sweep, left in zip(self._sweeps, untried, strict=True)]
        most = int(np.argmax(trusts))
        draw = np.random.default_rng(derive_seed(self._seed, "earlier", number)).random()
        return untried[most][0] if trusts[most] >= MIN_TRUST and draw < trusts[most] else None

    def _trust(self, candidates: Sequence[Values]) -> float:
        """From 0 to 1; 0 before there are `MIN_OTHERS` others."""
        losses = self._history.known_losses()
        tried = [
            (fingerprint(trial.values), losses.get(position))
            for position, trial in enumerate(self._history.observations)
            if trial.is_of_this_sweep
        ]
        others = [loss for values, loss in tried if loss is not None and values not in self._candidates]
        if len(others) < MIN_OTHERS:
            return 0.0
        wanted = {fingerprint(values) for values in candidates}
        return trust_in([loss for values, loss in tried if values in wanted], others)


def trust_in(tried: Sequence[Losses | None], others: Sequence[Losses]) -> float:
    """The fraction of the trials tried that beat more than half of the others, with one good and one bad added.

    None is one that still runs, which counts as bad.
    """
    # on average over the objectives
    n_good = sum(losses is not None and np.mean(np.array(others) > np.array(losses)) > 0.5 for losses in tried)
    return float((n_good + 1) / (len(tried) + 2))


def _best(found: Sequence[Evidence], space: SearchSpace, history: History) -> list[Values]:
    """The best configurations of a sweep, the best first, by the sum of their ranks in all objectives."""
    possible = [each for each in found if space.misfit(each.values) is None]
    measured = [(each.values, history.measured(Observation({}, each.outcome), True)) for each in possible]
    known = [(values, losses) for values, losses in measured if losses is not None]
    if not known:
        return []
    ranks = rankdata(np.array([losses for _, losses in known]), axis=0).sum(axis=1)
    n_best = min(MAX_CANDIDATES, max(1, round(BEST_FRACTION * len(known))))
    return [space.normalise(known[index][0]) for index in np.argsort(ranks, kind="stable")[:n_best]]


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
        if rng.random() >= self.trust() * min(1.0, self._trials / max(1, self._history.n_results)):
            return None
        point = self._cube.draw_from_prior(rng.random((1, len(self._space.tunable))))[0]
        values = self._cube.configuration(point)
        return None if self._history.count(values) else values

    def trust(self) -> float:
        """From 0 to 1."""
        losses = self._history.known_losses()
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
