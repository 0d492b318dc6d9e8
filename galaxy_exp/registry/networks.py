"""Trained networks: reading them from files, averaging several into one, and scoring them on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import DataError, ModelError, reason_of
from galaxy_exp.evaluation.confidence import fit_temperature
from galaxy_exp.evaluation.held_out_report import TestReport, build_report, build_vote_report
from galaxy_exp.evaluation.metrics import METRICS, summarise_predictions
from galaxy_exp.evaluation.resampling import paired_bootstrap
from galaxy_exp.evaluation.vote_comparison import compare_votes
from galaxy_exp.evaluation.vote_metrics import summarise_votes
from galaxy_exp.folders import graph_of, write_atomically
from galaxy_exp.questions import Votes
from galaxy_exp.quiet import import_tensorflow_quietly
from galaxy_exp.records import AGREEMENT

__all__ = ["Variant", "average_networks", "evaluate_model", "predict_images", "read_network", "write_ensemble"]


@dataclass(frozen=True, slots=True)
class Variant:
    """Another form of a model, compared with it on the same images."""

    name: str
    """The difference, for people."""
    model_files: Sequence[Path]
    """The probabilities of several are averaged."""
    tta: bool = False


def read_network(model_file: Path, image_shape: Sequence[int]) -> Any:
    """The network of a `.keras` file, or of the graph beside it (see `graph_of`).

    Args:
        model_file: uint8 (n, height, width, 3) to probabilities (n, n_classes).
        image_shape: (height, width, 3); used for a graph alone.

    Raises:
        ModelError: it does not exist or cannot be read.
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
    """One network from images to the mean of the networks' probabilities; a single one is returned unchanged.

    Of networks of votes it is the mean of their concentrations: a network counts more where it is more sure. The
    networks are of `read_network`, and get other names; the shape of an image is (height, width, 3).
    """
    import keras

    if len(networks) == 1:
        return networks[0]
    images = keras.Input(tuple(image_shape), dtype="uint8")
    for place, network in enumerate(networks):
        network.name = f"member_{place}"
    return keras.Model(images, keras.layers.Average(dtype="float32")([network(images) for network in networks]))


def write_ensemble(model_files: Sequence[Path], image_shape: Sequence[int], target: Path) -> None:
    """Writes the average of networks as one `.keras` file, atomically; no other process may write it meanwhile.

    There are at least two files, all without a graph, as their layers are Keras's own; the shape of an image is
    (height, width, 3).

    Raises:
        ModelError: a file does not exist or cannot be read.
    """
    import_tensorflow_quietly()
    ensemble = average_networks([read_network(file, image_shape) for file in model_files], image_shape)
    write_atomically(target, ensemble.save, sole_writer=True)


def evaluate_model(
    model_file: Path,
    images_path: Path,
    labels_path: Path,
    class_names: Sequence[str],
    digest: str,
    *,
    validation: tuple[Path, Path] | None = None,
    tta: bool = False,
    variants: Sequence[Variant] = (),
    votes: Votes | None = None,
    agreement: float = AGREEMENT,
) -> tuple[TestReport, NDArray[np.float32]]:
    """Predicts a labelled set with a `.keras` file and scores it.

    Args:
        model_file: uint8 (n, height, width, 3) to probabilities (n, n_classes), or with `votes` to a positive number
            for each answer (n, n_answers).
        images_path: `.npy`, uint8 (n, height, width, 3); memory-mapped, read a batch at a time.
        labels_path: `.npy`, integers (n,).
        class_names: one per class, in label order.
        digest: identifies the images and labels; kept in the report.
        validation: images and labels to fit the temperature on, as `.npy` files likewise; None: no temperature.
        tta: whether the probabilities are the mean over flips and quarter turns.
        variants: to compare with.
        votes: of the images; the labels are then their winning answers, and no temperature is fitted.
        agreement: as of `held_out_report.build_vote_report`.

    Returns:
        The report and the network's outputs, float32 (n, n_classes) or (n, n_answers).

    Raises:
        DataError: images and labels that do not belong together, or labels outside the classes.
        ModelError: a model that cannot be read, or is for other images or another number of classes.
    """
    images, labels = _open_set(images_path, labels_path, len(class_names))
    n_outputs = len(class_names) if votes is None else votes.questions.n_answers
    network = _load_network([model_file], images, n_outputs)
    temperature = None
    if validation is not None and votes is None:
        fit_images, fit_labels = _open_set(*validation, len(class_names))
        temperature = fit_temperature(fit_labels, predict_images(network, fit_images, tta))
    outputs = predict_images(network, images, tta)
    if votes is None:
        report = build_report(labels, outputs, class_names, digest, temperature)
    else:
        report = build_vote_report(votes, outputs, digest, agreement)
    compared = []
    for variant in variants:
        same = list(variant.model_files) == [model_file]
        other = network if same else _load_network(variant.model_files, images, n_outputs)
        others = predict_images(other, images, variant.tta)
        if votes is None:
            scores = summarise_predictions(labels, others)
            differences: dict[str, Any] = {
                metric: list(paired_bootstrap(labels, outputs, others, metric)) for metric in METRICS
            }
        else:
            scores = summarise_votes(votes, others, agreement)
            differences = dict(compare_votes(votes, outputs, others, agreement))
        compared.append({"name": variant.name, **scores, "differences": differences})
    return replace(report, tta=tta, compared=compared), outputs


def predict_images(network: Any, images: NDArray[np.uint8], tta: bool = False) -> NDArray[np.float32]:
    """Probabilities (n, n_classes) of a network for images of its size, in the batches of the packaged model.

    Images are uint8 (n, height, width, 3), n above 0, and may be memory-mapped; with `tta`, it is the mean over flips
    and quarter turns.
    """
    from galaxy_exp.registry.pyfunc_model import images_per_batch, predict_batch

    size = images_per_batch(*images.shape[1:3])
    starts = range(0, len(images), size)
    return np.concatenate([predict_batch(network, np.asarray(images[start : start + size]), tta) for start in starts])


def _open_set(images_path: Path, labels_path: Path, n_classes: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The images, memory-mapped, and their labels."""
    images, labels = np.load(images_path, mmap_mode="r"), np.load(labels_path)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"{images_path}: {images.dtype} {images.shape}; expected uint8 (n, height, width, 3)")
    if not len(images) or labels.shape != (len(images),):
        raise DataError(
            f"{images_path}: {len(images)} images with labels of shape {labels.shape}; expected one label each"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise DataError(f"labels run from {labels.min()} to {labels.max()}; expected 0 to {n_classes - 1}")
    return images, labels


def _load_network(model_files: Sequence[Path], images: NDArray[np.uint8], n_outputs: int) -> Any:
    networks = [read_network(file, images.shape[1:]) for file in model_files]
    for file, network in zip(model_files, networks, strict=True):
        _check_network(file, network, images, n_outputs)
    return average_networks(networks, images.shape[1:])


def _check_network(model_file: Path, network: Any, images: NDArray[Any], n_outputs: int) -> None:
    takes, gives = tuple(network.input_shape[1:]), tuple(network.output_shape[1:])
    if any(want not in (None, have) for want, have in zip(takes, images.shape[1:], strict=True)):
        raise ModelError(f"{model_file} takes images of shape {takes}; these have shape {images.shape[1:]}")
    if gives != (n_outputs,):
        raise ModelError(f"{model_file} gives outputs of shape {gives}; expected ({n_outputs},), one per class")
