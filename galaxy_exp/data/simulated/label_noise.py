"""Wrong labels as volunteers give them: the class of a galaxy that looks alike."""

from __future__ import annotations

import numpy as np

__all__ = ["CONFUSIONS", "confuse_label"]

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
"""True class to the classes it is taken for and their shares. Neighbours are those next in the question that Galaxy
Zoo 2's volunteers answer (Willett et al. 2013, arXiv:1308.3496, figure 1): roundness, shape of the bulge, winding,
whether there are arms at all. The shares are ours."""


def confuse_label(label: int, number: int, *, seed: int, share: float) -> int:
    """The label that galaxy `number` of class `label` gets: with probability `share` a wrong one of `CONFUSIONS`.

    A stream of its own decides, so that the image does not change, and more noise keeps the wrong labels of less.
    """
    if share == 0:
        return label
    chance, which = np.random.default_rng([seed, label, number, 1]).random(2).tolist()
    if chance >= share:
        return label
    others, shares = list(CONFUSIONS[label]), list(CONFUSIONS[label].values())
    return others[min(int(np.searchsorted(np.cumsum(shares), which, side="right")), len(others) - 1)]
