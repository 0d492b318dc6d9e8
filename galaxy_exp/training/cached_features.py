"""Training the head of a frozen encoder on features that are computed once, and not in each epoch of each trial.

The encoder's outputs for all images, and for the flips and quarter turns that the augmentation may show, are written
beside the prepared images, one folder for each encoder, precision, number of orientations and shape of the features.
Trials memory-map them. A trial trained on them draws the same orientations and drops the same features as without
them; its outputs differ by the rounding of the encoder alone.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import reason_of
from galaxy_exp.folders import open_locked, write_atomically
from galaxy_exp.hypermodel.augmentation import (
    AugmentationLayer,
    PickOrientation,
    RandomFlips,
    RandomSymmetry,
    symmetry_table,
)
from galaxy_exp.hypermodel.batches import images_per_batch
from galaxy_exp.hypermodel.encoders import HEAD_BEGINS
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.records import TrialSpec
from galaxy_exp.training.fitting import SplitArrays
from galaxy_exp.training.trial_network import TrialNetwork

__all__ = ["MAX_BYTES", "CachedFeatures", "use_cached_features"]

MAX_BYTES = 8 * 2**30
"""Of the features of one encoder; a trial that would need more computes them in each epoch."""

MAX_SECONDS = 240.0
"""That computing the features may take by estimate: a trial that reports no epoch for ten minutes counts as hung."""

_LOG = logging.getLogger(__name__)

_seconds_per_image: dict[Path, float] = {}
"""Of the encoders, by folder of their features, as measured by this process."""


@dataclass(frozen=True, slots=True)
class CachedFeatures:
    """What a trial trains instead of the whole network."""

    network: TrialNetwork
    """Its model has the layers of the head, and takes features (n, orientations, ...)."""
    data: SplitArrays
    """Features in the place of images; the validation images in their own orientation alone."""
    seconds_per_image: float
    """That the encoder took for an image."""
    folder: Path
    """Where the features are, or would be."""

    @property
    def n_images(self) -> int:
        """How many images the encoder sees for them, those of all orientations counted."""
        n_orientations = int(self.data.train_images.shape[1])
        return len(self.data.train_images) * n_orientations + len(self.data.validation_images)


def use_cached_features(
    spec: TrialSpec, network: TrialNetwork, data: SplitArrays, *, rehearse: bool = False
) -> CachedFeatures | None:
    """The head and the features, computed now if no trial did before; None where the whole network has to be trained.

    It has to be unless its encoder is frozen and its augmentation consists of flips and quarter turns alone, and where
    the features cannot be written, which is reported in the worker's log.

    Args:
        rehearse: gives zeros in place of the features, of which nothing is computed or written.
    """
    hypermodel = network.hypermodel
    if not isinstance(hypermodel, GalaxyCNN) or not hypermodel.is_unchanged:
        return None
    values = hypermodel.read(network.hp)
    if not values.is_frozen:
        return None
    augmentation, body, head = _divide(network.model)
    if not (augmentation is None or isinstance(augmentation, RandomSymmetry)):
        return None
    table = _orientations(augmentation, network.model.input_shape)
    n_images = len(table) * len(data.train_images) + len(data.validation_images)
    dtype = _dtype(body)
    n_bytes = n_images * int(np.prod(body.output_shape[1:])) * dtype.itemsize
    if n_bytes > MAX_BYTES:
        _LOG.warning("features are not cached: %.1f GiB; the limit is %.0f GiB", n_bytes / 2**30, MAX_BYTES / 2**30)
        return None
    digest = str(spec.values["encoder"]).rsplit(" ", 1)[-1]
    shape = "x".join(map(str, (len(table), *body.output_shape[1:])))
    folder = spec.data.train_images.parent / "features" / f"{digest}-{spec.precision}-{shape}"
    try:
        get = _make_zeros if rehearse else _load_or_compute
        train, validation, seconds = get(folder, body, dtype, data, table)
    except OSError as error:
        _LOG.warning("features are not cached: %s", reason_of(error))
        return None
    features = keras.Input((None, *train.shape[2:]), dtype=train.dtype.name, name="features")
    pick = PickOrientation(augmentation, name="orientation")
    model = keras.Sequential([features, pick, *head], name=network.model.name)
    hypermodel.compile_network(network.hp, model, network.model.optimizer)
    model.jit_compile = network.model.jit_compile
    if keras.backend.backend() == "tensorflow":  # an epoch in one call; others would compile each of its steps
        model.steps_per_execution = math.ceil(len(train) / values.batch_size)
    return CachedFeatures(
        replace(network, model=model),
        replace(data, train_images=train, validation_images=validation),
        seconds,
        folder,
    )


def _divide(
    model: keras.Sequential,
) -> tuple[AugmentationLayer | None, keras.Sequential, list[keras.layers.Layer]]:
    """The augmentation, the body from images to features, and the layers of the head.

    The average over a map belongs to the body where nothing is dropped before it: there is less to read then.
    """
    layers = list(model.layers)
    augmentation = layers.pop(0) if isinstance(layers[0], AugmentationLayer) else None
    begin = [layer.name for layer in layers].index(HEAD_BEGINS)
    if layers[begin].rate == 0 and isinstance(layers[begin + 1], keras.layers.GlobalAveragePooling2D):
        begin += 2
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    return augmentation, keras.Sequential([images, *layers[:begin]], name="body"), layers[begin:]


def _orientations(augmentation: RandomSymmetry | None, shape: tuple[int | None, ...]) -> NDArray[np.int32]:
    """Pixel permutations, int32 (n_orientations, height * width), the first of which is the image itself."""
    height, width = shape[1] or 0, shape[2] or 0
    if augmentation is None:
        return symmetry_table(height, width, transpose=False)[:1]
    return symmetry_table(height, width, transpose=not isinstance(augmentation, RandomFlips))


def _load_or_compute(
    folder: Path, body: keras.Sequential, dtype: np.dtype[Any], data: SplitArrays, table: NDArray[np.int32]
) -> tuple[NDArray[Any], NDArray[Any], float]:
    """The features of training (n, orientations, ...) and validation (n, 1, ...), and the seconds for an image."""
    folder.parent.mkdir(exist_ok=True)
    with open_locked(folder.with_suffix(".lock"), wait=True):
        if not _is_complete(folder, body, data, table):
            shutil.rmtree(folder, ignore_errors=True)
            _refuse_slow(folder, body, data, table)
            write_atomically(folder, lambda temporary: _write(temporary, body, dtype, data, table), sole_writer=True)
    train, validation = (np.load(folder / f"{part}.npy", mmap_mode="r").view(dtype) for part in ("train", "validation"))
    return train, validation, _measure(folder, body, data)


def _make_zeros(
    folder: Path, body: keras.Sequential, dtype: np.dtype[Any], data: SplitArrays, table: NDArray[np.int32]
) -> tuple[NDArray[Any], NDArray[Any], float]:
    """As `_load_or_compute`; zeros that are only read take no memory."""
    _refuse_slow(folder, body, data, table)
    sizes = (len(data.train_images), len(table)), (len(data.validation_images), 1)
    train, validation = (np.zeros((*size, *body.output_shape[1:]), dtype) for size in sizes)
    return train, validation, _measure(folder, body, data)


def _refuse_slow(folder: Path, body: keras.Sequential, data: SplitArrays, table: NDArray[np.int32]) -> None:
    n_images = len(table) * len(data.train_images) + len(data.validation_images)
    expected = n_images * _measure(folder, body, data)
    if expected > MAX_SECONDS:
        raise TimeoutError(f"computing them would take {expected:.0f} s; the limit is {MAX_SECONDS:.0f} s")


def _measure(folder: Path, body: keras.Sequential, data: SplitArrays) -> float:
    """The seconds that the encoder takes for an image on this machine, from some validation images."""
    if folder not in _seconds_per_image:
        images = np.asarray(data.validation_images[: images_per_batch(*data.validation_images.shape[1:3])])
        body.predict_on_batch(images)  # builds the function
        began = time.perf_counter()
        body.predict_on_batch(images)
        _seconds_per_image[folder] = (time.perf_counter() - began) / len(images)
    return _seconds_per_image[folder]


def _is_complete(folder: Path, body: keras.Sequential, data: SplitArrays, table: NDArray[np.int32]) -> bool:
    shapes = {"train": (len(data.train_images), len(table)), "validation": (len(data.validation_images), 1)}
    try:
        return all(
            np.load(folder / f"{part}.npy", mmap_mode="r").shape == (*shape, *body.output_shape[1:])
            for part, shape in shapes.items()
        )
    except (OSError, ValueError, EOFError):
        return False


def _write(
    folder: Path, body: keras.Sequential, dtype: np.dtype[Any], data: SplitArrays, table: NDArray[np.int32]
) -> None:
    folder.mkdir()
    _write_features(folder / "validation.npy", body, dtype, _Orientations(data.validation_images, table[:1]))
    _write_features(folder / "train.npy", body, dtype, _Orientations(data.train_images, table))


def _write_features(path: Path, body: keras.Sequential, dtype: np.dtype[Any], images: _Orientations) -> None:
    kind = np.dtype(f"u{dtype.itemsize}") if dtype.kind == "V" else dtype  # NumPy's files have no bfloat16
    shape = (images.n_images, images.n_orientations, *body.output_shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for batch in images.batches():
            found = np.asarray(keras.ops.convert_to_numpy(body.predict_on_batch(batch)), dtype=dtype)
            file.write(found.tobytes())


def _dtype(body: keras.Sequential) -> np.dtype[Any]:
    """Of what it computes: its symbolic output does not follow from the precision that an encoder was given."""
    outputs = body(np.zeros((1, *body.input_shape[1:]), np.uint8), training=False)
    dtype: np.dtype[Any] = np.dtype(keras.backend.standardize_dtype(outputs.dtype))
    return dtype


class _Orientations:
    """Images in each of their orientations: all of the first image, then all of the second, and so on."""

    def __init__(self, images: NDArray[np.uint8], table: NDArray[np.int32]) -> None:
        self._images, self._table = images, table
        self.n_images, self.n_orientations = len(images), len(table)

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        """Yields batches of images (n, height, width, channels), in order."""
        shape = self._images.shape[1:]
        per_batch = max(images_per_batch(*shape[:2]) // self.n_orientations, 1)
        for first in range(0, self.n_images, per_batch):
            some = np.asarray(self._images[first : first + per_batch])
            turned = some.reshape(len(some), -1, shape[2])[:, self._table]
            yield turned.reshape(-1, *shape)
