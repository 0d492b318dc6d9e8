"""Arrays of images that may be larger than memory: allocating, reading in pieces, checking."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import MIN_SIDE
from galaxy_exp.errors import DataError

__all__ = [
    "CHUNK_BYTES",
    "IN_MEMORY_BYTES",
    "allocate_images",
    "check_images",
    "images_per_chunk",
    "iter_chunks",
    "take_images",
]

CHUNK_BYTES = 16 * 2**20
"""Size of the pieces in which image arrays are read, so that a memory-mapped file never has to fit in memory."""

IN_MEMORY_BYTES = 256 * 2**20
"""Larger new arrays are stored in a temporary file."""


def allocate_images(shape: tuple[int, ...]) -> NDArray[Any]:
    """A writable uint8 array: in memory or, above `IN_MEMORY_BYTES`, mapped from a nameless temporary file ($TMPDIR).

    Pages of the file leave memory when something else needs it; the file is deleted with the array.

    Raises:
        OSError: the disk is full.
    """
    if int(np.prod(shape)) <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="galaxy_exp.") as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def images_per_chunk(images: NDArray[Any]) -> int:
    """Number of images, at least one, that take about `CHUNK_BYTES`."""
    return max(1, CHUNK_BYTES // max(1, images[:1].nbytes))


def iter_chunks(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yields consecutive slices along the first axis, each of about `CHUNK_BYTES` and at least one image."""
    step = images_per_chunk(images)
    for start in range(0, len(images), step):
        yield images[start : start + step]


def take_images(images: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """`images[indices]`, copied in pieces; the images themselves if that is all of them, in order."""
    if len(indices) == len(images):
        return images
    result = allocate_images((len(indices), *images.shape[1:]))
    start = 0
    for piece in iter_chunks(result):
        piece[:] = images[indices[start : start + len(piece)]]
        start += len(piece)
    return result


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
    """`float32 with NaN or infinity at index 3`, `float32 from 0 to 1`, or only the dtype."""
    if not np.issubdtype(images.dtype, np.number) or np.iscomplexobj(images):
        return str(images.dtype)
    bad = ~np.isfinite(images).all(axis=(1, 2, 3))
    if bad.any():
        return f"{images.dtype} with NaN or infinity at index {int(bad.argmax())}"
    return f"{images.dtype} from {images.min():g} to {images.max():g}"
