"""Opens HDF5 and .npz files, and finds what is stored under a key, which is checked before anything is read.

HDF5 gives black images in place of an error if the file of a virtual data set is missing or holds too few, or if an
external raw file is too short. An error of another kind says little of its cause.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, HDF5_SUFFIXES
from galaxy_exp.errors import DataError, is_access_error, short_reason

__all__ = ["Arrays", "find_array", "is_array_file", "open_arrays", "read_array"]

Arrays = Any
"""An open h5py.File or numpy NpzFile: `key in arrays`, `arrays.keys()`, and `find_array`."""

_READ_ERRORS = (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""Exceptions of h5py, NumPy and zipfile for files that are damaged or of another format."""


def is_array_file(path: Path) -> bool:
    """Whether the name ends in one of `ARRAY_SUFFIXES`."""
    return path.suffix.lower() in ARRAY_SUFFIXES


@contextmanager
def open_arrays(path: Path) -> Iterator[Arrays]:
    """Opens the file for reading; exceptions of h5py or NumPy, also while reading, become one line.

    Raises:
        DataError: the file is missing, truncated, of another format than its ending, or has no `images`; or those of
            an HDF5 file cannot be read, as `find_array` describes.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an HDF5 or .npz file with 'images' and 'ans'")
    kind = "an HDF5" if path.suffix.lower() in HDF5_SUFFIXES else "a NumPy .npz"
    try:
        with h5py.File(path, "r") if kind == "an HDF5" else _open_npz(path) as arrays:
            if "images" not in arrays:
                raise DataError(f"{path}: has the keys {sorted(arrays.keys())}; expected 'images'")
            if isinstance(arrays, h5py.File):
                find_array(arrays, "images", path)
            yield arrays
    except _READ_ERRORS as error:
        hint = "" if is_access_error(error) else "; is it complete?"
        raise DataError(f"{path}: cannot be read as {kind} file ({short_reason(error)}){hint}") from None


def _open_npz(path: Path) -> Any:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        raise DataError(
            f"{path}: is a .npy file of one array; expected a NumPy .npz file (numpy.savez) with 'images' and 'ans'"
        )
    return found


def find_array(arrays: Arrays, key: str, path: Path) -> Any:
    """The h5py.Dataset or the array under `key`; None without the key.

    Raises:
        DataError: the key is a group, an empty data set or a link that leads nowhere; holds Python objects; or needs a
            file or a filter that is missing.
    """
    if key not in arrays:
        return None
    if isinstance(arrays, h5py.File):
        return _find_dataset(arrays, key, path)
    try:
        return arrays[key]
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        expected = "expected one array of numbers, or of text (.astype(str))"
        raise DataError(f"{path}: {key!r} holds Python objects, which are not read; {expected}") from None


def read_array(arrays: Arrays, key: str, path: Path) -> NDArray[Any]:
    """As `find_array`, read into memory; the key exists."""
    return np.asarray(find_array(arrays, key, path))


def _find_dataset(arrays: h5py.File, key: str, path: Path) -> h5py.Dataset:
    try:
        found = arrays[key]
    except (KeyError, OSError) as error:
        link = arrays.get(key, getlink=True)
        if isinstance(link, h5py.HardLink):
            raise DataError(f"{path}: {key!r} cannot be read ({short_reason(error)}); is the file complete?") from None
        target = f"{getattr(link, 'filename', '')}{link.path}"
        raise DataError(
            f"{path}: {key!r} is a link to {target}, which cannot be read ({short_reason(error)}); expected a data set"
        ) from None
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{path}: {key!r} is a {type(found).__name__.lower()}; expected a data set")
    if found.shape is None:
        raise DataError(f"{path}: {key!r} is a data set without shape and values; expected an array")
    where = f"{path}: {key!r}"
    _check_filters(found, where)
    _check_virtual_sources(found, where)
    _check_raw_files(found, where)
    return found


def _check_filters(found: h5py.Dataset, where: str) -> None:
    properties = found.id.get_create_plist()
    for place in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(place)
        if not h5py.h5z.filter_avail(code) and not _can_be_read(found):
            named = f" ({name.decode(errors='replace')})" if name else ""
            raise DataError(
                f"{where} is compressed with filter {code}{named}, which is not installed; set HDF5_PLUGIN_PATH to the "
                "folder of the filter, or write it with gzip"
            )


def _can_be_read(found: h5py.Dataset) -> bool:
    """Whether its first values were written without the filter, which may be optional."""
    try:
        found[:1]
    except OSError:
        return False
    return True


def _check_virtual_sources(found: h5py.Dataset, where: str) -> None:
    """Refuses a virtual data set of missing files, where HDF5 looks for them, or of too few values."""
    if not found.is_virtual or "HDF5_VDS_PREFIX" in os.environ:
        return
    file = Path(found.file.filename)
    folders = (file.parent, Path(), file.resolve().parent)
    for mapping in found.virtual_sources():
        name = mapping.file_name
        if "%" in name + mapping.dset_name:  # %b: number
            continue
        wanted = [Path(name), *([Path(Path(name).name)] if Path(name).is_absolute() else [])]
        places = [file] if name == "." else [folder / each for each in wanted for folder in folders]
        source = next((place for place in places if place.exists()), None)
        if source is None:
            raise DataError(
                f"{where} is a virtual data set, and its file {name} is not there; expected it in {file.parent}"
            )
        _check_virtual_source(source, mapping, where)


def _check_virtual_source(file: Path, mapping: h5py.VDSmap, where: str) -> None:
    key, selected = mapping.dset_name, mapping.src_space
    what = f"{where} is a virtual data set of {key!r} in {file}, which"
    try:
        with h5py.File(file, "r") as arrays:
            shape = _find_dataset(arrays, key, file).shape if key in arrays else None
    except OSError as error:
        raise DataError(f"{what} cannot be read ({short_reason(error)}); expected an HDF5 file") from None
    if shape is None:
        raise DataError(f"{what} is not there; expected a data set of that name in that file")
    if selected.get_select_type() == h5py.h5s.SEL_ALL:  # of which HDF5 keeps no shape
        needed = mapping.vspace.get_select_npoints()
        if math.prod(shape) < needed:
            raise DataError(f"{what} has shape {shape}; expected {needed:,} values")
    elif not (selected.is_regular_hyperslab() and h5py.h5s.UNLIMITED in chain(*selected.get_regular_hyperslab())):
        ends = tuple(last + 1 for last in selected.get_select_bounds()[1])
        if len(ends) != len(shape) or any(has < end for has, end in zip(shape, ends, strict=True)):
            raise DataError(f"{what} has shape {shape}; expected at least {ends}")


def _check_raw_files(found: h5py.Dataset, where: str) -> None:
    if "HDF5_EXTFILE_PREFIX" in os.environ:
        return
    left = found.nbytes
    for name, offset, size in found.external or ():
        used, file = min(size, left), Path(name)
        left -= used
        has = file.stat().st_size if file.is_file() else 0
        if used and has < offset + used:
            raise DataError(
                f"{where} is in the external file {name}, which has {has:,} bytes; expected {offset + used:,}"
            )
