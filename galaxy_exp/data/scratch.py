"""Room for image arrays that need not fit in memory."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IN_MEMORY_BYTES", "allocate_images"]

IN_MEMORY_BYTES = 256 * 2**20
"""Larger arrays lie in a temporary file."""


def allocate_images(shape: tuple[int, ...]) -> NDArray[Any]:
    """A writable uint8 array of that shape: in memory, or mapped from a nameless temporary file when it is large.

    Pages of the file leave memory when something else needs it; the file goes with the array. It lies where
    Python keeps temporary files ($TMPDIR).

    Raises:
        OSError: the disk is full.
    """
    if int(np.prod(shape)) <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="galaxy_exp.") as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
