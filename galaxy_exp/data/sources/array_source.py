"""Labelled images from an HDF5 or .npz file in Galaxy10's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.array_file import open_arrays, read_labels
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.sources.class_names import find_class_names

__all__ = ["load_array_file"]


def load_array_file(path: Path, class_names: Sequence[str] | None = None, *, source: str | None = None) -> ImageDataset:
    """Loads `images` uint8 (n, height, width, 3) and `ans` (or `labels`) (n,).

    Images that lie in the HDF5 file uncompressed and in one piece are memory-mapped, not read, so that a
    set larger than memory can be used; others are read whole.

    Raises:
        DataError: one line naming the file, the key and what is wrong.
    """
    with open_arrays(path) as arrays:
        labels = read_labels(arrays, path)
        names = find_class_names(path, class_names, arrays)
        images = _map_images(path, arrays) if isinstance(arrays, h5py.File) else arrays["images"]
    return build_dataset(images, labels, names, source=source or str(path))


def _map_images(path: Path, arrays: h5py.File) -> NDArray[Any]:
    images = arrays["images"]
    offset = images.id.get_offset() if images.chunks is None and images.external is None else None
    if offset is None or images.dtype != np.uint8 or arrays.userblock_size:
        return np.asarray(images)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=images.shape)
