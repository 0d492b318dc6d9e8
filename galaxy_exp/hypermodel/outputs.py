"""The kinds of outputs that networks have, and how they become one probability per class."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

__all__ = ["OutputKind", "add_probabilities", "compiled_loss", "find_output_kind", "loss_name", "to_probabilities"]

ROW_SUM_TOLERANCE = 1e-2
"""bfloat16 softmax outputs of ten classes sum to 1 within this."""


class OutputKind(Enum):
    """The output of a network for an image."""

    PROBABILITIES = "one probability per class; they sum to 1"
    LOGITS = "one logit per class"
    SCORES = "one probability per class, each by itself (sigmoid); divided by their sum"
    PROBABILITY = "one number, the probability of the second of two classes"
    LOGIT = "one number, the logit of the second of two classes"
    VOTES = "one positive number per answer: fractions, which sum to 1 in each question, or concentrations"


def find_output_kind(model: keras.Model, outputs: NDArray[Any]) -> OutputKind:
    """What `outputs`, (n, n_classes) or (n, 1) for two classes, are, by their values and the model's loss, if any."""
    loss = compiled_loss(model)
    from_logits = _takes_logits(loss)
    if outputs.shape[1] == 1:
        in_range = outputs.min() >= 0 and outputs.max() <= 1
        is_linear = from_logits is None and _last_activation(model) == "linear"
        return OutputKind.LOGIT if from_logits or is_linear or not in_range else OutputKind.PROBABILITY
    if outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1.0).max() <= ROW_SUM_TOLERANCE:
        return OutputKind.PROBABILITIES
    is_sigmoid = "sigmoid" in _last_activation(model) or "binary" in loss_name(loss).lower()
    return OutputKind.SCORES if is_sigmoid and not from_logits else OutputKind.LOGITS


def to_probabilities(outputs: NDArray[np.float32], kind: OutputKind) -> NDArray[np.float32]:
    """float32 (n, n_classes) from outputs of that kind; those for votes stay as they are. NaN stays NaN."""
    if kind in (OutputKind.PROBABILITIES, OutputKind.VOTES):
        return outputs
    if kind is OutputKind.LOGITS:
        exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)
    if kind is OutputKind.SCORES:
        scores = outputs + keras.config.epsilon()
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)
    second = 0.5 * (1 + np.tanh(outputs / 2)) if kind is OutputKind.LOGIT else outputs  # the sigmoid, without overflow
    return np.concatenate([1 - second, second], axis=1, dtype=np.float32)


def add_probabilities(model: keras.Model, kind: OutputKind, image_shape: tuple[int, ...]) -> keras.Model:
    """A built model followed by what `to_probabilities` does, in float32, made of Keras's own layers.

    Args:
        model: images (n, *image_shape) to outputs of that kind; a Functional or Sequential one whose outputs
            are probabilities, or numbers for votes, is returned as it is.
    """
    is_graph = bool(getattr(model, "outputs", None))
    if is_graph and kind in (OutputKind.PROBABILITIES, OutputKind.VOTES):
        return model
    layers = keras.layers
    images = keras.Input(image_shape, dtype="uint8", name="images")
    outputs = model(images) if is_graph else model(images, training=False)  # a user's `call` may demand `training`
    if kind is OutputKind.LOGITS:
        outputs = layers.Softmax(dtype="float32", name="probabilities")(outputs)
    elif kind is OutputKind.SCORES:
        scores = layers.Rescaling(1.0, keras.config.epsilon(), dtype="float32")(outputs)
        outputs = scores / keras.ops.sum(scores, axis=-1, keepdims=True)
    elif kind in (OutputKind.PROBABILITY, OutputKind.LOGIT):
        function = "sigmoid" if kind is OutputKind.LOGIT else "linear"
        second = layers.Activation(function, dtype="float32")(outputs)
        first = layers.Rescaling(-1.0, 1.0, dtype="float32")(second)
        outputs = layers.Concatenate(dtype="float32", name="probabilities")([first, second])
    return keras.Model(images, outputs, name=f"{model.name}_probabilities")


def compiled_loss(model: keras.Model) -> Any:
    """The only loss that the model is compiled with, as passed to `compile`; None without one."""
    loss = getattr(model, "loss", None)
    while isinstance(loss, list | tuple | dict) and len(loss) == 1:
        loss = next(iter(loss.values() if isinstance(loss, dict) else loss))
    return loss


def _takes_logits(loss: Any) -> bool | None:
    """None if the loss does not state it; Keras's own functions take probabilities by default."""
    if isinstance(loss, partial):
        stated = loss.keywords.get("from_logits")
        return _takes_logits(loss.func) if stated is None else bool(stated)
    stated = getattr(loss, "from_logits", None)
    if stated is not None:
        return bool(stated)
    is_keras_s = isinstance(loss, str) or str(getattr(loss, "__module__", "")).split(".")[0] == "keras"
    return False if is_keras_s and "crossentropy" in loss_name(loss).lower() else None


def loss_name(loss: Any) -> str:
    """The name of a loss that is a string, a function or an object."""
    if isinstance(loss, partial):
        return loss_name(loss.func)
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__ if loss else "")


def _last_activation(model: keras.Model) -> str:
    """The name of the activation of the last layer; empty for a subclassed model."""
    if not getattr(model, "outputs", None) or not model.layers:
        return ""
    last = model.layers[-1]
    return getattr(getattr(last, "activation", None), "__name__", "") or _last_activation(last)
