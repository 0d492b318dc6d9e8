"""The files of a trial, each written to a temporary path and then renamed; its worker alone writes them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.folders import MODEL_NAME, graph_of, write_atomically, write_csv
from galaxy_exp.hypermodel.outputs import OutputKind, add_probabilities
from galaxy_exp.hypermodel.saving import forget_unsavable_loss, is_portable, make_savable, to_inference_model
from galaxy_exp.records import EpochReport

__all__ = ["load_network", "save_history", "save_model", "save_network", "save_probabilities"]

_PROBABILITIES_FILE = "validation_probabilities.npy"


def save_network(model: keras.Model, kind: OutputKind, folder: Path, image_shape: Sequence[int]) -> None:
    """Writes `model.keras`: uint8 images (n, *image_shape) in, probabilities out, in float32.

    On TensorFlow, a network with user-defined parts is written as a graph too (see `folders.graph_of`), which loads
    without the user's code. `model.keras` then holds the user's network without the conversion to probabilities, and
    without the arguments of layers that have no `get_config`. On another backend such a network needs its code to load.
    """
    inference = to_inference_model(model)
    forget_unsavable_loss(inference)
    network = add_probabilities(inference, kind, tuple(image_shape))
    graph = graph_of(folder / MODEL_NAME)
    shutil.rmtree(graph, ignore_errors=True)
    if keras.backend.backend() == "tensorflow" and not is_portable(network):
        images = keras.InputSpec(shape=(None, *image_shape), dtype="uint8")
        archive = keras.export.ExportArchive()
        archive.track(network)
        # `network.export` would call the network without `training`, and augmentation layers would augment
        archive.add_endpoint("serve", lambda batch: network(batch, training=False), input_signature=[images])
        write_atomically(graph, lambda path: archive.write_out(path, verbose=False), sole_writer=True)
        make_savable(inference)
        network = inference
    save_model(network, folder)


def save_model(model: keras.Model, folder: Path) -> None:
    """Writes `model.keras`."""
    write_atomically(folder / MODEL_NAME, model.save, sole_writer=True)


def load_network(folder: Path) -> Any:
    """The network that `save_network` wrote, as a function from images to probabilities; its graph, if any."""
    graph = graph_of(folder / MODEL_NAME)
    if graph.is_dir():
        return keras.layers.TFSMLayer(str(graph), call_endpoint="serve")
    return keras.saving.load_model(folder / MODEL_NAME, compile=False, safe_mode=True)


def save_probabilities(probabilities: NDArray[Any], folder: Path) -> None:
    """Writes `validation_probabilities.npy`, float32 (n_validation, n_classes)."""
    values = probabilities.astype(np.float32)
    write_atomically(folder / _PROBABILITIES_FILE, lambda path: np.save(path, values), sole_writer=True)


def save_history(reports: Sequence[EpochReport], folder: Path) -> None:
    """Writes `history.csv`: one row per epoch, with `epoch` (from 1) and every metric that any epoch has."""
    rows = [report.row() for report in reports]
    write_atomically(folder / "history.csv", lambda path: write_csv(path, rows), sole_writer=True)
