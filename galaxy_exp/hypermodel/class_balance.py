"""Against unequal class sizes: weights for the images, or epochs that draw all classes evenly."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_weights", "draw_balanced"]


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


def draw_balanced(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many images as there are, all classes equally often (up to one), in random order; empty classes are left out.

    Within a class, no image comes again before all others have come as often; so of a large class some are left
    out, other ones each epoch, and those of a rare class come many times (in Galaxy10, the 17 of the rarest 128 times
    each), which only augmentation makes different.

    Args:
        labels: integers (n,).
        rng: its state alone decides which images.

    Returns:
        int64 (n,), positions in `labels`.
    """
    classes = rng.permutation(np.unique(labels))  # those in front get one more where n is no multiple
    sizes = np.full(len(classes), len(labels) // max(1, len(classes)))
    sizes[: len(labels) % max(1, len(classes))] += 1
    drawn = [_draw(np.flatnonzero(labels == label), size, rng) for label, size in zip(classes, sizes, strict=True)]
    return rng.permutation(np.concatenate([np.empty(0, np.int64), *drawn]))


def _draw(members: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rounds = -(-n // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:n]
