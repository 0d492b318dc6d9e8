"""A network of a few dozen weights, so that a sweep that is killed costs little more than its processes' start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner

from galaxy_exp.training import checkpoints

__all__ = ["CheckpointedNetwork", "TinyNetwork"]


class TinyNetwork(keras_tuner.HyperModel):  # type: ignore[misc]
    """One hidden layer or none on images shrunk six times; the layer's size counts only where there is one."""

    def __init__(self, image_shape: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self._image_shape = tuple(image_shape)
        self._n_classes = n_classes

    def build(self, hp: Any) -> keras.Model:
        """uint8 (n, height, width, 3) to probabilities (n, n_classes)."""
        layers = [
            keras.Input(self._image_shape, dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.AveragePooling2D(6),
            keras.layers.Flatten(),
        ]
        if hp.Boolean("hidden", default=True):
            with hp.conditional_scope("hidden", [True]):
                layers.append(keras.layers.Dense(hp.Int("units", 2, 32, default=8), activation="relu"))
        layers.append(keras.layers.Dense(self._n_classes, activation="softmax"))
        model = keras.Sequential(layers)
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


class CheckpointedNetwork(TinyNetwork):
    """The same, whose trials leave a checkpoint of every epoch, although they take less than a second."""

    def build(self, hp: Any) -> keras.Model:
        """See `TinyNetwork`; called in the worker, before it looks at these limits."""
        checkpoints.FIRST_SECONDS, checkpoints.SHARE = 0.0, float("inf")
        return super().build(hp)
