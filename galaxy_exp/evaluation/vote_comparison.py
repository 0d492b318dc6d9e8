"""How sure one can be of the scores of votes, and that one network predicts them better than another.

All scores but those of the winning answer follow from sums over images, so images are resampled by weighting these
sums. The scores of the winning answer are those of classes, on the images whose votes agree (`resampling`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import BadInputError
from galaxy_exp.evaluation.metrics import N_BINS, find_bins
from galaxy_exp.evaluation.resampling import Interval, paired_bootstrap, paired_permutation, permute_gains
from galaxy_exp.evaluation.vote_metrics import (
    AGREED_METRICS,
    LEVEL,
    VOTE_METRICS,
    compare_fractions,
    find_agreed,
    image_brier_scores,
    image_coverages,
    image_deviances,
    image_likelihoods,
)
from galaxy_exp.questions import Votes

__all__ = [
    "COMPARED",
    "compare_votes",
    "first_question",
    "gate_metric",
    "vote_intervals",
    "vote_permutation",
]

COMPARED = tuple(name for name in VOTE_METRICS if name != "loss")
"""The metrics that two networks of the same votes are compared by; their losses may be of different kinds."""

_IMAGE_MEANS: dict[str, Callable[[Votes, NDArray[Any]], NDArray[np.float64]]] = {
    "deviance": image_deviances,
    "brier": image_brier_scores,
    "nll": image_likelihoods,
}
"""Scores that are means over the images, less being better; NaN for an image without votes."""

_RESAMPLES_AT_ONCE = 50

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Sums:
    """A score that follows from sums over images."""

    terms: Vector
    """(n, k), summed over the n images."""
    score: Callable[[Vector], Vector]
    """From sums (..., k) to scores (...)."""


def gate_metric(objective: str) -> str:
    """What decides between two networks: the objective where a paired test knows it, else the deviance."""
    name = objective.removeprefix("val_")
    return name if name in (*_IMAGE_MEANS, *AGREED_METRICS) else "deviance"


def first_question(votes: Votes, outputs: NDArray[Any]) -> tuple[NDArray[np.int64], Vector]:
    """The winning answers to the first question, (n,), and the predicted fractions of its answers, (n, n_classes)."""
    questions = votes.questions
    return questions.winners(votes.values), questions.fractions(outputs)[:, : questions.widths[0]]


def vote_intervals(votes: Votes, outputs: NDArray[Any], n: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """95% percentile intervals over images drawn with replacement, of all scores but `AGREED_METRICS` and `loss`.

    Args:
        votes: of n_images, above 0.
        outputs: (n_images, n_answers).
        n: resamples.
        seed: of the resampling; the same seed gives the same intervals.
    """
    (resampled,) = _resample([_sums(votes, outputs)], len(votes), n, seed)
    return {name: _interval(values[1:]) for name, values in resampled.items()}


def compare_votes(
    votes: Votes, a: NDArray[Any], b: NDArray[Any], agreement: float, n: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """By metric of `COMPARED`, its difference between networks a and b, with the ends of its 95% interval.

    Images are resampled with replacement, both networks on the same ones. `nll` is left out for fractions, and
    `AGREED_METRICS` are if no image's votes agree.

    Args:
        votes: of n_images, above 0.
        a: outputs (n_images, n_answers).
        b: likewise, of the same images.
        agreement: as of `vote_metrics.summarise_votes`.
        n: resamples.
        seed: of the resampling; the same seed gives the same intervals.

    Raises:
        BadInputError: no images, or arrays that do not belong together.
    """
    _check(votes, a, b)
    of_a, of_b = _resample([_sums(votes, a), _sums(votes, b)], len(votes), n, seed)
    found = {}
    for name, values in of_a.items():
        difference = values - of_b[name]
        found[name] = (float(difference[0]), *_interval(difference[1:]))
    agreed = find_agreed(votes, agreement)
    if agreed.any():
        labels, of_first = first_question(votes, a)
        _, of_second = first_question(votes, b)
        both = labels[agreed], of_first[agreed], of_second[agreed]
        found |= {name: paired_bootstrap(*both, name, n, seed) for name in AGREED_METRICS}
    return {name: found[name] for name in COMPARED if name in found}


def vote_permutation(
    votes: Votes,
    a: NDArray[Any],
    b: NDArray[Any],
    metric: str,
    agreement: float,
    level: float = 0.025,
    seed: int = 0,
) -> float:
    """One-sided p-value of network a being better than b on the same votes, as `resampling.paired_permutation`.

    Args:
        votes: of n_images, above 0.
        a: outputs (n_images, n_answers).
        b: likewise, of the same images.
        metric: a result of `gate_metric`.
        agreement: as of `vote_metrics.summarise_votes`; 1.0 is returned if no image's votes agree and `metric` is of
            these images.
        level: what the p-value will be compared with.
        seed: of the permutations; the same seed gives the same p-value.

    Raises:
        BadInputError: another metric, no images, or arrays that do not belong together.
    """
    _check(votes, a, b)
    if metric in AGREED_METRICS:
        agreed = find_agreed(votes, agreement)
        labels, of_first = first_question(votes, a)
        _, of_second = first_question(votes, b)
        if not agreed.any():
            return 1.0
        return paired_permutation(labels[agreed], of_first[agreed], of_second[agreed], metric, level, seed)
    if metric not in _IMAGE_MEANS:
        known = ", ".join((*_IMAGE_MEANS, *AGREED_METRICS))
        raise BadInputError(f"cannot compare models of votes by {metric!r}; expected one of {known}")
    gains = _IMAGE_MEANS[metric](votes, b) - _IMAGE_MEANS[metric](votes, a)
    return permute_gains(gains[~np.isnan(gains)], level, seed)


def _check(votes: Votes, a: NDArray[Any], b: NDArray[Any]) -> None:
    expected = (len(votes), votes.questions.n_answers)
    if not len(votes) or a.shape != expected or b.shape != expected:
        raise BadInputError(f"outputs of shapes {a.shape} and {b.shape}; expected {expected} twice, not empty")


def _sums(votes: Votes, outputs: NDArray[Any]) -> dict[str, _Sums]:
    found = {
        name: _mean(measure(votes, outputs))
        for name, measure in _IMAGE_MEANS.items()
        if name != "nll" or votes.are_counts
    }
    observed, predicted, weights = compare_fractions(votes, outputs)
    squares, weight = (weights * (observed - predicted) ** 2).sum(axis=1), weights.sum(axis=1)
    found["rmse"] = _Sums(np.stack([squares, weight], axis=1), lambda sums: np.sqrt(_ratio(sums)))
    found["calibration_error"] = _calibration(observed, predicted, weights)
    if votes.are_counts:
        found["coverage"] = _Sums(np.stack(image_coverages(votes, outputs, LEVEL), axis=1), _ratio)
    return found


def _mean(values: Vector) -> _Sums:
    known = ~np.isnan(values)
    return _Sums(np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1), _ratio)


def _calibration(observed: Vector, predicted: Vector, weights: Vector) -> _Sums:
    """Its terms are the surplus in each bin of predicted fractions, and the weight."""
    places = find_bins(predicted)
    surplus = weights * (predicted - observed)
    columns = [np.where(places == place, surplus, 0.0).sum(axis=1) for place in range(N_BINS)]
    terms = np.stack([*columns, weights.sum(axis=1)], axis=1)
    return _Sums(terms, lambda sums: np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1])


def _ratio(sums: Vector) -> Vector:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _resample(networks: Sequence[dict[str, _Sums]], n_images: int, n: int, seed: int) -> tuple[dict[str, Vector], ...]:
    """The scores of each network on all images and then on n resamples, (n + 1,) by name."""
    every = [sums for network in networks for sums in network.values()]
    terms = np.concatenate([sums.terms for sums in every], axis=1)
    drawn = np.concatenate([weights @ terms for weights in _draw_weights(n_images, n, seed)])
    totals = np.concatenate([terms.sum(axis=0, keepdims=True), drawn])
    ends = np.cumsum([sums.terms.shape[1] for sums in every])
    parts = iter(np.split(totals, ends[:-1], axis=1))
    return tuple({name: sums.score(next(parts)) for name, sums in network.items()} for network in networks)


def _draw_weights(n_images: int, n: int, seed: int) -> Iterator[Vector]:
    """How often each image is drawn, (some, n_images), for n resamples in all."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, _RESAMPLES_AT_ONCE):
        drawn = [rng.integers(0, n_images, n_images) for _ in range(min(_RESAMPLES_AT_ONCE, n - start))]
        yield np.stack([np.bincount(each, minlength=n_images) for each in drawn]).astype(np.float64)


def _interval(values: Vector) -> Interval:
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
