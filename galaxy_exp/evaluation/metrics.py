"""Classification metrics, all from confusion matrices.

Conventions, as in scikit-learn with `zero_division=0` (tests compare them): rows of a matrix are true classes, columns
predicted ones; a class that was never predicted has purity 0; averages over classes leave out those without true
images, so that a data set without a rare class is not punished for it. Astronomers say completeness for recall and
purity for precision.

The arithmetic is our own where it has to be fast: an epoch scores up to hundreds of thousands of images, and the
bootstrap scores stacks of matrices. `matrices` is one matrix (n_classes, n_classes) or a stack of them
(..., n_classes, n_classes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "METRICS",
    "METRIC_LABELS",
    "N_BINS",
    "RARE",
    "accuracy",
    "balanced_accuracy",
    "completeness",
    "confusion_matrix",
    "confusion_record",
    "divide",
    "f1_per_class",
    "find_bins",
    "log_loss",
    "losses",
    "macro_f1",
    "macro_f1_without_rare",
    "overall_scores",
    "per_class_table",
    "per_class_text",
    "purity",
    "score_counts",
    "scores",
    "summarise_predictions",
    "top_k_accuracy",
]

METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "loss")
"""The metrics that models can be compared by; `loss` is the mean cross-entropy in nats."""

RARE = 20
"""A class with fewer true images than this says little: one image more or less moves its F1 by some 0.05."""

N_BINS = 10
"""Of equal width, in which predicted probabilities and fractions are compared with what was observed."""

METRIC_LABELS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "macro_f1_without_rare": f"macro-F1 without classes under {RARE} images",
    "balanced_accuracy": "balanced accuracy",
    "top2": "top-2 accuracy",
    "loss": "cross-entropy (nats)",
    "calibration_error": "expected calibration error",
}
"""What people are shown for a metric's name."""

Matrix = NDArray[Any]
Vector = NDArray[np.float64]


def confusion_matrix(labels: NDArray[Any], predictions: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    """Counts of true class (row) against predicted class (column): int64 (n_classes, n_classes).

    Labels and predictions are integers in 0..n_classes-1, of shape (n,).
    """
    flat = labels.astype(np.int64) * n_classes + predictions.astype(np.int64)
    return np.bincount(flat, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def completeness(matrices: Matrix) -> Vector:
    """Recall of each class: found / true. NaN for a class without true images. Shape (..., n_classes)."""
    return divide(_right(matrices), matrices.sum(axis=-1), empty=np.nan)


def purity(matrices: Matrix) -> Vector:
    """Precision of each class: right / predicted. 0 for a class never predicted. Shape (..., n_classes)."""
    return divide(_right(matrices), matrices.sum(axis=-2), empty=0.0)


def f1_per_class(matrices: Matrix) -> Vector:
    """Harmonic mean of completeness and purity; NaN for a class without true images. Shape (..., n_classes)."""
    true = matrices.sum(axis=-1)
    f1 = divide(2 * _right(matrices), true + matrices.sum(axis=-2), empty=np.nan)
    return np.where(true > 0, f1, np.nan)


def scores(matrices: Matrix, metric: str) -> Vector:
    """`accuracy`, `macro_f1` or `balanced_accuracy` of each matrix of a stack; 0 for an empty one. Shape (...,)."""
    if metric == "accuracy":
        return divide(_right(matrices).sum(axis=-1), matrices.sum(axis=(-2, -1)), empty=0.0)
    per_class = {"macro_f1": f1_per_class, "balanced_accuracy": completeness}[metric](matrices)
    present = ~np.isnan(per_class)
    return divide(np.where(present, per_class, 0.0).sum(axis=-1), present.sum(axis=-1), empty=0.0)


def score_counts(right: Vector, true: Vector, predicted: Vector, metric: str) -> Vector:
    """The same from the counts of each class: right and predicted (n, n_classes), true (n_classes,). Shape (n,)."""
    scale, whole = (1.0, true) if metric == "balanced_accuracy" else (2.0, true + predicted)
    per_class = np.divide(scale * right, whole, out=np.zeros_like(predicted), where=true > 0)
    return np.asarray(per_class.sum(axis=1) / (true > 0).sum(axis=-1))


def accuracy(matrix: Matrix) -> float:
    """Fraction of images on the diagonal of (n_classes, n_classes); 0 for an empty matrix."""
    return float(scores(matrix, "accuracy"))


def macro_f1(matrix: Matrix) -> float:
    """Mean F1 over the classes with true images; 0 for an empty matrix."""
    return float(scores(matrix, "macro_f1"))


def balanced_accuracy(matrix: Matrix) -> float:
    """Mean completeness over the classes with true images; 0 for an empty matrix."""
    return float(scores(matrix, "balanced_accuracy"))


def overall_scores(matrix: Matrix) -> dict[str, float]:
    """`accuracy`, `macro_f1` and `balanced_accuracy`, by name."""
    return {name: float(scores(matrix, name)) for name in ("accuracy", "macro_f1", "balanced_accuracy")}


def macro_f1_without_rare(matrix: Matrix) -> float | None:
    """Mean F1 over the classes with at least `RARE` true images; None if there are none."""
    frequent = matrix.sum(axis=1) >= RARE
    return float(f1_per_class(matrix)[frequent].mean()) if frequent.any() else None


def top_k_accuracy(labels: NDArray[Any], probabilities: NDArray[Any], k: int) -> float:
    """Fraction of images whose class is among the k most probable; of equal probabilities the lower class is first.

    Of labels, integers (n,), and probabilities (n, n_classes).
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, np.newaxis]).any(axis=1).mean()) if len(labels) else 0.0


def losses(labels: NDArray[Any], probabilities: NDArray[Any]) -> Vector:
    """Cross-entropy of each image in nats, (n,); probabilities (n, n_classes) are clipped at 1e-7, as Keras does."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(chosen, 1e-7, 1.0)))


def log_loss(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Mean of `losses`."""
    return float(losses(labels, probabilities).mean())


def summarise_predictions(labels: NDArray[Any], probabilities: NDArray[Any]) -> dict[str, float]:
    """`loss`, `accuracy`, `macro_f1` and `balanced_accuracy` of probabilities (n, n_classes) for labels (n,)."""
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {"loss": log_loss(labels, probabilities), **overall_scores(matrix)}


def per_class_table(
    labels: NDArray[Any], probabilities: NDArray[Any], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """One record per class, in label order, of labels, integers (n,), and probabilities (n, n_classes).

    Returns:
        `class`, `images` (how many are truly of it), `completeness`, `purity`, `f1`; the first and last of
        these ratios are None for a class without images.
    """
    from sklearn.metrics import precision_recall_fscore_support

    places, predicted = np.arange(len(class_names)), probabilities.argmax(axis=1)
    columns = precision_recall_fscore_support(labels, predicted, labels=places, zero_division=0)
    return [
        {
            "class": name,
            "images": images,
            "completeness": recall if images else None,
            "purity": precision,
            "f1": f1 if images else None,
        }
        for name, precision, recall, f1, images in zip(class_names, *(each.tolist() for each in columns), strict=True)
    ]


def per_class_text(labels: NDArray[Any], probabilities: NDArray[Any], class_names: Sequence[str]) -> str:
    """`per_class_table` as a table of aligned text, one line per class under a header, for a terminal or a file."""
    rows = [["class", "images", "completeness", "purity", "f1"]]
    for record in per_class_table(labels, probabilities, class_names):
        name, images, *ratios = record.values()
        rows.append([name, str(images), *("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios)])
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = ([row[0].ljust(first), *map(str.rjust, row[1:], others)] for row in rows)
    return "".join(f"{'  '.join(line)}\n" for line in lines)


def confusion_record(matrix: Matrix, class_names: Sequence[str]) -> dict[str, Any]:
    """The matrix of counts (n_classes, n_classes) and what follows from it, as JSON.

    Returns:
        `class_names`, `counts`, `row_share` (each row divided by its sum; 0 for a class without images),
        `completeness` and `purity` per class (None for a class without images, or never predicted),
        `n_images`, `accuracy`, `macro_f1`, `balanced_accuracy`.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return {
        "class_names": list(class_names),
        "counts": counts.tolist(),
        "row_share": (counts / np.maximum(true, 1)[:, np.newaxis]).tolist(),
        "completeness": [None if math.isnan(value) else value for value in completeness(counts).tolist()],
        "purity": [value if n else None for value, n in zip(purity(counts).tolist(), predicted, strict=True)],
        "n_images": int(counts.sum()),
        **overall_scores(counts),
    }


def find_bins(values: Vector) -> NDArray[np.int64]:
    """The bin of each value in 0..1, from 0 to `N_BINS` - 1; a value between two bins is in the lower one."""
    return np.clip(np.ceil(values * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1)


def _right(matrices: Matrix) -> NDArray[Any]:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def divide(numerator: NDArray[Any], denominator: NDArray[Any], *, empty: float) -> Vector:
    """The ratios, element by element, of arrays of the same shape; `empty` where the denominator is 0."""
    numerator, denominator = np.asarray(numerator), np.asarray(denominator)
    start = np.full(denominator.shape, empty, np.float64)
    return np.asarray(np.divide(numerator, denominator, out=start, where=denominator > 0))
