"""Scores of a trained network on a labelled set, such as the sealed test set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import DataError, ModelError
from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.confidence import fit_temperature
from galaxy_exp.evaluation.resampling import paired_bootstrap
from galaxy_exp.evaluation.test_report import TestReport, build_report
from galaxy_exp.registry.networks import average_networks, read_network

__all__ = ["Variant", "evaluate_model", "images_per_batch", "views_of"]

PIXELS_PER_BATCH = 2**18
"""As in `training.predictions`: the sealed test needs no more memory than training did."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The model in another way, to be compared with on the same images."""

    name: str
    """In what it differs, for people."""
    model_files: Sequence[Path]
    """Of several the mean is taken."""
    tta: bool = False


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
) -> tuple[TestReport, NDArray[np.float32]]:
    """Predicts a labelled set with a `.keras` file and scores it.

    Args:
        model_file: uint8 (n, height, width, 3) to probabilities (n, n_classes).
        images_path: `.npy`, uint8 (n, height, width, 3); memory-mapped, read a batch at a time.
        labels_path: `.npy`, integers (n,).
        class_names: one per class, in label order.
        digest: identifies the images and labels; kept in the report.
        validation: images and labels to fit the temperature on, as `.npy` files likewise; None: no temperature.
        tta: whether each image is predicted in all of `views_of`, and the mean is taken.
        variants: to compare with.

    Returns:
        The report and the probabilities, float32 (n, n_classes).

    Raises:
        DataError: images and labels that do not belong together, or labels outside the classes.
        ModelError: a model that cannot be read, or is for other images or another number of classes.
    """
    images, labels = _open_set(images_path, labels_path, len(class_names))
    network = _load_network([model_file], images, len(class_names))
    temperature = None
    if validation is not None:
        fit_images, fit_labels = _open_set(*validation, len(class_names))
        temperature = fit_temperature(fit_labels, _predict(network, fit_images, tta))
    probabilities = _predict(network, images, tta)
    report = build_report(labels, probabilities, class_names, digest, temperature)
    compared = []
    for variant in variants:
        same = list(variant.model_files) == [model_file]
        other = network if same else _load_network(variant.model_files, images, len(class_names))
        compared.append(_compare(variant.name, labels, probabilities, _predict(other, images, variant.tta)))
    return replace(report, tta=tta, compared=compared), probabilities


def _compare(
    name: str, labels: NDArray[Any], probabilities: NDArray[np.float32], other: NDArray[np.float32]
) -> dict[str, Any]:
    differences = {metric: list(paired_bootstrap(labels, probabilities, other, metric)) for metric in metrics.METRICS}
    return {"name": name, **metrics.summarise_predictions(labels, other), "differences": differences}


def views_of(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Images (n, height, width, 3) as they are, then flipped and turned: 8 views of squares, 4 of others.

    `registry.pyfunc_model`, which cannot import this module, has the same; a test compares them.
    """
    for turns in range(0, 4, 1 if images.shape[1] == images.shape[2] else 2):
        turned = np.rot90(images, turns, axes=(1, 2))
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(turned[:, :, ::-1])


def images_per_batch(height: int, width: int) -> int:
    """How many images of that many pixels to predict at once; the rule of `training.predictions`."""
    return min(max(PIXELS_PER_BATCH // (height * width), 8), 256)


def _open_set(images_path: Path, labels_path: Path, n_classes: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The images, memory-mapped, and their labels."""
    images, labels = np.load(images_path, mmap_mode="r"), np.load(labels_path)
    _check_data(images_path, images, labels, n_classes)
    return images, labels


def _check_data(path: Path, images: NDArray[Any], labels: NDArray[Any], n_classes: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"{path}: {images.dtype} {images.shape}; expected uint8 (n, height, width, 3)")
    if not len(images) or labels.shape != (len(images),):
        raise DataError(f"{path}: {len(images)} images with labels of shape {labels.shape}; expected one label each")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise DataError(f"labels run from {labels.min()} to {labels.max()}; expected 0 to {n_classes - 1}")


def _load_network(model_files: Sequence[Path], images: NDArray[np.uint8], n_classes: int) -> Any:
    networks = [read_network(file, images.shape[1:]) for file in model_files]
    for file, network in zip(model_files, networks, strict=True):
        _check_network(file, network, images, n_classes)
    return average_networks(networks, images.shape[1:])


def _check_network(model_file: Path, network: Any, images: NDArray[Any], n_classes: int) -> None:
    takes, gives = tuple(network.input_shape[1:]), tuple(network.output_shape[1:])
    if any(want not in (None, have) for want, have in zip(takes, images.shape[1:], strict=True)):
        raise ModelError(f"{model_file} takes images of shape {takes}; these have shape {images.shape[1:]}")
    if gives != (n_classes,):
        raise ModelError(f"{model_file} gives probabilities of shape {gives}; expected ({n_classes},), one per class")


def _predict(network: Any, images: NDArray[np.uint8], tta: bool = False) -> NDArray[np.float32]:
    size = images_per_batch(*images.shape[1:3])
    batches = (np.asarray(images[start : start + size]) for start in range(0, len(images), size))
    return np.concatenate([_predict_batch(network, batch, tta) for batch in batches])


def _predict_batch(network: Any, images: NDArray[np.uint8], tta: bool) -> NDArray[np.float32]:
    import keras

    outputs = (network(view, training=False) for view in (views_of(images) if tta else [images]))
    probabilities = [np.asarray(keras.ops.convert_to_numpy(each), dtype=np.float32) for each in outputs]
    mean: NDArray[np.float32] = np.mean(probabilities, axis=0)
    return mean
