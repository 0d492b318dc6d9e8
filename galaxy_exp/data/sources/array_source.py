"""Labelled images from an HDF5 or .npz file in Galaxy10's layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.data.array_file import open_arrays, read_labels
from galaxy_exp.data.dataset import ImageDataset, build_dataset, iter_chunks
from galaxy_exp.data.parts import parse_parts
from galaxy_exp.data.preprocessing import Preprocessing
from galaxy_exp.data.scratch import allocate_images
from galaxy_exp.data.sources.class_names import find_class_names
from galaxy_exp.errors import DataError

__all__ = ["DESCRIPTION", "describe_images", "load_array_file"]

DESCRIPTION = "galaxy_exp"
"""An attribute of HDF5 files that galaxy_exp wrote: JSON, whether they are simulated and how they were preprocessed."""


def load_array_file(
    path: Path, config: DataConfig, *, class_names: Sequence[str] | None = None, source: str | None = None
) -> ImageDataset:
    """Loads `images` uint8 (n, height, width, 3), `ans` (or `labels`), and the user's own split, if any.

    Images that lie in the HDF5 file uncompressed and in one piece are memory-mapped, not read; others are read in
    pieces, into a temporary file when they are many. So a set may be larger than memory.

    Args:
        path: an .h5, .hdf5 or .npz file.
        config: of which `class_names`, `first_label` and `split.column` are used.
        class_names: known for this file; `config.class_names` goes before.
        source: what to call it in messages, if not by its path.

    Raises:
        DataError: one line naming the file, the key and what is wrong.
    """
    name = source or str(path)
    with open_arrays(path) as arrays:
        labels, label_key = read_labels(arrays, path)
        names = find_class_names(path, config.class_names or class_names, arrays)
        parts = _read_parts(arrays, config.split, name)
        images = _map_images(path, arrays) if isinstance(arrays, h5py.File) else arrays["images"]
        is_ours = DESCRIPTION in getattr(arrays, "attrs", {})  # then its labels count from 0
        description = json.loads(getattr(arrays, "attrs", {}).get(DESCRIPTION, "{}"))
    return build_dataset(
        images,
        labels,
        names,
        source=name,
        simulated=bool(description.get("simulated", False)),
        own_split=parts,
        preprocessing=Preprocessing.from_dict(description.get("preprocessing", {})),
        label_key=label_key,
        first_label=0 if is_ours else config.first_label,
    )


def describe_images(dataset: ImageDataset) -> str:
    """The value of `DESCRIPTION`."""
    return json.dumps({"simulated": dataset.simulated, "preprocessing": dataset.preprocessing.to_dict()})


def _read_parts(arrays: Any, config: SplitConfig, name: str) -> NDArray[np.int8] | None:
    if config.column is None:
        return None
    if config.column in arrays:
        return parse_parts(np.asarray(arrays[config.column]), name, config.column)
    if config.column != SplitConfig().column:
        raise DataError(f"{name}: has the keys {sorted(arrays.keys())}; expected {config.column!r} (data.split.column)")
    return None


def _map_images(path: Path, arrays: h5py.File) -> NDArray[Any]:
    images = arrays["images"]
    offset = images.id.get_offset() if images.chunks is None and images.external is None else None
    if offset is None or images.dtype != np.uint8 or arrays.userblock_size:
        return _read_images(images)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=images.shape)


def _read_images(images: h5py.Dataset) -> NDArray[Any]:
    if images.dtype != np.uint8 or images.ndim != 4:
        return np.asarray(images)  # to be refused, by what is in it
    result = allocate_images(images.shape)
    start = 0
    for piece in iter_chunks(result):
        images.read_direct(piece, np.s_[start : start + len(piece)])
        start += len(piece)
    return result
