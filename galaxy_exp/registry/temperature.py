"""Temperature scaling: one number that makes probabilities mean what they say (Guo et al. 2017, ICML, section 4.2).

A network's logits are divided by the temperature before the softmax. Probabilities are enough for that: their
logarithms are the logits but for a constant. No image changes its class, and above 1 the network becomes less sure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_temperature", "scale_probabilities"]

LEAST, MOST = 0.1, 10.0
"""A temperature outside these is taken for the nearer one."""
_HALVINGS = 50
_SMALLEST = float(np.finfo(np.float32).tiny)


def fit_temperature(labels: NDArray[Any], probabilities: NDArray[Any]) -> float | None:
    """The temperature with the least cross-entropy, which is convex in its inverse.

    Args:
        labels: integers (n,), of images that the scaled probabilities are not judged by.
        probabilities: (n, n_classes).

    Returns:
        Between `LEAST` and `MOST`; 1 if every image is right, as the best would then make each later mistake certain;
        None without images or if a probability is not finite.
    """
    if not len(labels) or not np.isfinite(probabilities).all():
        return None
    if (probabilities.argmax(axis=1) == labels).all():
        return 1.0
    low, high = np.log(LEAST), np.log(MOST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _slope(labels, probabilities, float(np.exp(middle))) < 0:  # sharper is better
            high = middle
        else:
            low = middle
    return float(np.exp((low + high) / 2))


def scale_probabilities(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Probabilities (n, n_classes) at a temperature above 0; float64, in which the order within a row stays."""
    powers = _logarithms(probabilities) / temperature
    exponentials = np.exp(powers - powers.max(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scaled


def _slope(labels: NDArray[Any], probabilities: NDArray[Any], temperature: float) -> float:
    """The derivative of the mean cross-entropy by the inverse of the temperature."""
    logarithms = _logarithms(probabilities)
    expected = (scale_probabilities(probabilities, temperature) * logarithms).sum(axis=1)
    return float((expected - logarithms[np.arange(len(labels)), labels]).mean())


def _logarithms(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
