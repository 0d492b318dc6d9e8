"""The ten classes of Galaxy10 SDSS and how many simulated images each gets."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASS_NAMES", "GALAXY10_COUNTS", "allocate_counts"]

CLASS_NAMES = (
    "Disk, Face-on, No Spiral",
    "Smooth, Completely round",
    "Smooth, in-between round",
    "Smooth, Cigar shaped",
    "Disk, Edge-on, Rounded Bulge",
    "Disk, Edge-on, Boxy Bulge",
    "Disk, Edge-on, No Bulge",
    "Disk, Face-on, Tight Spiral",
    "Disk, Face-on, Medium Spiral",
    "Disk, Face-on, Loose Spiral",
)
"""In label order, spelt as astroNN does (astroNN/datasets/galaxy10sdss.py)."""

GALAXY10_COUNTS = (3461, 6997, 6292, 349, 1534, 17, 589, 1121, 906, 519)
"""Images per class in Galaxy10.h5, 21,785 in all. The documentation says 394 for class 3; the file has 349."""

MIN_PER_CLASS = 10
"""So that the rarest class can still be split into three parts."""


def allocate_counts(n_images: int, proportions: Literal["galaxy10", "equal"]) -> NDArray[np.int64]:
    """How many images each class gets: int64 (10,), summing to `n_images`.

    In proportion (rounded by largest remainder), but never fewer than `MIN_PER_CLASS`, or than an equal
    share when `n_images` is below ten times that; what this adds to rare classes, the largest one gives.
    """
    weights = np.array(GALAXY10_COUNTS if proportions == "galaxy10" else [1] * len(CLASS_NAMES), dtype=np.float64)
    exact = n_images * weights / weights.sum()
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest_remainders = np.argsort(counts - exact, kind="stable")[: n_images - counts.sum()]
    counts[largest_remainders] += 1
    counts = np.maximum(counts, min(MIN_PER_CLASS, n_images // len(counts)))
    while (excess := counts.sum() - n_images) > 0:
        second, first = np.argsort(counts, kind="stable")[-2:]
        counts[first] -= min(excess, max(1, counts[first] - counts[second]))
    return counts
