"""Opens the images of a trial, and trains a network through its hypermodel's `fit`."""

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
from galaxy_exp.questions import Votes
from galaxy_exp.records import DATA_GONE, SplitFiles, VoteFiles
from galaxy_exp.training.label_forms import accept_classes, encode_labels
from galaxy_exp.training.trial_network import TrialNetwork, defines_fit

__all__ = [
    "NO_EPOCH",
    "SplitArrays",
    "TrainingEnded",
    "fit_model",
    "missing_parameters",
    "open_split",
    "takes_initial_epoch",
]

NO_EPOCH = "the hypermodel's fit ended without a single epoch; it must pass `callbacks` to model.fit, or call them"


class TrainingEnded(Exception):
    """Raised by a callback to end `fit`, which may ignore `stop_training`."""


@dataclass(frozen=True, slots=True)
class SplitArrays:
    """Training and validation data: images as memory maps, uint8 (n, height, width, channels), labels int64 (n,).

    With votes, these are what networks are trained on, and the labels are the most frequent answers.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]
    train_votes: Votes | None = None
    validation_votes: Votes | None = None

    @property
    def targets(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """What networks are trained on and validated with: votes (n, n_answers), else labels (n,)."""
        if self.train_votes is None or self.validation_votes is None:
            return self.train_labels, self.validation_labels
        return self.train_votes.values, self.validation_votes.values


def open_split(files: SplitFiles) -> SplitArrays:
    """Opens a prepared split; DataError, which begins with DATA_GONE, if a file cannot be read."""
    try:
        return SplitArrays(
            np.load(files.train_images, mmap_mode="r"),
            np.load(files.train_labels),
            np.load(files.validation_images, mmap_mode="r"),
            np.load(files.validation_labels),
            *_open_votes(files.votes),
        )
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{DATA_GONE}: {first_line(error)}") from error


def _open_votes(files: VoteFiles | None) -> tuple[Votes, ...]:
    if files is None:
        return ()
    return tuple(Votes(files.questions, np.load(path), files.are_counts) for path in (files.train, files.validation))


def fit_model(
    network: TrialNetwork,
    data: SplitArrays,
    *,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    seed: int,
    first_epoch: int = 0,
) -> None:
    """Trains the model through `hypermodel.fit`, KerasTuner's convention, up to `epochs` from `first_epoch` on.

    A user-defined `fit` gets `validation_data` if it accepts it, as from a `keras_tuner.Tuner`, `seed` if it has that
    parameter, and `initial_epoch` if that is not 0. GalaxyCNN gets no validation data, since the trial predicts the
    validation images itself. A hypermodel without `fit` is trained here on batches, so that the images stay on disk.
    Its labels have the form that its loss accepts; a user-defined `fit` gets whole numbers and may convert them itself,
    or votes.
    """
    hypermodel, hp, model = network.hypermodel, network.hp, network.model
    targets, validation_targets = data.targets
    continued = {"initial_epoch": first_epoch} if first_epoch else {}
    if not defines_fit(hypermodel):
        encoded = encode_labels(targets, network.labels, network.n_classes)
        batches = Batches(data.train_images, encoded, network.batch_size, seed=seed)
        fit_batches(model, batches, epochs=epochs, callbacks=list(callbacks), verbose=0, **continued)
        return
    shared: dict[str, Any] = {"epochs": epochs, "callbacks": list(callbacks)}
    if _accepts(hypermodel.fit, "verbose"):
        shared["verbose"] = 0
    extras: dict[str, Any] = {"seed": seed} if _names(hypermodel.fit, "seed") else {}
    if not isinstance(hypermodel, GalaxyCNN) and _accepts(hypermodel.fit, "validation_data"):
        extras["validation_data"] = (data.validation_images, validation_targets)
    with accept_classes(model, network.labels, network.n_classes, np.asarray(data.train_images[:4])):
        hypermodel.fit(hp, model, data.train_images, targets, **shared, **extras, **continued)


def missing_parameters(hypermodel: keras_tuner.HyperModel) -> list[str]:
    """Parameters that a user-defined `fit` lacks."""
    return [name for name in ("epochs", "callbacks") if not _accepts(hypermodel.fit, name)]


def takes_initial_epoch(hypermodel: keras_tuner.HyperModel) -> bool:
    """Whether a training can begin with a later epoch: always without a user-defined `fit`."""
    return not defines_fit(hypermodel) or _accepts(hypermodel.fit, "initial_epoch")


def _names(function: Any, parameter: str) -> bool:
    return parameter in inspect.signature(function).parameters


def _accepts(function: Any, parameter: str) -> bool:
    kinds = [each.kind for each in inspect.signature(function).parameters.values()]
    return _names(function, parameter) or inspect.Parameter.VAR_KEYWORD in kinds
