"""How sure one can be of a score, and that one classifier beats another on the same images.

A metric of the confusion matrix depends on an image only through its label and its predictions. So images are not
drawn one by one: they are counted by (label, prediction, ...), a cell, and the counts are drawn. The distribution is
the same, at a fraction of the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import BadInputError
from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.metrics import METRICS

__all__ = [
    "TOTAL_LEVEL",
    "Interval",
    "Intervals",
    "bootstrap_intervals",
    "interval_of",
    "opening_level",
    "paired_bootstrap",
    "paired_permutation",
    "permute_gains",
]

TOTAL_LEVEL = 0.05
"""Bound on the probability that any of the comparisons on one test set promotes a model that is no better."""

MOST_PERMUTATIONS = 2_000_000
"""P-values under 1 / MOST_PERMUTATIONS cannot be told apart."""
_MOST_AT_ONCE = 1000
_BYTES_AT_ONCE = 2**25

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]
Interval = tuple[float, float]
"""Lower and upper end of a 95% interval."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """95% intervals of the scores of one classifier on one set of images."""

    overall: dict[str, Interval]
    """By name: `accuracy`, `balanced_accuracy`, `macro_f1`, `macro_f1_without_rare` if it has a value, `top2`."""
    per_class: dict[str, list[Interval | None]]
    """`completeness`, `purity` and `f1` of each class, in label order; None for a class without images."""


def bootstrap_intervals(labels: NDArray[Any], probabilities: NDArray[Any], n: int = 2000, seed: int = 0) -> Intervals:
    """Percentile intervals over images drawn with replacement (Efron & Tibshirani 1993, chapter 13).

    Of labels, integers (n_images,), n_images above 0, and probabilities (n_images, n_classes), by `n` resamples; the
    same seed gives the same intervals. Draws in which a class's score has no value are left out of its interval: of
    completeness those without images of the class, of purity and F1 those in which it is neither true nor predicted.
    """
    n_classes, rng = probabilities.shape[1], np.random.default_rng(seed)
    among_two = (np.argsort(-probabilities, axis=1, kind="stable")[:, :2] == labels[:, np.newaxis]).any(axis=1)
    cells, sizes = _count_cells(labels, probabilities.argmax(axis=1), among_two)
    drawn = rng.multinomial(len(labels), sizes / len(labels), size=n)
    scores: dict[str, Callable[[Vector], Vector]] = {
        name: partial(metrics.scores, metric=name) for name in ("accuracy", "balanced_accuracy", "macro_f1")
    }
    scores_of_classes = {"completeness": metrics.completeness, "purity": _purity, "f1": metrics.f1_per_class}
    resampled = _score_draws(drawn, cells[0], cells[1], n_classes, {**scores, **scores_of_classes})
    per_class = {name: resampled[name] for name in scores_of_classes}
    images = np.bincount(labels, minlength=n_classes)
    overall = {name: interval_of(resampled[name]) for name in scores}
    if (frequent := images >= metrics.RARE).any():
        overall["macro_f1_without_rare"] = interval_of(np.nanmean(per_class["f1"][:, frequent], axis=1))
    overall["top2"] = interval_of(drawn @ cells[2] / len(labels))
    of_classes = {
        name: [interval_of(values[:, label]) if images[label] else None for label in range(n_classes)]
        for name, values in per_class.items()
    }
    return Intervals(overall, of_classes)


def interval_of(values: Vector) -> Interval:
    """The 95% percentile interval of resampled values (n,), without those that are NaN."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def paired_bootstrap(
    labels: NDArray[Any],
    probabilities_a: NDArray[Any],
    probabilities_b: NDArray[Any],
    metric: str,
    n: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The difference in a metric between classifiers a and b, with its 95% percentile interval.

    Images are resampled with replacement, both classifiers on the same ones (Efron & Tibshirani 1993, An Introduction
    to the Bootstrap, chapters 13 and 16).

    Args:
        labels: integers (n_images,).
        probabilities_a: (n_images, n_classes), as those of b.
        metric: one of `METRICS`.
        n: resamples; the same `seed` gives the same interval.

    Returns:
        (metric of a - metric of b, lower end, upper end).

    Raises:
        BadInputError: an unknown metric, no images, or arrays that do not belong together.
    """
    _check(labels, probabilities_a, probabilities_b, metric)
    rng = np.random.default_rng(seed)
    if metric == "loss":
        difference = metrics.losses(labels, probabilities_a) - metrics.losses(labels, probabilities_b)
        observed = difference.mean()
        drawn = (difference[rng.integers(0, len(labels), len(labels))].mean() for _ in range(n))
        resampled = np.fromiter(drawn, np.float64, n)
    else:
        predictions = probabilities_a.argmax(axis=1), probabilities_b.argmax(axis=1)
        (label, *predicted), sizes = _count_cells(labels, *predictions)
        counts = np.vstack([sizes, rng.multinomial(len(labels), sizes / len(labels), size=n)])
        wanted = {metric: partial(metrics.scores, metric=metric)}
        n_classes = probabilities_a.shape[1]
        score_a, score_b = (_score_draws(counts, label, each, n_classes, wanted)[metric] for each in predicted)
        observed, resampled = score_a[0] - score_b[0], score_a[1:] - score_b[1:]
    return float(observed), *interval_of(resampled)


def _check(labels: NDArray[Any], a: NDArray[Any], b: NDArray[Any], metric: str) -> None:
    if metric not in METRICS:
        raise BadInputError(f"cannot compare models by {metric!r}; expected one of {', '.join(METRICS)}")
    if not len(labels) or a.ndim != 2 or a.shape != b.shape or len(a) != len(labels):
        raise BadInputError(
            f"{len(labels)} labels with probabilities of shapes {a.shape} and {b.shape}; "
            "expected (n_images, n_classes) twice, with as many labels, above 0"
        )


def _count_cells(*properties: NDArray[Any]) -> tuple[Counts, Counts]:
    """Distinct combinations of the images' properties, (n_properties, n_cells), and how many images have each."""
    cells, sizes = np.unique(np.stack(properties).astype(np.int64), axis=1, return_counts=True)
    return cells, sizes


def _purity(matrices: Vector) -> Vector:
    return np.where((matrices.sum(axis=1) + matrices.sum(axis=2)) > 0, metrics.purity(matrices), np.nan)


def _score_draws(
    counts: Counts,
    labels: Counts,
    predictions: Counts,
    n_classes: int,
    scores: Mapping[str, Callable[[Vector], Vector]],
) -> dict[str, Vector]:
    """Scores, by name, of the confusion matrices of counts per cell (n, n_cells), a part of the draws at a time."""
    places = labels * n_classes + predictions
    order = np.argsort(places, kind="stable")
    occupied, starts = np.unique(places[order], return_index=True)
    found: dict[str, list[Vector]] = {name: [] for name in scores}
    step = max(1, _BYTES_AT_ONCE // (8 * n_classes**2))
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step, order]
        matrices = np.zeros((len(drawn), n_classes**2))
        matrices[:, occupied] = np.add.reduceat(drawn, starts, axis=1)
        for name, score in scores.items():
            found[name].append(score(matrices.reshape(-1, n_classes, n_classes)))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def opening_level(number: int) -> float:
    """The one-sided level of the comparison at the `number`-th opening of a test set, counted from 1.

    At most number - 1 comparisons have gone before, as the champion's own test was an opening too. The j-th has the
    level 0.05 / (j (j + 1)): 2.5%, 0.83%, 0.42%, and so on, which add up to 5% (alpha spending; Foster & Stine 2008).
    """
    comparison = max(number - 1, 1)
    return TOTAL_LEVEL / (comparison * (comparison + 1))


def paired_permutation(
    labels: NDArray[Any],
    probabilities_a: NDArray[Any],
    probabilities_b: NDArray[Any],
    metric: str,
    level: float = 0.025,
    seed: int = 0,
) -> float:
    """One-sided p-value of classifier a being better than b on the same images.

    If neither is better, their predictions of an image can be exchanged: this is done at random, image by image. With
    accuracy this is McNemar's test, whose p-value is exact. Unlike a percentile of the bootstrap, which resamples the
    few images on which the two differ, it holds its level however small that is (Good 2005, Permutation, Parametric and
    Bootstrap Tests of Hypotheses; the p-value of random permutations: Phipson & Smyth 2010).

    Args:
        labels, probabilities_a, probabilities_b, metric: as of `paired_bootstrap`; less is better of the loss.
        level: what the p-value will be compared with. There are 10 / level permutations, at most `MOST_PERMUTATIONS`,
            and no more once it is certain that the p-value of all of them is above the level.
        seed: the same seed gives the same p-value.

    Raises:
        BadInputError: an unknown metric, no images, or arrays that do not belong together.
    """
    _check(labels, probabilities_a, probabilities_b, metric)
    if metric == "accuracy":
        return _mcnemar(probabilities_a.argmax(axis=1) == labels, probabilities_b.argmax(axis=1) == labels)
    if metric == "loss":
        losses_a, losses_b = (metrics.losses(labels, each) for each in (probabilities_a, probabilities_b))
        return permute_gains(losses_b - losses_a, level, seed)
    return _permute(_exchange_predictions(labels, probabilities_a, probabilities_b, metric), level, seed)


def permute_gains(gains: Vector, level: float = 0.025, seed: int = 0) -> float:
    """One-sided p-value of a mean gain above zero, if each image's gain, (n_images,), may as well have the other sign.

    Level and seed are as of `paired_permutation`.
    """
    return _permute(_exchange_signs(gains), level, seed) if len(gains) else 1.0


def _permute(exchange: _Exchange, level: float, seed: int) -> float:
    n_bytes, gains = exchange
    gain, rng = gains(np.zeros((1, n_bytes), np.uint8))[0], np.random.default_rng(seed)
    bytes_each = 72 * max(n_bytes, 1)  # a bit takes one byte, and eight more as a number
    at_once = min(_MOST_AT_ONCE, max(_BYTES_AT_ONCE // bytes_each, 1))
    n_wanted = min(math.ceil(10 / level), MOST_PERMUTATIONS)
    n_drawn = n_as_good = 0
    while n_drawn < n_wanted and 1 + n_as_good <= level * (1 + n_wanted):
        drawn = rng.integers(0, 256, (min(at_once, n_wanted - n_drawn), n_bytes), np.uint8)
        n_as_good += int((gains(drawn) >= gain - 1e-12).sum())
        n_drawn += len(drawn)
    return (1 + n_as_good) / (1 + n_drawn)


def _mcnemar(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> float:
    """P-value of the images on which a alone is right, among those on which one of the two is."""
    from scipy.stats import binomtest

    n_better, n_worse = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n_different = n_better + n_worse
    return float(binomtest(n_better, n_different, alternative="greater").pvalue) if n_different else 1.0


_Exchange = tuple[int, Callable[[NDArray[np.uint8]], Vector]]
"""Random exchanges of two classifiers' predictions: one bit an image says whether its predictions are exchanged.

The number of random bytes of a permutation, n_bytes, and a function from random bytes, (n, n_bytes), to the gains of
a over b, (n,)."""


def _exchange_predictions(labels: NDArray[Any], a: NDArray[Any], b: NDArray[Any], metric: str) -> _Exchange:
    """An exchange moves counts of right and predicted images, (2 n_classes,), from one classifier to the other.

    Images with the same label and predictions are counted together, up to eight in a byte.
    """
    n_classes = a.shape[1]
    (label, *predicted), sizes = _count_cells(labels, a.argmax(axis=1), b.argmax(axis=1))
    each_a, each_b = (_right_and_predicted(label, each, n_classes) for each in predicted)
    of_a, of_b = sizes @ each_a, sizes @ each_b
    true = np.bincount(labels, minlength=n_classes).astype(np.float64)
    differs = np.flatnonzero(predicted[0] != predicted[1])
    n_bytes = -(-sizes[differs] // 8)
    mask = np.full(n_bytes.sum(), 255, np.uint8)
    mask[n_bytes.cumsum() - 1] = 255 >> (8 * n_bytes - sizes[differs])
    moved = (each_b - each_a)[np.repeat(differs, n_bytes)]

    def score(counts: Vector) -> Vector:
        return metrics.score_counts(counts[:, :n_classes], true, counts[:, n_classes:], metric)

    def gains(drawn: NDArray[np.uint8]) -> Vector:
        exchanged = of_a + np.bitwise_count(drawn & mask).astype(np.float64) @ moved
        return score(exchanged) - score(of_a + of_b - exchanged)

    return len(mask), gains


def _right_and_predicted(labels: Counts, predictions: Counts, n_classes: int) -> Vector:
    """For each image, (n, 2 n_classes): 1 in its predicted class; in the first half only if that is right."""
    predicted = np.eye(n_classes)[predictions]
    return np.hstack([predicted * (predictions == labels)[:, np.newaxis], predicted])


def _exchange_signs(gain: Vector) -> _Exchange:
    def gains(drawn: NDArray[np.uint8]) -> Vector:
        exchanged = np.unpackbits(drawn, axis=1, count=len(gain)).astype(np.float64)
        return np.asarray(gain.mean() - 2 * (exchanged @ gain) / len(gain))

    return -(-len(gain) // 8), gains
