"""The loss that GalaxyCNN minimises and the metric that it reports."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["MacroF1", "SmoothedCrossentropy", "build_loss"]


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


@keras.saving.register_keras_serializable("galaxy_exp")
class MacroF1(keras.metrics.Metric):  # type: ignore[misc]
    """Mean F1 over the classes seen so far, from a running confusion matrix.

    The same convention as `evaluation.metrics.macro_f1`: classes without true images are left out, and a class
    that was never predicted counts 0. Counts are float32, exact up to 16.7 million images per cell.
    """

    def __init__(self, n_classes: int, name: str = "macro_f1", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.n_classes = n_classes
        self.confusion = self.add_variable((n_classes, n_classes), initializer="zeros", name="confusion")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds labels (n,) or (n, 1) and scores (n, n_classes); `sample_weight` (n,) weighs the counts."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        true = ops.one_hot(labels, self.n_classes, dtype="float32")
        predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), self.n_classes, dtype="float32")
        if sample_weight is not None:
            true = true * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        self.confusion.assign_add(ops.matmul(ops.transpose(true), predicted))

    def result(self) -> Any:
        """The mean, a float32 scalar; 0 before the first image."""
        matrix = ops.convert_to_tensor(self.confusion)
        true, predicted = ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
        f1 = 2.0 * ops.diagonal(matrix) / ops.maximum(true + predicted, 1e-7)
        present = ops.cast(true > 0, "float32")
        return ops.sum(f1 * present) / ops.maximum(ops.sum(present), 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "n_classes": self.n_classes}
