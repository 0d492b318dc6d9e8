"""Whether a network's probabilities mean what they say: calibration, temperature scaling, accuracy against coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.evaluation.metrics import N_BINS, find_bins

__all__ = [
    "COVERAGES_SHOWN",
    "HIGHEST_TEMPERATURE",
    "LOWEST_TEMPERATURE",
    "Bin",
    "Calibration",
    "coverage_table",
    "fit_temperature",
    "measure_calibration",
    "scale_probabilities",
]

COVERAGES = tuple(percent / 100 for percent in range(100, 0, -5))
COVERAGES_SHOWN = (1.0, 0.9, 0.8, 0.5)
"""The fractions of the images that texts and tables name."""

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 10.0
"""A temperature outside these is replaced by the nearer one."""
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose predicted class has a probability within some range."""

    low: float
    high: float
    n_images: int
    confidence: float
    """Mean probability of the predicted class."""
    accuracy: float
    """Fraction of the images that is classified correctly."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability by probability of the predicted class."""

    bins: tuple[Bin, ...]
    """From low to high, without empty ones."""
    error: float
    """Expected calibration error: the mean of |accuracy - confidence| over the images, bin by bin."""
    mean_confidence: float
    accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """Numbers, lists and dictionaries only."""
        return asdict(self) | {"bins": [asdict(each) for each in self.bins]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`; other keys are ignored."""
        bins = tuple(Bin(**each) for each in record["bins"])
        return cls(bins, record["error"], record["mean_confidence"], record["accuracy"])


def measure_calibration(labels: NDArray[Any], probabilities: NDArray[Any]) -> Calibration:
    """Expected calibration error in ten bins of equal width (Guo et al. 2017, ICML, section 2).

    Of labels, integers (n,), n above 0, and probabilities (n, n_classes).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    places = find_bins(confidence)
    bins = []
    for place in np.unique(places).tolist():
        inside = places == place
        means = float(confidence[inside].mean()), float(right[inside].mean())
        bins.append(Bin(place / N_BINS, (place + 1) / N_BINS, int(inside.sum()), *means))
    error = sum(each.n_images * abs(each.accuracy - each.confidence) for each in bins) / len(labels)
    return Calibration(tuple(bins), error, float(confidence.mean()), float(right.mean()))


def fit_temperature(labels: NDArray[Any], probabilities: NDArray[Any]) -> float | None:
    """The temperature with the least cross-entropy (Guo et al. 2017, ICML, section 4.2).

    A network's logits are divided by the temperature before the softmax. No image changes its class, and above 1 the
    network becomes less sure.

    Args:
        labels: integers (n,), of images that the scaled probabilities are not judged by.
        probabilities: (n, n_classes).

    Returns:
        Between `LOWEST_TEMPERATURE` and `HIGHEST_TEMPERATURE`; 1 if every image is right, as the best would then make
        each later mistake certain; None without images or if a probability is not finite.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not len(labels) or not np.isfinite(probabilities).all():
        return None
    if (probabilities.argmax(axis=1) == labels).all():
        return 1.0
    logits = _logits(probabilities)

    def cross_entropy(log_temperature: float) -> float:
        scaled = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    bounds = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    return math.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded", options={"xatol": 1e-8}).x)


def scale_probabilities(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Probabilities (n, n_classes) at a temperature above 0; float64, in which the order within a row stays."""
    from scipy.special import softmax

    return np.asarray(softmax(_logits(probabilities) / temperature, axis=1))


def _logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """The logarithms of probabilities are the logits but for a constant in each row."""
    return np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))


def coverage_table(labels: NDArray[Any], probabilities: NDArray[Any]) -> list[dict[str, Any]]:
    """The accuracy on the most confident images, from all of them down to 5% in steps of 5%.

    Of labels, integers (n,), n above 0, and probabilities (n, n_classes). Confidence is the probability of the
    predicted class; of equally confident images the earlier is kept.

    Returns:
        Rows with `coverage` (fraction kept), `n_images`, `confidence` (the least of those kept), `accuracy`, and
        `interval`, the 95% interval of Wilson (1927), which is not empty even if no image is wrong.
    """
    from scipy.stats import binomtest

    confidence = probabilities.max(axis=1).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    rows = []
    for coverage in COVERAGES:
        n_images = max(1, math.ceil(coverage * len(labels) - 1e-9))
        n_right, least = int(right[n_images - 1]), float(confidence[order[n_images - 1]])
        row = {"coverage": coverage, "n_images": n_images, "confidence": least, "accuracy": n_right / n_images}
        ends = binomtest(n_right, n_images).proportion_ci(method="wilson")
        rows.append(row | {"interval": list(map(float, ends))})
    return rows
