"""Configurations that did well in earlier sweeps whose scores cannot be compared with those of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.records import Evidence
from galaxy_exp.search.history import History, Losses, Observation
from galaxy_exp.search.space import Values, fingerprint
from galaxy_exp.seeding import derive_seed

__all__ = ["EarlierSweeps"]

BEST_SHARE = 0.25
"""Share of an earlier sweep's measured trials that are candidates: its best ones."""

MOST_CANDIDATES = 10
"""Candidates of one earlier sweep, at most."""

PRIOR_GOOD, PRIOR_BAD = 2.0, 1.0
"""Trust in an earlier sweep before one of its candidates was tried, in numbers of good and of bad candidates."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One earlier sweep."""

    candidates: list[Values]
    """Its best configurations, the best first."""


class EarlierSweeps:
    """Proposes the best configurations of earlier sweeps, as long as they do well in this one.

    Only the order of the trials within their own sweep counts, so that it makes no difference on which scale an earlier
    sweep measured. A candidate is good if it beats the median of the trials of this sweep that are no candidates.
    The share of good ones among those tried, with a prior, is the trust in its sweep, and the probability that
    the next proposal is a candidate. All of it follows from the history.

    Args:
        evidence: trials of earlier sweeps, of which those that are `comparable` are left out.
        history: of this sweep.
        seed: the proposals follow from it.
    """

    def __init__(self, evidence: Sequence[Evidence], history: History, seed: int) -> None:
        self._history = history
        self._seed = seed
        by_sweep: dict[str, list[Evidence]] = {}
        for known in evidence:
            if not known.comparable:
                by_sweep.setdefault(known.sweep_id, []).append(known)
        self._sources = [_Source(_best(found, history)) for found in by_sweep.values()]
        self._candidates = {fingerprint(values) for source in self._sources for values in source.candidates}

    def propose(self, number: int) -> Values | None:
        """The best untried candidate of the most trusted sweep, or None where the sampler has to choose."""
        left = [source for source in self._sources if self._untried(source)]
        if not left:
            return None
        trusts = [self._trust(source) for source in left]
        best = int(np.argmax(trusts))
        draw = np.random.default_rng(derive_seed(self._seed, "earlier", number)).random()
        return self._untried(left[best])[0] if draw < trusts[best] else None

    def _untried(self, source: _Source) -> list[Values]:
        return [values for values in source.candidates if not self._history.count(values)]

    def _trust(self, source: _Source) -> float:
        losses = dict(zip(self._history.ended, self._history.losses(penalise_violations=True), strict=True))
        own = {position: losses[position] for position in losses if self._history.observations[position].own}
        mine = {fingerprint(values) for values in source.candidates}
        prints = {position: fingerprint(self._history.observations[position].values) for position in own}
        others = [loss for position, loss in own.items() if prints[position] not in self._candidates and loss]
        tried = [loss for position, loss in own.items() if prints[position] in mine and loss]
        good = sum(_is_good(loss, others) for loss in tried) if others else 0
        n_tried = len(tried) if others else 0
        return (good + PRIOR_GOOD) / (n_tried + PRIOR_GOOD + PRIOR_BAD)


def _is_good(losses: Losses, others: Sequence[Losses]) -> bool:
    """Whether it is better than half of the others, on average over the objectives."""
    return float(np.mean(np.array(others) > np.array(losses)) + np.mean(np.array(others) == np.array(losses)) / 2) >= 0.5


def _best(found: Sequence[Evidence], history: History) -> list[Values]:
    """The best configurations, by the sum of their ranks in all objectives."""
    measured = [
        (known.values, losses)
        for known in found
        if (losses := history.measured(Observation(known.values, known.outcome), True)) is not None
    ]
    if not measured:
        return []
    ranks = np.sum([_ranks(column) for column in np.array([losses for _, losses in measured]).T], axis=0)
    n_best = min(MOST_CANDIDATES, max(1, round(BEST_SHARE * len(measured))))
    return [dict(measured[index][0]) for index in np.argsort(ranks, kind="stable")[:n_best]]


def _ranks(column: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(column))
