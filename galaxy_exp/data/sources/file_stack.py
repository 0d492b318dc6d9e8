"""Reads many pictures or FITS files of one size into one array."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import MIN_SIDE, DataConfig
from galaxy_exp.data.fits_file import has_fits_name, read_fits
from galaxy_exp.data.image_arrays import allocate_images
from galaxy_exp.data.image_file import read_image
from galaxy_exp.data.preprocessing import Preprocessing
from galaxy_exp.errors import DataError

__all__ = ["FileStack", "read_files"]

_MAX_LISTED = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class FileStack:
    """The images that could be read."""

    images: NDArray[Any]
    """uint8 (n, height, width, 3), preprocessed."""
    kept: NDArray[np.int64]
    """Index of the file of each image, int64 (n,)."""
    skipped: tuple[str, ...]
    """One line for each other file, beginning with its name."""
    preprocessing: Preprocessing
    """Steps that were applied, with the stretch if any file was FITS."""


def read_files(files: Sequence[Path], config: DataConfig, source: str, classes: Sequence[str]) -> FileStack:
    """Reads and preprocesses the files.

    With `on_error: skip`, unreadable files are skipped and logged in one warning; a file of another size is always an
    error.

    Args:
        files: pictures or FITS files.
        config: its preprocessing, `on_error` and `fits` are used.
        source: name of the source, for messages.
        classes: class of each file.

    Raises:
        DataError: names a file that is unreadable, smaller than `data.crop`, or of another size than the first; or a
            class without readable files.
    """
    preprocessing = Preprocessing.from_config(config)
    kept: list[int] = []
    failed: dict[int, str] = {}
    images: NDArray[Any] | None = None
    for index, path in enumerate(files):
        try:
            raw = _read_one(path, config)
        except DataError as error:
            if config.on_error == "fail":
                raise
            failed[index] = " ".join(str(error).split())
            continue
        image = preprocessing.apply(raw, str(path))
        images = allocate_images((len(files), *image.shape)) if images is None else images
        _check_shape(path, image, files[kept[0]] if kept else path, images.shape[1:])
        images[len(kept)] = image
        kept.append(index)
    skipped = tuple(failed.values())
    if images is None:
        raise DataError(f"{source}: none of its {len(files)} image files can be read; the first: {skipped[0]}")
    _check_classes_kept(classes, kept, failed, source)
    _log_skipped(skipped, len(files), source)
    if any(has_fits_name(files[index]) for index in kept):
        preprocessing = replace(preprocessing, fits=config.fits)
    return FileStack(images[: len(kept)], np.array(kept, dtype=np.int64), skipped, preprocessing)


def _read_one(path: Path, config: DataConfig) -> NDArray[np.uint8]:
    return read_fits(path, config.fits) if has_fits_name(path) else read_image(path)


def _check_shape(path: Path, image: NDArray[np.uint8], first: Path, expected: tuple[int, ...]) -> None:
    if min(image.shape[:2]) < MIN_SIDE:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise DataError(f"{path}: is {size} pixels; expected sides of at least {MIN_SIDE} pixels")
    if image.shape != expected:
        raise DataError(
            f"{path}: is {image.shape[1]}x{image.shape[0]} pixels; expected {expected[1]}x{expected[0]}, as {first} "
            "(data.resize brings images to one size)"
        )


def _check_classes_kept(classes: Sequence[str], kept: Sequence[int], failed: Mapping[int, str], source: str) -> None:
    left = {classes[index] for index in kept}
    for index, reason in failed.items():
        if (lost := classes[index]) not in left:
            files = f"none of its {classes.count(lost)} files can be read"
            raise DataError(f"{source}: no image of class {lost!r} is left, as {files}; the first: {reason}")


def _log_skipped(skipped: Sequence[str], n_files: int, source: str) -> None:
    if skipped:
        more = f"; and {len(skipped) - _MAX_LISTED} more" if len(skipped) > _MAX_LISTED else ""
        listed = "; ".join(skipped[:_MAX_LISTED])
        _LOG.warning("%s: skipped %d of %d image files: %s%s", source, len(skipped), n_files, listed, more)
