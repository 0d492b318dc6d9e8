"""How sure one can be of a score, and that one classifier beats another on the same images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp import metrics
from galaxy_exp.errors import BadInputError

__all__ = ["METRICS", "Interval", "Intervals", "bootstrap_intervals", "paired_bootstrap", "paired_permutation"]

METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "loss")
"""The metrics that can be compared; `loss` is the mean cross-entropy in nats."""

MOST_DRAWS = 2_000_000
"""Permutations at most: p-values under 1 / MOST_DRAWS cannot be told apart."""
_DRAWS_AT_ONCE = 1000
_BYTES_AT_ONCE = 2**25

Vector = NDArray[np.float64]
Interval = tuple[float, float]
"""Lower and upper end of a 95% interval."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """95% intervals of what one classifier scored on one set of images."""

    overall: dict[str, Interval]
    """By name: `accuracy`, `balanced_accuracy`, `macro_f1`, `macro_f1_without_rare` if it has a value, `top2`."""
    per_class: dict[str, list[Interval | None]]
    """`completeness`, `purity` and `f1` of each class, in label order; None for a class without images."""


def bootstrap_intervals(labels: NDArray[Any], probabilities: NDArray[Any], n: int = 2000, seed: int = 0) -> Intervals:
    """Percentile intervals over images drawn with replacement (Efron & Tibshirani 1993, chapter 13).

    As in `paired_bootstrap`, what is drawn is how often each (label, prediction, whether the label is among the two
    most probable classes) occurs. A draw with a class neither true nor predicted says nothing of that class.

    Args:
        labels: integers (n_images,), n_images above 0.
        probabilities: (n_images, n_classes).
        n: resamples.
        seed: of the resampling; the same seed gives the same intervals.
    """
    n_classes, rng = probabilities.shape[1], np.random.default_rng(seed)
    among_two = (np.argsort(-probabilities, axis=1, kind="stable")[:, :2] == labels[:, np.newaxis]).any(axis=1)
    triples = np.stack([labels.astype(np.int64), probabilities.argmax(axis=1), among_two.astype(np.int64)])
    cells, counts = np.unique(triples, axis=1, return_counts=True)
    drawn = rng.multinomial(len(labels), counts / len(labels), size=n)
    matrices = _confusion_stack(drawn, cells[0], cells[1], n_classes)
    overall = {name: _interval(_score(matrices, name)) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    per_class = _per_class(matrices)
    frequent = np.bincount(labels, minlength=n_classes) >= metrics.RARE
    if frequent.any():
        overall["macro_f1_without_rare"] = _interval(np.nanmean(per_class["f1"][:, frequent], axis=1))
    overall["top2"] = _interval(drawn @ cells[2] / len(labels))
    present = np.bincount(labels, minlength=n_classes) > 0
    return Intervals(overall, {name: _intervals(values, present) for name, values in per_class.items()})


def _per_class(matrices: Vector) -> dict[str, Vector]:
    """Completeness, purity and F1 (n, n_classes) of a stack of matrices; NaN where a class has no image."""
    right = np.diagonal(matrices, axis1=1, axis2=2)
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)

    def share(of: Vector, whole: Vector, empty: float) -> Vector:
        return np.divide(of, whole, out=np.full_like(whole, empty), where=whole > 0)

    f1 = np.where(true > 0, share(2 * right, true + predicted, np.nan), np.nan)
    purity = np.where(true + predicted > 0, share(right, predicted, 0.0), np.nan)
    return {"completeness": share(right, true, np.nan), "purity": purity, "f1": f1}


def _intervals(values: Vector, present: NDArray[np.bool_]) -> list[Interval | None]:
    return [_interval(values[:, label]) if known else None for label, known in enumerate(present)]


def _interval(values: Vector) -> Interval:
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

    Images are resampled with replacement, both classifiers on the same ones (Efron & Tibshirani 1993, An
    Introduction to the Bootstrap, chapters 13 and 16). What matters of an image to a metric of the confusion
    matrix is only its (label, prediction of a, prediction of b), so resampling is a multinomial draw over the
    few such triples that occur: the same distribution as drawing images, at a fraction of the work.

    Args:
        labels: integers (n_images,).
        probabilities_a: (n_images, n_classes).
        probabilities_b: likewise, of the same images.
        metric: one of `METRICS`.
        n: resamples.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        (metric of a - metric of b, lower end, upper end).

    Raises:
        BadInputError: an unknown metric, no images, or arrays that do not belong together.
    """
    _check(labels, probabilities_a, probabilities_b, metric)
    draw = _loss_differences if metric == "loss" else _matrix_differences
    observed, resampled = draw(labels, probabilities_a, probabilities_b, metric, n, np.random.default_rng(seed))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return observed, float(low), float(high)


def _check(labels: NDArray[Any], a: NDArray[Any], b: NDArray[Any], metric: str) -> None:
    if metric not in METRICS:
        raise BadInputError(f"cannot compare models by {metric!r}; expected one of {', '.join(METRICS)}")
    if not len(labels) or a.ndim != 2 or a.shape != b.shape or len(a) != len(labels):
        raise BadInputError(
            f"{len(labels)} labels with probabilities of shapes {a.shape} and {b.shape}; "
            "expected (n_images, n_classes) twice, with as many labels, above 0"
        )


def _matrix_differences(
    labels: NDArray[Any], a: NDArray[Any], b: NDArray[Any], metric: str, n: int, rng: np.random.Generator
) -> tuple[float, Vector]:
    triples = np.stack([labels.astype(np.int64), a.argmax(axis=1), b.argmax(axis=1)])
    cells, counts = np.unique(triples, axis=1, return_counts=True)
    drawn = np.vstack([counts, rng.multinomial(len(labels), counts / len(labels), size=n)])
    scores = [_score(_confusion_stack(drawn, cells[0], cells[k], a.shape[1]), metric) for k in (1, 2)]
    difference = scores[0] - scores[1]
    return float(difference[0]), difference[1:]


def _confusion_stack(
    drawn: NDArray[np.int64], labels: NDArray[np.int64], predictions: NDArray[np.int64], n_classes: int
) -> Vector:
    """Confusion matrices (n, n_classes, n_classes) of counts per cell (n, n_cells)."""
    membership = np.zeros((drawn.shape[1], n_classes * n_classes))
    membership[np.arange(drawn.shape[1]), labels * n_classes + predictions] = 1.0
    return (drawn.astype(np.float64) @ membership).reshape(-1, n_classes, n_classes)


def _score(matrices: Vector, metric: str) -> Vector:
    """A metric of each matrix of a stack, by the conventions of `galaxy_exp.metrics`. Shape (n,)."""
    return _score_counts(np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1), metric)


def _score_counts(right: Vector, true: Vector, predicted: Vector, metric: str) -> Vector:
    """The same from what is right and predicted (n, n_classes) and true (likewise, or (n_classes,)) in each class."""
    if metric == "accuracy":
        return np.asarray(right.sum(axis=1) / true.sum(axis=-1))
    scale, whole = (1.0, true) if metric == "balanced_accuracy" else (2.0, true + predicted)
    per_class = np.divide(scale * right, whole, out=np.zeros_like(predicted), where=true > 0)
    return np.asarray(per_class.sum(axis=1) / (true > 0).sum(axis=-1))


def _loss_differences(
    labels: NDArray[Any], a: NDArray[Any], b: NDArray[Any], metric: str, n: int, rng: np.random.Generator
) -> tuple[float, Vector]:
    difference = _losses(labels, a) - _losses(labels, b)
    resampled = [difference[rng.integers(0, len(labels), len(labels))].mean() for _ in range(n)]
    return float(difference.mean()), np.asarray(resampled)


def _losses(labels: NDArray[Any], probabilities: NDArray[Any]) -> Vector:
    """The cross-entropy of each image, (n_images,)."""
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(right, 1e-7, 1.0)))


def paired_permutation(
    labels: NDArray[Any],
    probabilities_a: NDArray[Any],
    probabilities_b: NDArray[Any],
    metric: str,
    level: float = 0.025,
    seed: int = 0,
) -> float:
    """One-sided p-value of classifier a being better than b on the same images.

    If neither is better, it does not matter which of the two said what of an image: their predictions are exchanged at
    random, image by image. With accuracy this is McNemar's test, whose p-value is exact. Unlike a percentile of the
    bootstrap, which resamples the few images on which the two differ, it holds its level however small that is (Good
    2005, Permutation, Parametric and Bootstrap Tests of Hypotheses; the p-value of random permutations: Phipson & Smyth
    2010).

    Args:
        labels: integers (n_images,).
        probabilities_a: (n_images, n_classes).
        probabilities_b: likewise, of the same images.
        metric: one of `METRICS`; less is better of the loss.
        level: what the p-value is going to be compared with. There are 10 / level permutations, at most `MOST_DRAWS`,
            and no more once it is certain that the p-value of all of them is above the level.
        seed: of the permutations; the same seed gives the same p-value.

    Raises:
        BadInputError: an unknown metric, no images, or arrays that do not belong together.
    """
    _check(labels, probabilities_a, probabilities_b, metric)
    if metric == "accuracy":
        return _mcnemar(probabilities_a.argmax(axis=1) == labels, probabilities_b.argmax(axis=1) == labels)
    exchange = _exchanged_losses if metric == "loss" else _exchanged_predictions
    width, gains = exchange(labels, probabilities_a, probabilities_b, metric)
    gain, rng = gains(np.zeros((1, width), np.uint8))[0], np.random.default_rng(seed)
    bytes_per_draw = 72 * max(width, 1)  # a bit takes one byte, and eight more as a number
    at_once = min(_DRAWS_AT_ONCE, max(_BYTES_AT_ONCE // bytes_per_draw, 1))
    n_draws = min(math.ceil(10 / level), MOST_DRAWS)
    n_drawn = n_as_good = 0
    while n_drawn < n_draws and 1 + n_as_good <= level * (1 + n_draws):
        drawn = rng.integers(0, 256, (min(at_once, n_draws - n_drawn), width), np.uint8)
        n_as_good += int((gains(drawn) >= gain - 1e-12).sum())
        n_drawn += len(drawn)
    return (1 + n_as_good) / (1 + n_drawn)


def _mcnemar(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> float:
    """The probability that b alone is right on as few images as it is, or fewer, if a coin decides who is right."""
    from scipy.special import bdtr

    n_better, n_worse = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(bdtr(n_worse, n_better + n_worse, 0.5))


_Exchanged = tuple[int, Callable[[NDArray[np.uint8]], Vector]]
"""Random bytes of a draw, and the gains (n,) of a over b by such bytes (n, bytes): each bit says whether the
predictions of one image are exchanged."""


def _exchanged_predictions(labels: NDArray[Any], a: NDArray[Any], b: NDArray[Any], metric: str) -> _Exchanged:
    """An exchange moves counts of right and predicted images, (2 n_classes,), from one classifier to the other.

    Images with the same label and predictions are counted together, up to 8 in a byte.
    """
    triples = np.stack([labels.astype(np.int64), a.argmax(axis=1), b.argmax(axis=1)])
    (label, *predicted), sizes = np.unique(triples, axis=1, return_counts=True)
    n_classes = a.shape[1]
    each_a, each_b = (_right_and_predicted(label, of_one, n_classes) for of_one in predicted)
    of_a, of_b = sizes @ each_a, sizes @ each_b
    true = np.bincount(labels, minlength=n_classes).astype(np.float64)
    differs = np.flatnonzero(predicted[0] != predicted[1])
    n_bytes = -(-sizes[differs] // 8)
    mask = np.full(n_bytes.sum(), 255, np.uint8)
    mask[n_bytes.cumsum() - 1] = 255 >> (8 * n_bytes - sizes[differs])
    moved = (each_b - each_a)[np.repeat(differs, n_bytes)]

    def score(counts: Vector) -> Vector:
        return _score_counts(counts[:, :n_classes], true, counts[:, n_classes:], metric)

    def gains(drawn: NDArray[np.uint8]) -> Vector:
        then = of_a + np.bitwise_count(drawn & mask).astype(np.float64) @ moved
        return score(then) - score(of_a + of_b - then)

    return len(mask), gains


def _right_and_predicted(labels: NDArray[Any], predictions: NDArray[Any], n_classes: int) -> Vector:
    """Of each image, (n, 2 n_classes): 1 in its predicted class, first only if that is right."""
    predicted = np.eye(n_classes)[predictions]
    return np.hstack([predicted * (predictions == labels)[:, np.newaxis], predicted])


def _exchanged_losses(labels: NDArray[Any], a: NDArray[Any], b: NDArray[Any], metric: str) -> _Exchanged:
    gain = _losses(labels, b) - _losses(labels, a)

    def gains(drawn: NDArray[np.uint8]) -> Vector:
        exchanged = np.unpackbits(drawn, axis=1, count=len(gain)).astype(np.float64)
        return np.asarray(gain.mean() - 2 * (exchanged @ gain) / len(gain))

    return -(-len(gain) // 8), gains
