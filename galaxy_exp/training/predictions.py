"""Probabilities from any network, in batches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.hypermodel.batches import ImageBatches
from galaxy_exp.hypermodel.feeding import feed

__all__ = [
    "OutputError",
    "are_probabilities",
    "as_probabilities",
    "check_outputs",
    "images_per_batch",
    "predict_outputs",
]

PIXELS_PER_BATCH = 2**18
"""Images of 69 pixels go in batches of 55, of 256 pixels in batches of 8, so that validation needs no more memory
than a training step; larger batches were no faster on CPU. `registry.evaluation` and `registry.pyfunc_model`, which
cannot import this module, have the same numbers; a test compares them."""

ROW_SUM_TOLERANCE = 1e-2
"""bfloat16 softmax outputs of ten classes sum to 1 within this."""


class OutputError(ValueError):
    """The network's outputs do not fit the classes."""


def images_per_batch(height: int, width: int) -> int:
    """How many images of that many pixels to predict at once."""
    return min(max(PIXELS_PER_BATCH // (height * width), 8), 256)


def predict_outputs(model: keras.Model, images: NDArray[Any], n_classes: int) -> NDArray[np.float32]:
    """The raw outputs for images (n, height, width, channels), float32 (n, n_classes).

    Raises:
        OutputError: the network does not give one number per class.
    """
    outputs = model.predict(feed(ImageBatches(images, images_per_batch(*images.shape[1:3]))), verbose=0)
    check_outputs(np.shape(outputs), n_classes)
    return np.asarray(outputs, dtype=np.float32)


def check_outputs(shape: tuple[int | None, ...], n_classes: int) -> None:
    """Raises `OutputError` unless `shape` is (n or None, n_classes)."""
    if len(shape) != 2 or shape[1] != n_classes:
        raise OutputError(f"the network's output has shape {shape}; expected (images, {n_classes}), one per class")


def are_probabilities(outputs: NDArray[Any]) -> bool:
    """Whether no output is negative and every row sums to 1 within `ROW_SUM_TOLERANCE`."""
    return bool(outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1.0).max() <= ROW_SUM_TOLERANCE)


def as_probabilities(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs if they are probabilities, else their softmax; (n, n_classes) float32. NaN stays NaN."""
    if are_probabilities(outputs):
        return outputs
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)
