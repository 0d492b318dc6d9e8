"""Configurations that did well in earlier sweeps whose scores cannot be compared with those of this one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from galaxy_exp.records import Evidence
from galaxy_exp.search.history import History, Losses, Observation
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace, Values, fingerprint

__all__ = ["EarlierSweeps", "trust_in"]

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
        space: of this sweep.
        history: of this sweep.
        seed: the proposals follow from it.
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
        losses = dict(zip(self._history.ended, self._history.losses(penalise_violations=True), strict=True))
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

    Args:
        tried: None for one that still runs, which counts as bad.
    """
    n_good = sum(losses is not None and _is_good(losses, others) for losses in tried)
    return (n_good + 1) / (len(tried) + 2)


def _is_good(losses: Losses, others: Sequence[Losses]) -> bool:
    """Whether it beats more than half of the others, on average over the objectives."""
    return bool(np.mean(np.array(others) > np.array(losses)) > 0.5)


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
