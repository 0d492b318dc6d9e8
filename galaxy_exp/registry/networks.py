"""Trained networks read from their files, and several made into one that gives the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxy_exp.errors import ModelError, reason_of
from galaxy_exp.folders import graph_of, write_atomically
from galaxy_exp.quiet import import_tensorflow_quietly

__all__ = ["average_networks", "read_network", "write_ensemble"]


def read_network(model_file: Path, image_shape: Sequence[int]) -> Any:
    """The network of a `.keras` file, or of the graph beside it (see `graph_of`).

    Args:
        model_file: uint8 (n, height, width, 3) to probabilities (n, n_classes).
        image_shape: (height, width, 3); used for a graph alone.

    Raises:
        ModelError: it is not there or cannot be read.
    """
    import keras

    graph = graph_of(model_file)
    try:
        if graph.is_dir():
            layer = keras.layers.TFSMLayer(str(graph), call_endpoint="serve")
            return keras.Sequential([keras.Input(image_shape, dtype="uint8"), layer])
        return keras.saving.load_model(model_file, compile=False, safe_mode=True)
    except NotImplementedError as error:
        found = f"KERAS_BACKEND is {keras.backend.backend()}"
        raise ModelError(f"{graph} is a TensorFlow graph and {found}; expected KERAS_BACKEND=tensorflow") from error
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{model_file}: cannot be read as a Keras model: {reason_of(error)}") from error


def average_networks(networks: Sequence[Any], image_shape: Sequence[int]) -> Any:
    """One network from images to the mean of the networks' probabilities; a single one is given back as it is.

    Args:
        networks: as `read_network` gives them; they get other names.
        image_shape: (height, width, 3).
    """
    import keras

    if len(networks) == 1:
        return networks[0]
    images = keras.Input(tuple(image_shape), dtype="uint8")
    for place, network in enumerate(networks):
        network.name = f"member_{place}"
    return keras.Model(images, keras.layers.Average(dtype="float32")([network(images) for network in networks]))


def write_ensemble(model_files: Sequence[Path], image_shape: Sequence[int], target: Path) -> None:
    """Writes the average of networks as one `.keras` file, which appears as a whole.

    Args:
        model_files: at least two, all without a graph: their layers are Keras's own.
        image_shape: (height, width, 3).
        target: where to.

    Raises:
        ModelError: a file is not there or cannot be read.
    """
    import_tensorflow_quietly()
    ensemble = average_networks([read_network(file, image_shape) for file in model_files], image_shape)
    write_atomically(target, ensemble.save)
