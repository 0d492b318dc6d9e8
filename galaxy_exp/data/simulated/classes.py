"""The ten classes of Galaxy10 SDSS: their names, how many images each gets, and which are confused with which."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASS_NAMES", "CONFUSIONS", "GALAXY10_COUNTS", "allocate_counts", "confuse_label"]

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
"""Images per class in Galaxy10.h5, in total 21,785. The documentation has 394 for class 3, the file 349."""

CONFUSIONS: dict[int, dict[int, float]] = {
    0: {1: 0.25, 2: 0.35, 7: 0.40},  # a smooth face-on disc: an elliptical, or arms that are hardly seen
    1: {2: 0.90, 0: 0.10},
    2: {1: 0.60, 0: 0.30, 3: 0.10},
    3: {2: 0.50, 6: 0.40, 4: 0.10},
    4: {6: 0.60, 3: 0.25, 5: 0.15},
    5: {4: 1.00},
    6: {4: 0.60, 3: 0.40},
    7: {8: 0.60, 0: 0.40},
    8: {7: 0.60, 9: 0.40},
    9: {8: 0.90, 0: 0.10},
}
"""True class to wrong classes and their probabilities. The wrong classes are neighbours in the questions of Galaxy
Zoo 2 (Willett et al. 2013, arXiv:1308.3496, figure 1): roundness, shape of the bulge, winding, presence of arms. The
probabilities are assumed."""

MIN_PER_CLASS = 10
"""Smallest class, so that it can be split into three parts."""


def allocate_counts(n_images: int, proportions: Literal["galaxy10", "equal"]) -> NDArray[np.int64]:
    """Number of images of each class: int64 (10,), summing to `n_images`.

    Proportional (rounded by largest remainder), but at least `MIN_PER_CLASS`, or equal numbers if `n_images` is below
    ten times that. Images that this adds to rare classes are taken from the largest one.
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


def confuse_label(label: int, number: int, *, seed: int, share: float) -> int:
    """The label of galaxy `number` of class `label`: with probability `share` a wrong one of `CONFUSIONS`.

    It has a separate random stream, so that the image does not change, and a larger `share` keeps the wrong labels of a
    smaller one.
    """
    if share == 0:
        return label
    draw, which = np.random.default_rng([seed, label, number, 1]).random(2).tolist()
    if draw >= share:
        return label
    others, shares = list(CONFUSIONS[label]), list(CONFUSIONS[label].values())
    return others[min(int(np.searchsorted(np.cumsum(shares), which, side="right")), len(others) - 1)]
