"""A labelled set of colour images, in memory or memory-mapped, validated when it is built."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.class_labels import Labels, LabelsAt, parse_class_names, parse_labels
from galaxy_exp.data.image_arrays import Preprocessing, as_image_array, check_images, iter_slices, take_images
from galaxy_exp.data.votes import ReadVotes, check_votes, digest_votes
from galaxy_exp.errors import DataError
from galaxy_exp.questions import Votes

__all__ = ["ImageDataset", "TableRows", "build_dataset", "preprocess_dataset"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TableRows:
    """All rows of a table, also skipped ones, so that results can be joined with the table."""

    id_column: str
    ids: tuple[str, ...]
    """Text of the id column, one per row."""
    files: tuple[str, ...]
    """Image files, one per row."""
    kept: NDArray[np.int64]
    """Row of each image, int64 (n,); `ImageDataset.skipped` has one line for each other row, in order."""


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images with one label each, built and validated by `build_dataset`; do not write into the arrays."""

    images: NDArray[np.uint8]
    """uint8 (n, height, width, 3), channels red, green, blue; may be a read-only `numpy.memmap`."""
    labels: NDArray[np.int64]
    """int64 (n,), each from 0 to n_classes - 1."""
    class_names: tuple[str, ...]
    """One name per label, in label order."""
    source: str
    """Name of the source: "simulated", "galaxy10-sdss", or the path as configured."""
    simulated: bool = False
    """Whether these are simulated galaxies, which every report has to state."""
    own_split: NDArray[np.int8] | None = None
    """A user-defined split, int8 (n,): the position in `PARTS` for each image; None without one."""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    """Preprocessing that was applied to the images."""
    skipped: tuple[str, ...] = ()
    """Unreadable files that were skipped (`data.on_error: skip`), one line each."""
    other_files: str = ""
    """Number of other files in the folder by ending: "3 .txt, 1 .pdf"."""
    notes: tuple[str, ...] = ()
    """How the source was understood, if that is not obvious, one line each."""
    rows: TableRows | None = None
    """The rows of the table; None for other sources."""
    names: tuple[str, ...] = ()
    """File or place of each image at the source; empty for tables, and where `source[index]` is the place."""
    votes: Votes | None = None
    """Votes of volunteers, if the data has them: labels are then the most frequent answers to the first question."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) in pixels."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    def name_image(self, index: int) -> str:
        """The image in a message: its row of the table and its file, its name, or its index."""
        if self.rows is not None:
            row = int(self.rows.kept[index])
            return f"row {row + 1}, {self.rows.files[row]}"
        return self.names[index] if self.names else f"image {index}"

    @property
    def n_classes(self) -> int:
        """Number of classes, including those without images."""
        return len(self.class_names)

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each class, in label order."""
        return self.count_classes(np.arange(len(self)))

    def count_classes(self, indices: NDArray[np.int64]) -> dict[str, int]:
        """Number of images of each class among those at `indices`, in label order."""
        per_label = np.bincount(self.labels[indices], minlength=self.n_classes)
        return dict(zip(self.class_names, per_label.tolist(), strict=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) of shape, dtype, image bytes, labels, class names, and any preprocessing and votes.

        Data sets of equal digest give equal trials, and need the same preprocessing before prediction; the source does
        not matter.
        """
        sha256 = hashlib.sha256(f"{self.images.shape} {self.images.dtype.str}".encode())
        if self.preprocessing != Preprocessing():
            sha256.update(repr(sorted(self.preprocessing.steps().items())).encode())
        for piece in iter_slices(self.images):
            sha256.update(self.images[piece].tobytes())
        sha256.update(self.labels.astype("<i8").tobytes())
        sha256.update("\n".join(self.class_names).encode())
        if self.votes is not None:
            sha256.update(digest_votes(self.votes))
        return sha256.hexdigest()


def build_dataset(
    images: NDArray[Any],
    labels: NDArray[Any] | None,
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
    names: Sequence[str] = (),
    votes: Votes | ReadVotes | None = None,
) -> ImageDataset:
    """Validates the arrays and returns them as an `ImageDataset`, whose attributes the other arguments are.

    Args:
        images: uint8 (n, height, width, 3).
        labels: (n,), (n, 1) or one-hot, in any form that `galaxy_exp.data.class_labels.parse_labels` reads; ignored
            if there are votes.
        class_names: one name per class in label order; left out: those of the labels, or "class 0", "class 1", ...
        source: file or name of the source; error messages begin with it.
        own_split: (n,), as returned by `parse_parts`.
        label_key: name of the labels at the source, for messages.
        first_label: number of the first class.
        notes: how the source was understood; logged, with a note on the labels if any.
        votes: one row per image; the labels and class names follow from them. `ReadVotes` choose among the images, and
            have `skipped` and `notes` of their own.

    Raises:
        DataError: one line that names the source, the array, the first wrong index, what was found and what was
            expected.
    """
    images = as_image_array(images, source)
    check_images(images, source)
    if isinstance(votes, ReadVotes):
        images, own_split = take_images(images, votes.kept), None if own_split is None else own_split[votes.kept]
        skipped, notes = tuple(votes.dropped.values()), [votes.note] if votes.note else []
        names = [f"{source}[{index}]" for index in votes.kept.tolist()] if skipped else ()
        votes = votes.votes
    if votes is not None:
        check_votes(votes, len(images), source)
        parsed = Labels(votes.questions.winners(votes.values), votes.questions.class_names)
    else:
        if class_names is not None:
            class_names = parse_class_names(class_names, f"{source}: class_names")
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
        tuple(names),
        votes,
    )


def preprocess_dataset(dataset: ImageDataset, preprocessing: Preprocessing) -> ImageDataset:
    """The data set with every image preprocessed, unless its source did that while reading.

    The stretch of FITS files is always that of the source.

    Raises:
        DataError: the images are smaller than the crop, or were preprocessed in another way before.
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
    return replace(dataset, images=images, preprocessing=wanted.with_raw_side(min(dataset.image_shape[:2])))


def check_class_names(names: Sequence[str], source: str) -> None:
    """Raises `DataError` unless there are at least two different, non-empty names.

    Classes without images are allowed for evaluation; `split_dataset` refuses them.
    """
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataError(f"{source}: class names {list(names)}; expected different names, none empty")
    if unwritable := next((name for name in names if _UNWRITABLE.search(name)), None):
        raise DataError(f"{source}: class name {unwritable!r}; expected text that can be written as UTF-8, without NUL")
    if len(names) < 2:
        raise DataError(f"{source}: only one class, {names[0]!r}; expected at least 2")


_UNWRITABLE = re.compile(r"[\0\ud800-\udfff]")
"""NUL, and surrogates as in the name of a folder that is not valid UTF-8."""
