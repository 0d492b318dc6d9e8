"""Calls a hypermodel's `fit` with what it takes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import DataError, first_line
from galaxy_exp.hypermodel.batches import Batches
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.on_device import fit_batches
from galaxy_exp.records import DATA_GONE, SplitFiles
from galaxy_exp.training.labels import accept_classes, encode_labels
from galaxy_exp.training.network import TrialNetwork

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "NO_EPOCH",
    "SplitArrays",
    "defines_fit",
    "fit_model",
    "missing_parameters",
    "open_split",
]

DEFAULT_BATCH_SIZE = 32
"""For a hypermodel without a `fit` of its own and without a hyperparameter `batch_size`; Keras's own default."""


NO_EPOCH = "the hypermodel's fit ended without a single epoch; it must pass `callbacks` to model.fit, or call them"


@dataclass(frozen=True, slots=True)
class SplitArrays:
    """The images stay on disk (memory maps, uint8 (n, height, width, channels)); labels are in memory, int64 (n,)."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]


def open_split(files: SplitFiles) -> SplitArrays:
    """Maps the images and reads the labels; DataError, which begins with DATA_GONE, if a file cannot be read."""
    try:
        return SplitArrays(
            np.load(files.train_images, mmap_mode="r"),
            np.load(files.train_labels),
            np.load(files.validation_images, mmap_mode="r"),
            np.load(files.validation_labels),
        )
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{DATA_GONE}: {first_line(error)}") from error


def fit_model(
    network: TrialNetwork,
    data: SplitArrays,
    *,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    seed: int,
) -> None:
    """Trains the model through `hypermodel.fit`, KerasTuner's convention.

    A `fit` of a user's own gets `validation_data` if it takes it, as it would from a `keras_tuner.Tuner`, and `seed`
    if it names it. GalaxyCNN is spared the validation, since the trial predicts the validation images itself. A
    hypermodel that does not define `fit` is trained here on batches, so that the images stay on disk; its labels are in
    the form that its loss takes, while a `fit` of a user's own gets whole numbers and may convert them itself or not.
    """
    hypermodel, hp, model = network.hypermodel, network.hp, network.model
    if not defines_fit(hypermodel):
        batch_size = int(hp.values.get("batch_size", DEFAULT_BATCH_SIZE))
        labels = encode_labels(data.train_labels, network.labels, network.n_classes)
        batches = Batches(data.train_images, labels, batch_size, seed=seed)
        fit_batches(model, batches, epochs=epochs, callbacks=list(callbacks), verbose=0)
        return
    shared: dict[str, Any] = {"epochs": epochs, "callbacks": list(callbacks)}
    if _takes(hypermodel.fit, "verbose"):
        shared["verbose"] = 0
    extras: dict[str, Any] = {"seed": seed} if _names(hypermodel.fit, "seed") else {}
    if not isinstance(hypermodel, GalaxyCNN) and _takes(hypermodel.fit, "validation_data"):
        extras["validation_data"] = (data.validation_images, data.validation_labels)
    with accept_classes(model, network.labels, network.n_classes, np.asarray(data.train_images[:4])):
        hypermodel.fit(hp, model, data.train_images, data.train_labels, **shared, **extras)


def missing_parameters(hypermodel: keras_tuner.HyperModel) -> list[str]:
    """What a `fit` of the user's own does not take, but has to."""
    return [name for name in ("epochs", "callbacks") if not _takes(hypermodel.fit, name)]


def defines_fit(hypermodel: keras_tuner.HyperModel) -> bool:
    """Whether the hypermodel trains with a `fit` of its own."""
    return type(hypermodel).fit is not keras_tuner.HyperModel.fit


def _names(function: Any, parameter: str) -> bool:
    return parameter in inspect.signature(function).parameters


def _takes(function: Any, parameter: str) -> bool:
    kinds = [each.kind for each in inspect.signature(function).parameters.values()]
    return _names(function, parameter) or inspect.Parameter.VAR_KEYWORD in kinds
