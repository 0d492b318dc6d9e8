"""Classification metrics, all from one confusion matrix.

Conventions, as in scikit-learn with `zero_division=0` (a test compares them): rows of the matrix are true
classes, columns predicted ones; a class that was never predicted has purity 0; averages over classes leave
out those with no true image, so that a part of the data without a rare class is not punished for it.
Astronomers say completeness for recall and purity for precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "METRIC_LABELS",
    "RARE",
    "accuracy",
    "balanced_accuracy",
    "completeness",
    "confusion_matrix",
    "f1_per_class",
    "log_loss",
    "macro_f1",
    "macro_f1_without_rare",
    "purity",
    "summarise_predictions",
    "top_k_accuracy",
]

RARE = 20
"""A class with fewer true images than this says little: one image more or less moves its F1 by some 0.05."""

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

Matrix = NDArray[np.int64]
Vector = NDArray[np.float64]


def confusion_matrix(labels: NDArray[Any], predictions: NDArray[Any], n_classes: int) -> Matrix:
    """Counts of true class (row) against predicted class (column).

    Args:
        labels: integers in 0..n_classes-1, shape (n,).
        predictions: likewise, shape (n,).

    Returns:
        int64 (n_classes, n_classes).
    """
    flat = labels.astype(np.int64) * n_classes + predictions.astype(np.int64)
    return np.bincount(flat, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def accuracy(matrix: Matrix) -> float:
    """Share of images on the diagonal; 0 for an empty matrix."""
    return float(np.trace(matrix) / max(matrix.sum(), 1))


def completeness(matrix: Matrix) -> Vector:
    """Recall of each class: found / true. NaN for a class without true images. Shape (n_classes,)."""
    true = matrix.sum(axis=1).astype(np.float64)
    recall: Vector = np.divide(np.diag(matrix), true, out=np.full(len(true), np.nan), where=true > 0)
    return recall


def purity(matrix: Matrix) -> Vector:
    """Precision of each class: right / predicted. 0 for a class never predicted. Shape (n_classes,)."""
    predicted = matrix.sum(axis=0).astype(np.float64)
    precision: Vector = np.divide(np.diag(matrix), predicted, out=np.zeros(len(predicted)), where=predicted > 0)
    return precision


def f1_per_class(matrix: Matrix) -> Vector:
    """Harmonic mean of completeness and purity; NaN for a class without true images. Shape (n_classes,)."""
    true = matrix.sum(axis=1)
    both = (true + matrix.sum(axis=0)).astype(np.float64)
    f1: Vector = np.divide(2.0 * np.diag(matrix), both, out=np.full(len(both), np.nan), where=true > 0)
    return f1


def macro_f1(matrix: Matrix) -> float:
    """Mean F1 over the classes with true images; 0 for an empty matrix."""
    return _mean_over_present(f1_per_class(matrix))


def macro_f1_without_rare(matrix: Matrix) -> float | None:
    """Mean F1 over the classes with at least `RARE` true images; None if there are none."""
    frequent = matrix.sum(axis=1) >= RARE
    return float(f1_per_class(matrix)[frequent].mean()) if frequent.any() else None


def balanced_accuracy(matrix: Matrix) -> float:
    """Mean completeness over the classes with true images; 0 for an empty matrix."""
    return _mean_over_present(completeness(matrix))


def top_k_accuracy(labels: NDArray[Any], probabilities: NDArray[Any], k: int) -> float:
    """Share of images whose class is among the k most probable ones; of equal probabilities the lower class is first.

    Args:
        labels: integers (n,).
        probabilities: (n, n_classes).
        k: at least 1.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, np.newaxis]).any(axis=1).mean()) if len(labels) else 0.0


def log_loss(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Mean cross-entropy in nats; probabilities (n, n_classes) are clipped at 1e-7, as Keras does."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.clip(chosen, 1e-7, 1.0))))


def summarise_predictions(labels: NDArray[Any], probabilities: NDArray[Any]) -> dict[str, float]:
    """`loss`, `accuracy`, `macro_f1` and `balanced_accuracy` of probabilities (n, n_classes) for labels (n,)."""
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "loss": log_loss(labels, probabilities),
        "accuracy": accuracy(matrix),
        "macro_f1": macro_f1(matrix),
        "balanced_accuracy": balanced_accuracy(matrix),
    }


def _mean_over_present(per_class: Vector) -> float:
    present = per_class[~np.isnan(per_class)]
    return float(present.mean()) if present.size else 0.0
