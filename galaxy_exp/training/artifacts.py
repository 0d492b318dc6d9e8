"""The files that a trial leaves in its folder, each written beside its place and then renamed into it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.folders import MODEL_NAME, graph_of, write_atomically
from galaxy_exp.hypermodel.export import is_portable
from galaxy_exp.records import EpochReport

__all__ = [
    "HISTORY_FILE",
    "PROBABILITIES_FILE",
    "save_graph",
    "save_history",
    "save_model",
    "save_probabilities",
]

PROBABILITIES_FILE = "validation_probabilities.npy"
HISTORY_FILE = "history.csv"


def save_model(model: keras.Model, folder: Path) -> None:
    """Writes `model.keras`."""
    write_atomically(folder / MODEL_NAME, model.save)


def save_graph(model: keras.Model, folder: Path, image_shape: Sequence[int]) -> None:
    """Writes a network that has parts of the user's own as a graph, which loads without the user's code.

    See `folders.graph_of`. Only on TensorFlow; on another backend such a network has to be loaded with its code.

    Args:
        model: takes uint8 (n, height, width, channels).
        folder: where `model.keras` will be written.
        image_shape: (height, width, channels).
    """
    graph = graph_of(folder / MODEL_NAME)
    shutil.rmtree(graph, ignore_errors=True)
    if keras.backend.backend() == "tensorflow" and not is_portable(model):
        images = keras.InputSpec(shape=(None, *image_shape), dtype="uint8")
        write_atomically(graph, lambda path: model.export(path, verbose=False, input_signature=[images]))


def save_probabilities(probabilities: NDArray[Any], folder: Path) -> None:
    """Writes `validation_probabilities.npy`, float32 (n_validation, n_classes)."""
    write_atomically(folder / PROBABILITIES_FILE, lambda path: np.save(path, probabilities.astype(np.float32)))


def save_history(reports: Sequence[EpochReport], folder: Path) -> None:
    """Writes `history.csv`: one row per epoch, with `epoch` (from 1) and every metric that any epoch has."""
    columns = ["epoch", *dict.fromkeys(name for report in reports for name in report.metrics)]

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({"epoch": report.epoch, **report.metrics} for report in reports)

    write_atomically(folder / HISTORY_FILE, write)
