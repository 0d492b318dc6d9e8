"""Labelled images from a folder with one subfolder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.image_file import IMAGE_SUFFIXES, is_image_file, read_image
from galaxy_exp.data.sources.class_names import find_class_names
from galaxy_exp.errors import DataError

__all__ = ["load_image_folder"]


def load_image_folder(folder: Path, class_names: Sequence[str] | None = None) -> ImageDataset:
    """Loads every PNG, JPEG and TIFF file of `folder/<class>/`, all of one size.

    Label k is the k-th subfolder in alphabetical order, so names that are given instead of the
    subfolders' (see `class_names`) must follow that order; `classes.txt` may also list the subfolders
    themselves in another order, which then is the label order. Hidden folders and files are left out.

    Raises:
        DataError: no subfolders, an empty one, an unreadable picture, or one of another size; names the file.
    """
    subfolders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not subfolders:
        raise DataError(f"{folder}: has no subfolders; expected one per class, holding its images")
    found = tuple(subfolder.name for subfolder in subfolders)
    names = find_class_names(folder, class_names) or found
    if len(names) != len(found):
        raise DataError(f"{folder}: {len(names)} class names for {len(found)} subfolders; expected one for each")
    if set(names) == set(found):
        subfolders = [folder / name for name in names]
    files = [_list_images(subfolder) for subfolder in subfolders]
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files])
    return build_dataset(_read_stack([path for paths in files for path in paths]), labels, names, source=str(folder))


def _list_images(subfolder: Path) -> list[Path]:
    files = sorted(path for path in subfolder.iterdir() if is_image_file(path))
    if not files:
        raise DataError(f"{subfolder}: holds no images; expected files ending in {' '.join(IMAGE_SUFFIXES)}")
    return files


def _read_stack(files: list[Path]) -> NDArray[np.uint8]:
    """uint8 (n, height, width, 3); the first file sets the size."""
    first = read_image(files[0])
    images = np.empty((len(files), *first.shape), np.uint8)
    for index, path in enumerate(files):
        image = read_image(path)
        if image.shape != first.shape:
            raise DataError(f"{path}: is {_size(image)} pixels; expected {_size(first)}, as {files[0]}")
        images[index] = image
    return images


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
