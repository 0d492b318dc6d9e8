"""The raw outputs of any network, predicted in batches and checked."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.hypermodel.batches import ImageBatches, feed

__all__ = [
    "OutputError",
    "check_outputs",
    "images_per_batch",
    "predict_outputs",
]

PIXELS_PER_BATCH = 2**18
"""Images of 69 pixels go in batches of 55, of 256 pixels in batches of 8, so that validation needs no more memory
than a training step; larger batches were no faster on CPU. `registry.pyfunc_model`, which cannot
import this module, has the same numbers; a test compares them."""


class OutputError(ValueError):
    """The network's outputs do not fit the classes."""


def images_per_batch(height: int, width: int) -> int:
    """The number of images to predict at once."""
    return min(max(PIXELS_PER_BATCH // (height * width), 8), 256)


def predict_outputs(model: keras.Model, images: NDArray[Any], n_classes: int) -> NDArray[np.float32]:
    """The raw outputs for images (n, height, width, channels), float32 (n, n_classes), or (n, 1) for two classes.

    Raises:
        OutputError: the network does not give one number per class.
    """
    outputs = model.predict(feed(ImageBatches(images, images_per_batch(*images.shape[1:3]))), verbose=0)
    check_outputs(outputs, n_classes)
    return np.asarray(outputs, dtype=np.float32)


def check_outputs(outputs: Any, n_classes: int) -> None:
    """Raises `OutputError` unless the outputs are one tensor (n or None, n_classes), or (n or None, 1) for two classes.

    Args:
        outputs: any result of a network, such as an array or a symbolic tensor.
    """
    expected = f"expected (images, {n_classes}), one per class"
    if not hasattr(outputs, "shape"):
        raise OutputError(f"the network gives a {type(outputs).__name__} instead of one tensor; {expected}")
    shape = tuple(outputs.shape)
    if len(shape) != 2 or shape[1] not in ({1, 2} if n_classes == 2 else {n_classes}):
        single = "; one number per image does for two classes only" if shape[1:] == (1,) else ""
        raise OutputError(f"the network's output has shape {shape}; {expected}{single}")
