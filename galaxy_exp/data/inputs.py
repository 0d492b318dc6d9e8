"""Images to predict on: files, folders, and HDF5 or .npz files, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.array_file import ARRAY_SUFFIXES, is_array_file, open_arrays
from galaxy_exp.data.image_file import IMAGE_SUFFIXES, is_image_file, read_image
from galaxy_exp.errors import DataError

__all__ = ["NamedImage", "iter_images"]


@dataclass(frozen=True, slots=True, eq=False)
class NamedImage:
    """One image, or the reason why it could not be read."""

    name: str
    """The path of the file as given; "file.h5[12]" for image 12 of an array file."""
    image: NDArray[np.uint8] | None = None
    """uint8 (height, width, 3) of any size; None with `error`."""
    error: str | None = None
    """One line that begins with `name`."""


def iter_images(paths: Sequence[Path], batch_size: int) -> Iterator[list[NamedImage]]:
    """Yields the images of `paths`, in the order given, in lists of `batch_size` (the last may be shorter).

    A path is a PNG, JPEG or TIFF file (see `image_file` for 16-bit, grey and transparent ones), a folder
    (searched to any depth, sorted by path), or an .h5, .hdf5 or .npz file with `images` uint8
    (n, height, width, 3). HDF5 files are read in slices; an .npz file is read whole, as its format demands.
    An unreadable picture is an item with `error`, so that one bad file does not end a long run.

    Raises:
        DataError: at the call, not while iterating: a path does not exist, a folder holds no images, a
            file is neither a picture nor an array file, or an array file is damaged.
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    streams = [_open_path(Path(path), batch_size) for path in paths]
    return _batch(chain.from_iterable(streams), batch_size)


def _batch(items: Iterator[NamedImage], size: int) -> Iterator[list[NamedImage]]:
    while batch := list(islice(items, size)):
        yield batch


def _open_path(path: Path, batch_size: int) -> Iterator[NamedImage]:
    """Checks `path` now and returns what reads it later."""
    if path.is_dir():
        return map(_read_named, _list_folder(path))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if is_array_file(path):
        _check_array_file(path)
        return _iter_array_file(path, batch_size)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        expected = " ".join((*IMAGE_SUFFIXES, *ARRAY_SUFFIXES))
        raise DataError(f"{path}: ends in {path.suffix or 'nothing'!r}; expected {expected}, or a folder")
    return map(_read_named, [path])


def _list_folder(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if is_image_file(path))
    if not files:
        raise DataError(f"{folder}: holds no images; expected files ending in {' '.join(IMAGE_SUFFIXES)}")
    return files


def _read_named(path: Path) -> NamedImage:
    try:
        return NamedImage(str(path), read_image(path))
    except DataError as error:
        return NamedImage(str(path), error=str(error))


def _check_array_file(path: Path) -> None:
    with open_arrays(path) as arrays:
        images = arrays["images"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise DataError(
                f"{path}: images are {images.dtype} of shape {images.shape}; expected uint8 of shape "
                "(n, height, width, 3)"
            )


def _iter_array_file(path: Path, batch_size: int) -> Iterator[NamedImage]:
    with open_arrays(path) as arrays:
        images: Any = arrays["images"]
        for start in range(0, len(images), batch_size):
            for offset, image in enumerate(images[start : start + batch_size]):
                yield NamedImage(f"{path}[{start + offset}]", image)
