"""Whether a network's probabilities mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bin", "Calibration", "measure_calibration"]

N_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose predicted class has a probability within some range."""

    low: float
    high: float
    n_images: int
    confidence: float
    """Mean probability of the predicted class."""
    accuracy: float
    """Share that is right."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability by probability of the predicted class."""

    bins: tuple[Bin, ...]
    """From low to high; those without images are left out."""
    error: float
    """Expected calibration error: the mean of |accuracy - confidence| over the images, bin by bin."""
    mean_confidence: float
    accuracy: float


def measure_calibration(labels: NDArray[Any], probabilities: NDArray[Any]) -> Calibration:
    """Expected calibration error in ten bins of equal width (Guo et al. 2017, ICML, section 2).

    Args:
        labels: integers (n,), n above 0.
        probabilities: (n, n_classes).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    places = np.clip(np.ceil(confidence * N_BINS).astype(int) - 1, 0, N_BINS - 1)
    bins = []
    for place in np.unique(places).tolist():
        inside = places == place
        mean, share = float(confidence[inside].mean()), float(right[inside].mean())
        bins.append(Bin(place / N_BINS, (place + 1) / N_BINS, int(inside.sum()), mean, share))
    error = sum(each.n_images * abs(each.accuracy - each.confidence) for each in bins) / len(labels)
    return Calibration(tuple(bins), error, float(confidence.mean()), float(right.mean()))
