"""A labelled set of colour images in memory (or memory-mapped), checked once when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.sweep import MIN_SIDE
from galaxy_exp.data.preprocessing import Preprocessing
from galaxy_exp.errors import DataError

__all__ = ["ImageDataset", "build_dataset", "iter_chunks", "preprocess_dataset"]

CHUNK_BYTES = 16 * 2**20
"""How much of an image array is touched at a time, so that a memory-mapped file never has to fit in memory."""


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images with one label each. Made by `build_dataset`, which validates; do not write into the arrays."""

    images: NDArray[np.uint8]
    """uint8 (n, height, width, 3), channels red, green, blue; perhaps a read-only `numpy.memmap`."""
    labels: NDArray[np.int64]
    """int64 (n,), each from 0 to n_classes - 1."""
    class_names: tuple[str, ...]
    """One name per label, in label order."""
    source: str
    """What was loaded: "simulated", "galaxy10-sdss", or the path as given."""
    simulated: bool = False
    """Whether these are made-up galaxies; every report about them has to say so."""
    own_split: NDArray[np.int8] | None = None
    """The user's own division, int8 (n,): for each image its position in `PARTS`; None without one."""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    """What was done to the images."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read and were left out (`data.on_error: skip`), one line each."""
    other_files: str = ""
    """Files of the folder that are no images, by ending: "3 .txt, 1 .pdf"."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) in pixels."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @property
    def n_classes(self) -> int:
        """Number of classes, those without an image included."""
        return len(self.class_names)

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each class, in label order."""
        per_label = np.bincount(self.labels, minlength=self.n_classes)
        return dict(zip(self.class_names, per_label.tolist(), strict=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) over shape, dtype, image bytes, labels, class names, and preprocessing if any.

        Two data sets have the same digest exactly when a trial could not tell them apart and the same has to
        be done to an image before prediction; where they came from does not enter.
        """
        sha256 = hashlib.sha256(f"{self.images.shape} {self.images.dtype.str}".encode())
        if self.preprocessing != Preprocessing():
            sha256.update(repr(sorted(self.preprocessing.to_dict().items())).encode())
        for chunk in iter_chunks(self.images):
            sha256.update(chunk.tobytes())
        sha256.update(self.labels.astype("<i8").tobytes())
        sha256.update("\n".join(self.class_names).encode())
        return sha256.hexdigest()


def iter_chunks(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yields consecutive slices along the first axis, each of about `CHUNK_BYTES` and at least one image."""
    per_image = max(1, images[:1].nbytes)
    step = max(1, CHUNK_BYTES // per_image)
    for start in range(0, len(images), step):
        yield images[start : start + step]


def build_dataset(
    images: NDArray[Any],
    labels: NDArray[Any],
    class_names: Sequence[str] | None = None,
    *,
    source: str,
    simulated: bool = False,
    own_split: NDArray[np.int8] | None = None,
    preprocessing: Preprocessing | None = None,
    skipped: Sequence[str] = (),
    other_files: str = "",
    label_key: str = "labels",
) -> ImageDataset:
    """Validates the arrays and returns them as an `ImageDataset`.

    Args:
        images: uint8 (n, height, width, 3).
        labels: (n,) of any integer dtype, or floats that are whole numbers (some HDF5 files store them so).
        class_names: one name per class in label order; left out: "class 0", "class 1", ...
        source: begins every error message, so best a file or a source name.
        simulated: whether the galaxies are made up.
        own_split: (n,), as `parse_parts` gives it.
        preprocessing: what was done to the images already.
        skipped: files left out, one line each.
        other_files: what else is in the folder.
        label_key: what the labels are called at the source, for messages; images are called `images`.

    Raises:
        DataError: one line that names the source, the array, the first offending index, what was found
            there and what was expected.
    """
    images, labels = np.asanyarray(images), np.asanyarray(labels)
    check_images(images, source)
    whole = check_labels(labels, len(images), source, label_key)
    names = tuple(class_names) if class_names is not None else default_class_names(whole)
    check_class_names(names, whole, source, label_key)
    if own_split is not None and len(own_split) != len(images):
        n_parts = len(own_split)
        raise DataError(f"{source}: data.split.column has {n_parts} entries; expected {len(images)}, one per image")
    done = preprocessing or Preprocessing()
    return ImageDataset(images, whole, names, source, simulated, own_split, done, tuple(skipped), other_files)


def preprocess_dataset(dataset: ImageDataset, preprocessing: Preprocessing) -> ImageDataset:
    """The same data set with every image preprocessed, unless a source has done that as it read them.

    How FITS files were stretched stays as the source says.

    Raises:
        DataError: the images are smaller than the crop, or something else was done to them before.
    """
    wanted = replace(preprocessing, fits=dataset.preprocessing.fits)
    if preprocessing == Preprocessing() or dataset.preprocessing == wanted:
        return dataset
    if replace(dataset.preprocessing, fits=None) != Preprocessing():
        raise DataError(
            f"{dataset.source}: its images are preprocessed already ({', '.join(dataset.preprocessing.describe())}); "
            "expected the same data.crop, data.resize and data.greyscale, or none"
        )
    images = wanted.apply_to_all(dataset.images, dataset.source)
    return replace(dataset, images=images, preprocessing=wanted)


def default_class_names(labels: NDArray[np.int64]) -> tuple[str, ...]:
    """("class 0", "class 1", ...) up to the largest label; labels are int64 (n,)."""
    return tuple(f"class {label}" for label in range(int(labels.max(initial=-1)) + 1))


def check_images(images: NDArray[Any], source: str) -> None:
    """Raises `DataError` unless `images` is uint8 (n, height, width, 3) with n >= 1."""
    expected = "expected uint8 of shape (n, height, width, 3)"
    if images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"{source}: 'images' has shape {images.shape}; {expected}")
    if len(images) == 0:
        raise DataError(f"{source}: 'images' holds none; {expected}, n >= 1")
    if min(images.shape[1:3]) < MIN_SIDE:
        raise DataError(f"{source}: 'images' has shape {images.shape}; expected sides of at least {MIN_SIDE} pixels")
    if images.dtype != np.uint8:
        raise DataError(f"{source}: 'images' is {_describe_values(images)}; {expected}, values 0 to 255")


def _describe_values(images: NDArray[Any]) -> str:
    """ "float32 with NaN at index 3", or "float32 from 0 to 1", or just the dtype."""
    if not np.issubdtype(images.dtype, np.number) or np.iscomplexobj(images):
        return str(images.dtype)
    bad = ~np.isfinite(images).all(axis=(1, 2, 3))
    if bad.any():
        return f"{images.dtype} with NaN or infinity at index {int(bad.argmax())}"
    return f"{images.dtype} from {images.min():g} to {images.max():g}"


def check_labels(labels: NDArray[Any], n_images: int, source: str, key: str) -> NDArray[np.int64]:
    """Labels as int64 (n_images,); raises `DataError` at the first that is not a whole number >= 0."""
    if labels.shape != (n_images,):
        expected = f"expected ({n_images},), one whole number per image"
        one_hot = " (the position of the 1 where they are one-hot)" if labels.ndim == 2 else ""
        raise DataError(f"{source}: {key!r} has shape {labels.shape}; {expected}{one_hot}")
    if labels.dtype.kind not in "iuf":
        raise DataError(f"{source}: {key!r} is {_describe_label(labels[0])} at index 0; expected a whole number from 0")
    with np.errstate(invalid="ignore"):
        wrong = ~((labels >= 0) & (labels == np.floor(labels)) & (labels < 10_000))
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(f"{source}: {key!r} is {labels[index]} at index {index}; expected a whole number from 0")
    return np.ascontiguousarray(labels, dtype=np.int64)


def _describe_label(label: Any) -> str:
    plain = label.item() if isinstance(label, np.generic) else label
    return repr(plain.decode(errors="replace") if isinstance(plain, bytes) else plain)[:60]


def check_class_names(names: tuple[str, ...], labels: NDArray[np.int64], source: str, key: str) -> None:
    """Raises `DataError` unless there are at least two names, all different, and one for each label.

    A class may be without images, for evaluation; `split_dataset` refuses that.
    """
    needed = int(labels.max()) + 1
    if needed > len(names):
        index = int((labels >= len(names)).argmax())
        raise DataError(
            f"{source}: {key!r} is {labels[index]} at index {index}, but there are {len(names)} class names; "
            f"expected {needed} names (data.class_names)"
        )
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataError(f"{source}: class names {list(names)}; expected different names, none empty")
    if unwritable := next((name for name in names if not _is_text(name)), None):
        raise DataError(f"{source}: class name {unwritable!r}; expected text that can be written as UTF-8")
    if len(names) < 2:
        raise DataError(f"{source}: only one class, {names[0]!r}; expected at least 2")


def _is_text(name: str) -> bool:
    """False for the name of a folder whose bytes are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
