"""HDF5 and NumPy files in Galaxy10's layout: `images` and, for labelled data, `ans` (or `labels`)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, HDF5_SUFFIXES
from galaxy_exp.data.reasons import is_access_error, short_reason
from galaxy_exp.errors import DataError

__all__ = ["LABEL_KEYS", "is_array_file", "open_arrays", "read_labels"]

LABEL_KEYS = ("ans", "labels")
"""Where labels are looked for, in this order; Galaxy10 calls them `ans`."""

_READ_ERRORS = (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What h5py, NumPy and zipfile raise for files that are damaged or of another kind."""

Arrays = Any
"""An open h5py.File or numpy NpzFile: `key in arrays`, `arrays[key]`, `arrays.keys()`."""


def is_array_file(path: Path) -> bool:
    """Whether the name ends in one of `ARRAY_SUFFIXES`."""
    return path.suffix.lower() in ARRAY_SUFFIXES


@contextmanager
def open_arrays(path: Path) -> Iterator[Arrays]:
    """Opens the file for reading and turns whatever h5py or NumPy raise, then or later, into one line.

    Raises:
        DataError: the file is missing, is not what its ending says, is truncated, or has no `images`.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an HDF5 or .npz file with 'images' and 'ans'")
    kind = "an HDF5" if path.suffix.lower() in HDF5_SUFFIXES else "a NumPy .npz"
    try:
        with h5py.File(path, "r") if kind == "an HDF5" else np.load(path, allow_pickle=False) as arrays:
            _check_keys(arrays, path)
            yield arrays
    except _READ_ERRORS as error:
        hint = "" if is_access_error(error) else "; is it complete?"
        raise DataError(f"{path}: cannot be read as {kind} file ({short_reason(error)}){hint}") from None


def _check_keys(arrays: Arrays, path: Path) -> None:
    if "images" not in arrays:
        raise DataError(f"{path}: has the keys {sorted(arrays.keys())}; expected 'images'")
    for key in ("images", *LABEL_KEYS):
        if isinstance(arrays, h5py.File) and isinstance(arrays.get(key), h5py.Group):
            raise DataError(f"{path}: {key!r} is a group; expected a data set")


def read_labels(arrays: Arrays, path: Path) -> tuple[NDArray[Any], str]:
    """The labels, as they are, under the first of `LABEL_KEYS`, and which it is; `DataError` when neither is there."""
    for key in LABEL_KEYS:
        if key in arrays:
            return _read_array(arrays, key, path), key
    raise DataError(f"{path}: has the keys {sorted(arrays.keys())}; expected labels under 'ans' or 'labels'")


def _read_array(arrays: Arrays, key: str, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(arrays[key])
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: {key!r} holds Python objects, which are not read; expected numbers, or text (labels.astype(str))"
        ) from None
