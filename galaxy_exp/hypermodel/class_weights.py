"""Weights against unequal class sizes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_weights"]


def class_weights(
    labels: NDArray[Any], n_classes: int, weighting: Literal["none", "sqrt", "balanced", "sampling"]
) -> NDArray[np.float32] | None:
    """The weight of an image by its class; None without weighting, and with "sampling", which draws instead.

    "balanced" gives every class the same total weight (1 / count, as scikit-learn's `class_weight="balanced"`),
    "sqrt" goes half-way (1 / sqrt(count)): in Galaxy10 the rarest class has 17 images and "balanced" would weigh
    each of them 400 times one of the most frequent. Weights are scaled so that their mean over the images is 1,
    which leaves the learning rate comparable. A class without images gets 0.

    Returns:
        float32 (n_classes,).
    """
    if weighting in ("none", "sampling"):
        return None
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    power = {"sqrt": -0.5, "balanced": -1.0}[weighting]
    weights = np.zeros(n_classes)
    present = counts > 0
    weights[present] = counts[present] ** power
    mean = (weights * counts).sum() / max(counts.sum(), 1.0)
    return np.asarray(weights / (mean or 1.0), dtype=np.float32)
