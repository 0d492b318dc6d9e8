"""Images for prediction from pictures, FITS files, folders, tables, HDF5 and .npz files, in batches."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import ARRAY_SUFFIXES, TABLE_SUFFIXES, DataConfig, FitsConfig
from galaxy_exp.data.image_file import has_fits_name, has_image_name, read_file, read_image
from galaxy_exp.data.listing import EXPECTED_ENDINGS, list_images, no_images, refuse_address, report_others
from galaxy_exp.data.sources.array_keys import find_array, is_array_file, open_arrays
from galaxy_exp.data.sources.image_table import ImageTable, open_image_table
from galaxy_exp.data.sources.user_source import is_dotted_path
from galaxy_exp.data.table_file import is_table, open_table
from galaxy_exp.errors import DataError, access_errors, short_reason

__all__ = ["InputFile", "NamedImage", "digest_files", "find_files", "first_fits_file", "iter_images"]

_LOG = logging.getLogger(__name__)
_NO_FILE = "no such file"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read."""

    path: Path
    n_images: int = 1
    error: str | None = None
    """One line that begins with `path`, if the file cannot be read; it then counts as one image."""
    id: tuple[str, str] | None = None
    """The id column of the table that lists the file, and the id."""


@dataclass(frozen=True, slots=True, eq=False)
class NamedImage:
    """One image, or why it could not be read."""

    name: str
    """The path of the file as it was passed; "file.h5[12]" for image 12 of an array file."""
    image: NDArray[np.uint8] | None = None
    """uint8 (height, width, 3) of any size; None with `error`."""
    error: str | None = None
    """One line that begins with `name`."""
    id: tuple[str, str] | None = None
    """As `InputFile.id`."""


def find_files(paths: Sequence[Path], keep_unusable: bool = False, config: DataConfig | None = None) -> list[InputFile]:
    """The files to read, in the order of `paths`; a folder is replaced by its files, a table by one file a row.

    A path is a picture (`image_file` has the rules for 16 bit, greyscale and transparency), a FITS file, a folder of
    these (searched to any depth, sorted by path; other files are counted in a warning), an .h5, .hdf5 or .npz file with
    `images` uint8 (n, height, width, 3), or a table of files or ids.

    Args:
        paths: files and folders.
        keep_unusable: whether an unusable path is a file with an error instead of an exception, as is best for a long
            list from a program; tables in such a list are not accepted. Rows of a table are always kept in this way.
        config: how tables are read: their columns, `image_folder` and `file_suffix`.

    Raises:
        DataError: a path does not exist or cannot be read, a folder has no images, a file is of another type, an array
            file or table is damaged, or none of the files of a table exists.
    """
    tables = config or DataConfig()
    with access_errors("input"):
        found = (_find_or_keep(Path(path)) if keep_unusable else _find(Path(path), tables) for path in paths)
        return list(chain.from_iterable(found))


def first_fits_file(files: Sequence[InputFile]) -> Path | None:
    """The first FITS file, if any; FITS files need a stretch."""
    return next((file.path for file in files if file.error is None and has_fits_name(file.path)), None)


def digest_files(files: Sequence[InputFile]) -> str:
    """SHA-256 of the paths, sizes and modification times of the files, in order; their content is not read."""
    sha256 = hashlib.sha256()
    for file in files:
        try:
            found = file.path.stat()
            facts = f"{found.st_size} {found.st_mtime_ns}"
        except OSError:  # reading it later gives an image with an error
            facts = "missing"
        row = "" if file.id is None else f" {file.id}"
        sha256.update(os.fsencode(file.path) + f"\0{facts} {file.n_images}{row}\n".encode())
    return sha256.hexdigest()


def iter_images(
    files: Sequence[InputFile], batch_size: int, fits: FitsConfig | None = None, skip: int = 0
) -> Iterator[list[NamedImage]]:
    """Yields the images of `files` in their order, in lists of `batch_size` (the last may be shorter).

    HDF5 files are read in slices; an .npz file can only be read as a whole. An unreadable picture or image of an HDF5
    file has an `error`, so that one bad file does not end a long run.

    Args:
        files: result of `find_files`.
        batch_size: number of images in memory at a time.
        fits: the stretch of FITS files; has to be that of the model's training.
        skip: number of images to skip at the beginning; files of skipped images alone are not opened.

    Raises:
        DataError: at the call, not while iterating: there is a FITS file and no stretch.
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    unstated = first_fits_file(files) if fits is None else None
    if unstated is not None:
        raise DataError(f"{unstated}: is a FITS file; expected a stretch for it, as data.fits of a sweep file states")
    images = _read_from(files, batch_size, fits, skip)
    return iter(lambda: list(islice(images, batch_size)), [])


def _read_from(files: Sequence[InputFile], batch_size: int, fits: FitsConfig | None, skip: int) -> Iterator[NamedImage]:
    for file in files:
        if skip < file.n_images:
            yield from _read(file, batch_size, fits, skip)
        skip = max(skip - file.n_images, 0)


def _find_or_keep(path: Path) -> list[InputFile]:
    try:
        with access_errors(str(path)):
            return _find(path)
    except DataError as error:
        return [InputFile(path, error=str(error))]


def _find(path: Path, tables: DataConfig | None = None) -> list[InputFile]:
    if path.is_dir():
        listing = list_images(path, deep=True)
        if not listing.images:
            raise no_images(path, listing)
        report_others(path, listing.others)
        return [InputFile(file) for file in listing.images]
    if not path.exists():
        refuse_address(str(path))
        own = "; evaluate takes a class of your own, and from Python its images: load_model().predict(images)"
        raise DataError(f"{path}: no such file or folder{own if is_dotted_path(str(path)) else ''}")
    if is_array_file(path):
        return [InputFile(path, _count_images(path))]
    if tables is not None and is_table(path):
        return _list_table(path, tables)
    if not has_image_name(path):
        endings = ", ".join((EXPECTED_ENDINGS, *ARRAY_SUFFIXES, *(TABLE_SUFFIXES if tables else ())))
        listed = "; a table is named on the command line, not in a list" if is_table(path) else ""
        raise DataError(f"{path}: ends in {path.suffix or 'nothing'!r}; expected {endings}, or a folder{listed}")
    return [InputFile(path)]


def _list_table(path: Path, config: DataConfig) -> list[InputFile]:
    images = open_image_table(open_table(path), config)
    for note in images.notes:
        _LOG.warning("%s: %s", path, note)
    files = [_find_row(images, row) for row in range(len(images.ids))]
    if all(file.error is not None for file in files):
        other = next((file.error for file in files if not str(file.error).endswith(_NO_FILE)), None)
        raise DataError(other or images.describe_missing([file.path for file in files]))
    return files


def _find_row(images: ImageTable, row: int) -> InputFile:
    place, ids = Path(f"{images.table.path}: row {row + 1}"), (images.id_column, images.ids[row])
    try:
        place = images.locate(row)
        with access_errors(str(place)):
            _check_picture(place)
        return InputFile(place, id=ids)
    except DataError as error:
        return InputFile(place, error=str(error), id=ids)


def _check_picture(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder; expected an image file' if path.is_dir() else _NO_FILE}")
    if not has_image_name(path):
        raise DataError(f"{path}: ends in {path.suffix or 'nothing'!r}; expected {EXPECTED_ENDINGS}")


def _read(file: InputFile, batch_size: int, fits: FitsConfig | None, skip: int) -> Iterator[NamedImage]:
    if file.error is not None:
        return iter([NamedImage(str(file.path), error=file.error, id=file.id)])
    if is_array_file(file.path):
        return _iter_array_file(file.path, batch_size, skip)
    try:
        image = read_image(file.path) if fits is None else read_file(file.path, fits)
        return iter([NamedImage(str(file.path), image, id=file.id)])
    except DataError as error:
        return iter([NamedImage(str(file.path), error=str(error), id=file.id)])


def _count_images(path: Path) -> int:
    with open_arrays(path) as arrays:
        images = find_array(arrays, "images", path)
        dtype, shape = images.dtype.base, (*images.shape, *images.dtype.shape)
        if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3:
            raise DataError(
                f"{path}: 'images' is {dtype} of shape {shape}; expected uint8 of shape (n, height, width, 3)"
            )
        return len(images)


def _iter_array_file(path: Path, batch_size: int, skip: int) -> Iterator[NamedImage]:
    with open_arrays(path) as arrays:
        images = find_array(arrays, "images", path)
        for start in range(skip, len(images), batch_size):
            yield from _read_slice(path, images, start, min(start + batch_size, len(images)))


def _read_slice(path: Path, images: Any, start: int, stop: int) -> Iterator[NamedImage]:
    try:
        found = images[start:stop]
    except OSError as error:
        if stop == start + 1:
            name = f"{path}[{start}]"
            yield NamedImage(name, error=f"{name}: cannot be read ({short_reason(error)})")
        else:  # a damaged piece of the file; the other images are read one by one
            for index in range(start, stop):
                yield from _read_slice(path, images, index, index + 1)
        return
    for index, image in enumerate(found, start):
        yield NamedImage(f"{path}[{index}]", image)
