"""Cross-entropy with integer labels and label smoothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["SmoothedCrossentropy", "build_loss"]


@keras.saving.register_keras_serializable("galaxy_exp")
class SmoothedCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of probabilities against integer labels softened towards the uniform distribution.

    The label's class is given 1 - s + s / n_classes and every other s / n_classes, with s the smoothing
    (Szegedy et al. 2016, arXiv:1512.00567, section 7). Keras offers this for one-hot labels only.
    """

    def __init__(self, label_smoothing: float, name: str = "smoothed_crossentropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Labels (n,) or (n, 1) and probabilities (n, n_classes) to losses (n,) in nats."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        one_hot = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(one_hot, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def build_loss(label_smoothing: float) -> keras.losses.Loss:
    """Keras's own sparse cross-entropy without smoothing (the tutorial's loss), else `SmoothedCrossentropy`."""
    if label_smoothing == 0:
        return keras.losses.SparseCategoricalCrossentropy()
    return SmoothedCrossentropy(label_smoothing)
