"""The form of labels that the loss of a network accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import reason_of
from galaxy_exp.hypermodel.outputs import compiled_loss, loss_name

__all__ = ["LabelForm", "LossError", "accept_classes", "encode_labels", "find_label_form"]


class LossError(ValueError):
    """A network has no loss, or one that accepts labels in no form that fits its outputs."""


class LabelForm(Enum):
    """The form of labels for a loss and for metrics."""

    CLASSES = "whole numbers (n,)"
    ONE_HOT = "one-hot rows (n, n_classes)"
    BINARY = "0 or 1 as (n, 1)"
    VOTES = "votes (n, n_answers)"


def encode_labels(labels: NDArray[np.int64], form: LabelForm, n_classes: int) -> NDArray[Any]:
    """Converts labels (n,) to a form; float32 unless they stay whole numbers. Votes stay as they are."""
    if form in (LabelForm.CLASSES, LabelForm.VOTES):
        return labels
    if form is LabelForm.BINARY:
        return labels.reshape(-1, 1).astype(np.float32)
    return np.eye(n_classes, dtype=np.float32)[labels]


def find_label_form(
    model: keras.Model, n_outputs: int, images: NDArray[np.uint8], n_classes: int, *, are_votes: bool = False
) -> LabelForm:
    """The form of labels for which the model's loss is finite and its metrics do not raise.

    Each form is tried, so this works for a loss given by name, function or object, and for an overridden
    `compute_loss`. Labels stay whole numbers if the loss is not known: without `compile`, or within a `train_step`.

    Args:
        model: built.
        n_outputs: per image: n_classes, or 1 for two classes.
        images: any, (n, height, width, channels), for a `compute_loss` that uses them.
        are_votes: whether the network is trained on votes (n, n_outputs), the only form then.

    Raises:
        LossError: the loss, or a metric, accepts none of the forms; one line with what it raised.
    """
    has_own = type(model).compute_loss is not keras.Model.compute_loss
    forms = [LabelForm.BINARY] if n_outputs == 1 else [LabelForm.CLASSES, LabelForm.ONE_HOT]
    forms = [LabelForm.VOTES] if are_votes else forms
    if not model.compiled or (getattr(model, "loss", None) is None and not has_own):
        return LabelForm.VOTES if are_votes else LabelForm.CLASSES
    refusals = []
    for form in forms:
        refusal = _refusal(model, form, n_outputs, images, n_classes)
        if not refusal:
            return form
        refusals.append((form.value, refusal))
    for kind, refusal in refusals:
        if refusal.startswith(_METRIC):
            reason = refusal.removeprefix(_METRIC)
            raise LossError(f"the loss {_name(model)} takes {kind}, and a metric does not: {reason}")
    raise LossError(
        f"the loss {_name(model)} does not fit a network that gives {n_outputs} "
        f"{'number' if n_outputs == 1 else 'numbers'} for each image, with "
        f"{f'votes for {n_outputs} answers' if are_votes else f'{n_classes} classes'}; it refuses "
        + "; ".join(f"{kind}: {refusal}" for kind, refusal in refusals)
    )


_METRIC = "a metric: "
"""Beginning of a refusal if the loss is right and a metric is not."""


def _refusal(model: keras.Model, form: LabelForm, n_outputs: int, images: NDArray[np.uint8], n_classes: int) -> str:
    """Why the loss cannot be computed, or an empty text."""
    n = n_classes + 2  # unlike the number of classes, so that no wrong form fits by its shape
    labels = np.arange(n) % n_classes
    if form is LabelForm.BINARY and any(word in _name(model).lower() for word in ("sparse", "categorical")):
        return "it needs one number for each class (binary_crossentropy takes one for two classes)"
    predicted = keras.ops.full((n, n_outputs), 1 / max(n_outputs, 2))
    some = np.resize(images[:n], (n, *images.shape[1:]))
    try:
        votes = np.ones((n, n_outputs), np.float32)
        target = keras.ops.convert_to_tensor(
            votes if form is LabelForm.VOTES else encode_labels(labels, form, n_classes)
        )
        loss = model.compute_loss(x=keras.ops.convert_to_tensor(some), y=target, y_pred=predicted, sample_weight=None)
        found = keras.ops.convert_to_numpy(keras.ops.mean(loss))
    except Exception as error:  # noqa: BLE001 - a loss can raise anything for labels that it refuses
        return reason_of(error)
    if not np.isfinite(found):
        return f"it is {found}"
    try:
        model.compute_metrics(None, target, predicted)
    except Exception as error:  # noqa: BLE001 - as above
        return f"{_METRIC}{reason_of(error)}"
    model.reset_metrics()
    return ""


def _name(model: keras.Model) -> str:
    return loss_name(compiled_loss(model)) or "of its own"


@contextmanager
def accept_classes(
    model: keras.Model, form: LabelForm, n_classes: int, images: NDArray[np.uint8] | None = None
) -> Iterator[None]:
    """Makes the model's loss and metrics, which accept `form`, accept whole numbers too, whatever feeds them.

    A user-defined `fit` gets whole numbers, and may pass them on as an array, a data set or batch by batch. Labels of
    any other shape, and votes, are not changed. With some images (n, height, width, channels), the form is found again
    whenever the model is compiled.
    """
    if form is LabelForm.VOTES or (form is LabelForm.CLASSES and images is None):
        yield
        return
    compile_model = model.compile

    def compile_again(*arguments: Any, **keywords: Any) -> None:
        nonlocal form
        compile_model(*arguments, **keywords)
        form = LabelForm.CLASSES  # so that the labels that are tried stay as they are
        form = find_label_form(model, model(images, training=False).shape[1], np.asarray(images), n_classes)

    def encode(labels: Any) -> Any:
        if form is LabelForm.CLASSES or labels is None or len(labels.shape) != 1:
            return labels
        if form is LabelForm.BINARY:
            return keras.ops.cast(keras.ops.reshape(labels, (-1, 1)), "float32")
        return keras.ops.one_hot(keras.ops.cast(labels, "int32"), n_classes, dtype="float32")

    model.compute_loss = _encoding(model.compute_loss, encode)
    model.compute_metrics = _encoding(model.compute_metrics, encode)
    if images is not None:
        model.compile = compile_again
    try:
        yield
    finally:
        del model.compute_loss, model.compute_metrics
        vars(model).pop("compile", None)


def _encoding(method: Callable[..., Any], encode: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(x: Any = None, y: Any = None, *arguments: Any, **keywords: Any) -> Any:
        return method(x, encode(y), *arguments, **keywords)

    return call
