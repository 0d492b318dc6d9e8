"""A labelled set of colour images in memory (or memory-mapped), checked once when it is made."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.image_arrays import check_images, iter_chunks
from galaxy_exp.data.labels import LabelsAt, parse_labels
from galaxy_exp.data.preprocessing import Preprocessing
from galaxy_exp.errors import DataError

__all__ = ["ImageDataset", "TableRows", "build_dataset", "preprocess_dataset"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TableRows:
    """The rows of a table, those left out included, so that results can be joined with it again."""

    id_column: str
    ids: tuple[str, ...]
    """The text of that column, one per row."""
    files: tuple[str, ...]
    """The image files, one per row."""
    kept: NDArray[np.int64]
    """The row of each image, (n,); every other row has its line in `ImageDataset.skipped`, in order."""


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
    notes: tuple[str, ...] = ()
    """What was understood of the source, where that is not plain, one line each."""
    rows: TableRows | None = None
    """Which rows of a table these are; None if the source is no table."""

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
    first_label: int = 0,
    notes: Sequence[str] = (),
    rows: TableRows | None = None,
) -> ImageDataset:
    """Validates the arrays and returns them as an `ImageDataset`.

    Args:
        images: uint8 (n, height, width, 3).
        labels: (n,), (n, 1) or one-hot, in any form that `galaxy_exp.data.labels.parse_labels` reads.
        class_names: one name per class in label order; left out: those of the labels, or "class 0", "class 1", ...
        source: begins every error message, so best a file or a source name.
        simulated: whether the galaxies are made up.
        own_split: (n,), as `parse_parts` gives it.
        preprocessing: what was done to the images already.
        skipped: files left out, one line each.
        other_files: what else is in the folder.
        label_key: what the labels are called at the source, for messages; images are called `images`.
        first_label: number of the first class.
        notes: what was understood of the source; logged, with what is found out about the labels.
        rows: of the table that the images are from.

    Raises:
        DataError: one line that names the source, the array, the first offending index, what was found
            there and what was expected.
    """
    images = np.asanyarray(images)
    check_images(images, source)
    parsed = parse_labels(labels, class_names, LabelsAt(source, label_key), len(images), first_label)
    check_class_names(parsed.class_names, source)
    if own_split is not None and len(own_split) != len(images):
        n_parts = len(own_split)
        raise DataError(f"{source}: data.split.column has {n_parts} entries; expected {len(images)}, one per image")
    notes = (*notes, *([parsed.note] if parsed.note else []))
    for note in notes:
        _LOG.warning("%s: %s", source, note)
    return ImageDataset(
        images,
        parsed.values,
        parsed.class_names,
        source,
        simulated,
        own_split,
        preprocessing or Preprocessing(),
        tuple(skipped),
        other_files,
        notes,
        rows,
    )


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


def check_class_names(names: Sequence[str], source: str) -> None:
    """Raises `DataError` unless there are at least two names, all different text.

    A class may be without images, for evaluation; `split_dataset` refuses that.
    """
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
