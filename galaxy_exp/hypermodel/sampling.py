"""Which images an epoch has when all classes are drawn evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_balanced"]


def draw_balanced(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many images as there are, with every class that has any equally often (give or take one), in random order.

    Within a class, no image comes again before all others have come as often; so of a large class some are left
    out, other ones each epoch, and those of a rare class come many times (in Galaxy10, the 17 of the rarest 128 times
    each), which only augmentation makes different.

    Args:
        labels: integers (n,).
        rng: decides everything; the same state gives the same images.

    Returns:
        int64 (n,), positions in `labels`.
    """
    classes = rng.permutation(np.unique(labels))  # those in front get one more where n is no multiple
    shares = np.full(len(classes), len(labels) // max(1, len(classes)))
    shares[: len(labels) % max(1, len(classes))] += 1
    drawn = [_draw(np.flatnonzero(labels == label), share, rng) for label, share in zip(classes, shares, strict=True)]
    return rng.permutation(np.concatenate([np.empty(0, np.int64), *drawn]))


def _draw(members: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rounds = -(-n // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:n]
