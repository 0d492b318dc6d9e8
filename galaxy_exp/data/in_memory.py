"""In-memory data: written once as an HDF5 file, which becomes the source of the sweep.

A sweep is resumed in another process from its journal, so its images have to be in a file. The file has Galaxy10's
layout, so that every command reads it, and is not compressed, so that it can be memory-mapped.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import h5py

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.image_arrays import iter_chunks
from galaxy_exp.data.sources.array_file import DESCRIPTION, VOTES, describe_images
from galaxy_exp.data.split import PARTS
from galaxy_exp.errors import DataError
from galaxy_exp.folders import write_atomically
from galaxy_exp.questions import Votes

__all__ = ["store_data"]


def store_data(data: Any, config: DataConfig, folder: Path) -> DataConfig:
    """The data section of a sweep on this data; arrays are written into `folder`, unless it has them already.

    Args:
        data: (images, labels) or (images, labels, class names), as for `build_dataset`; (images, `Votes`); an
            `ImageDataset`; or a value of `data.source`, such as a path.
        config: the data section of the sweep; its source is replaced.
        folder: created if missing.

    Raises:
        DataError: arrays of the wrong shape, type or size, another object, or a full disk.
    """
    if isinstance(data, str | os.PathLike):
        return config.model_copy(update={"source": os.fspath(data)})
    dataset = data if isinstance(data, ImageDataset) else _build(data, config)
    path = folder.absolute() / f"{_fingerprint(dataset)[:16]}.h5"
    if not path.is_file():
        try:
            write_atomically(path, lambda temporary: _write(dataset, temporary))
        except OSError as error:
            raise DataError(f"{path}: the data cannot be written ({error.strerror or error})") from None
    return config.model_copy(update={"source": str(path)})


def _build(data: Any, config: DataConfig) -> ImageDataset:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise DataError(
            f"data: found {type(data).__name__}; expected (images, labels), (images, labels, class_names), (images, "
            "votes), an ImageDataset, or what data.source may be"
        )
    images, labels, *names = data
    if isinstance(labels, Votes):
        return build_dataset(images, None, source="data", votes=labels)
    class_names = config.class_names or (names[0] if names else None)
    return build_dataset(images, labels, class_names, source="data", first_label=config.first_label)


def _fingerprint(dataset: ImageDataset) -> str:
    split = b"" if dataset.own_split is None else dataset.own_split.tobytes()
    return hashlib.sha256(f"{dataset.digest} {dataset.simulated} ".encode() + split).hexdigest()


def _write(dataset: ImageDataset, path: Path) -> None:
    path.touch(mode=0o600)  # whoever gave images to a sweep did not publish them
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", dataset.images.shape, dtype="uint8")
        start = 0
        for chunk in iter_chunks(dataset.images):
            images[start : start + len(chunk)] = chunk
            start += len(chunk)
        file["ans"] = dataset.labels
        file["ans"].attrs["class_names"] = list(dataset.class_names)
        if dataset.votes is not None:
            file[VOTES] = dataset.votes.values
        if dataset.own_split is not None:
            file["split"] = [PARTS[part] for part in dataset.own_split.tolist()]
        file.attrs[DESCRIPTION] = describe_images(dataset)
