"""Labelled images from a folder with one subfolder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from galaxy_exp.config.sweep import DataConfig
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.sources.class_names import find_class_names
from galaxy_exp.data.sources.file_stack import FILE_SUFFIXES, is_readable_file, read_files
from galaxy_exp.errors import DataError

__all__ = ["load_image_folder"]


def load_image_folder(folder: Path, config: DataConfig) -> ImageDataset:
    """Loads every PNG, JPEG, TIFF and FITS file of `folder/<class>/`, preprocessed as `config` says.

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
    names = find_class_names(folder, config.class_names) or found
    if len(names) != len(found):
        raise DataError(f"{folder}: {len(names)} class names for {len(found)} subfolders; expected one for each")
    if set(names) == set(found):
        subfolders = [folder / name for name in names]
    files = [_list_images(subfolder) for subfolder in subfolders]
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files])
    stack = read_files([path for paths in files for path in paths], config, str(folder))
    return build_dataset(
        stack.images,
        labels[stack.kept],
        names,
        source=str(folder),
        preprocessing=stack.preprocessing,
        skipped=stack.skipped,
    )


def _list_images(subfolder: Path) -> list[Path]:
    files = sorted(path for path in subfolder.iterdir() if is_readable_file(path))
    if not files:
        raise DataError(f"{subfolder}: holds no images; expected files ending in {' '.join(FILE_SUFFIXES)}")
    return files
