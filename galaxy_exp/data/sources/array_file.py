"""HDF5 and .npz files in Galaxy10's layout: `images` and, for labelled data, `ans` (or `labels`).

In-memory data is written once as such an HDF5 file, which becomes the source of the sweep: a sweep is resumed in
another process from its journal, so its images have to be in a file. It is not compressed, so that it can be memory-
mapped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.config.votes_section import VotesConfig
from galaxy_exp.data.class_labels import find_class_names, parse_class_names
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.image_arrays import Preprocessing, allocate_images, iter_slices
from galaxy_exp.data.sources.array_keys import Arrays, find_array, open_arrays, read_array
from galaxy_exp.data.sources.vote_columns import read_vote_arrays
from galaxy_exp.data.split import PARTS, parse_parts
from galaxy_exp.data.votes import ReadVotes, build_votes, describe_votes
from galaxy_exp.errors import DataError
from galaxy_exp.folders import write_atomically
from galaxy_exp.questions import Votes
from galaxy_exp.wording import did_you_mean

__all__ = ["DESCRIPTION", "VOTES", "describe_images", "load_array_file", "store_data"]

_LOG = logging.getLogger(__name__)

LABEL_KEYS = ("ans", "labels")
"""Keys of labels in the order in which they are tried; Galaxy10 has `ans`."""
CLASS_NAMES = "class_names"
"""Attribute or key of the names of the classes."""
DESCRIPTION = "galaxy_exp"
"""Attribute of HDF5 files written by galaxy_exp: JSON with `simulated`, `preprocessing`, and `votes` if any."""
VOTES = "votes"
"""Key of the votes in such files: float32 (n, n_answers)."""


def load_array_file(path: Path, config: DataConfig, source: str | None = None) -> ImageDataset:
    """Loads `images` uint8 (n, height, width, 3), `ans` (or `labels`), and a user-defined split, if any.

    Uncompressed, contiguous images of an HDF5 file are memory-mapped; others are read in pieces, into a temporary file
    if they are large. So a data set may be larger than memory. `source` names it in messages, by default the path.

    Raises:
        DataError: one line that names the file, the key and what is wrong.
    """
    name = source or str(path)
    with open_arrays(path) as arrays:
        votes: Votes | ReadVotes | None = None
        if config.has_stated_votes:
            votes = _read_votes(arrays, path, config.votes)
        description = _read_description(arrays)
        if votes is None and "votes" in description:  # galaxy_exp wrote them
            votes = build_votes(description["votes"], read_array(arrays, VOTES, path).astype(np.float32))
        names = find_class_names(path, config.class_names)
        labels, label_key = None, ""
        if votes is None:
            labels, label_key, names = _read_labels(arrays, path, names or _read_class_names(arrays, path))
        notes = _compare_labels(arrays, label_key, path)
        parts = _read_parts(arrays, config.split, path, name)
        images = _map_images(path, arrays) if isinstance(arrays, h5py.File) else read_array(arrays, "images", path)
    return build_dataset(
        images,
        labels,
        names,
        source=name,
        simulated=bool(description.get("simulated", False)),
        own_split=parts,
        preprocessing=Preprocessing.from_dict(description.get("preprocessing", {})),
        label_key=label_key,
        first_label=0 if description else config.first_label,
        notes=notes,
        votes=votes,
    )


def _read_description(arrays: Arrays) -> dict[str, Any]:
    """The attribute `DESCRIPTION`; empty if galaxy_exp did not write the file."""
    text = getattr(arrays, "attrs", {}).get(DESCRIPTION)
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError:  # an attribute of that name that somebody else wrote
        found = {}
    return found if isinstance(found, dict) else {}


def describe_images(dataset: ImageDataset) -> str:
    """Value of the attribute `DESCRIPTION`."""
    content: dict[str, Any] = {"simulated": dataset.simulated, "preprocessing": dataset.preprocessing.to_dict()}
    if dataset.votes is not None:
        content["votes"] = describe_votes(dataset.votes)
    return json.dumps(content)


def _read_votes(arrays: Arrays, path: Path, config: VotesConfig) -> ReadVotes:
    """The votes that the sweep file names."""
    wanted = [config.dataset, *([config.total] if config.total else [])]
    for key, name in zip(wanted, ("dataset", "total"), strict=False):
        if key not in arrays:
            raise DataError(
                f"{path}: has no data set {key!r} (data.votes.{name}); {did_you_mean(key, sorted(arrays.keys()))}"
            )
    values, *totals = (read_array(arrays, key, path) for key in wanted)
    return read_vote_arrays(values, totals[0] if totals else None, len(arrays["images"]), config, str(path))


def _read_parts(arrays: Arrays, config: SplitConfig, path: Path, name: str) -> NDArray[np.int8] | None:
    if config.column is None:
        return None
    if config.column in arrays:
        return parse_parts(read_array(arrays, config.column, path), name, config.column)
    if config.column != SplitConfig().column:
        raise DataError(f"{name}: has the keys {sorted(arrays.keys())}; expected {config.column!r} (data.split.column)")
    return None


def _map_images(path: Path, arrays: h5py.File) -> NDArray[Any]:
    images = arrays["images"]
    is_here = images.chunks is None and images.external is None and images.file.filename == arrays.filename
    offset = images.id.get_offset() if is_here else None
    if offset is None or images.dtype != np.uint8 or arrays.userblock_size:
        return _read_images(images)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=images.shape)


def _read_images(images: h5py.Dataset) -> NDArray[Any]:
    if images.dtype != np.uint8 or images.ndim != 4:
        return np.asarray(images[()])  # of an array type, or `build_dataset` refuses it and describes its values
    result = allocate_images(images.shape)
    for piece in iter_slices(result):
        images.read_direct(result[piece], piece)
    return result


Names = tuple[str, ...] | None
"""One name per class in label order, if known."""


def _read_labels(arrays: Arrays, path: Path, names: Names) -> tuple[NDArray[Any], str, Names]:
    """The labels, their key, and the class names. An HDF5 enumeration is read as names, unless `names` lacks one."""
    for key in LABEL_KEYS:
        if key in arrays:
            labels = read_array(arrays, key, path)
            members = h5py.check_enum_dtype(labels.dtype)
            if members is None:
                return labels, key, names
            texts, used = _name_members(labels, members, f"{path}: {key!r}")
            return (texts if names is None or set(used) <= set(names) else labels), key, names or used
    raise DataError(
        f"{path}: has the keys {sorted(arrays.keys())}; expected labels under 'ans' or 'labels', "
        "or data.votes.questions if they are votes"
    )


def _compare_labels(arrays: Arrays, used: str, path: Path) -> list[str]:
    """A line if the file has labels under another key too, unless they are equal."""
    other = next((key for key in LABEL_KEYS if used and key != used and key in arrays), None)
    if other is None:
        return []
    try:
        equal = np.array_equal(read_array(arrays, used, path), read_array(arrays, other, path))
    except (DataError, TypeError):  # unreadable, or records that cannot be compared
        equal = False
    return [] if equal else [f"has both {used!r} and {other!r}; the labels are those of {used!r}"]


def _name_members(labels: NDArray[Any], members: dict[str, int], where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels of an HDF5 enumeration as its names, and the names that occur, in the order of their numbers."""
    values, places = np.unique(labels, return_inverse=True)
    by_value = {value: name for name, value in members.items()}
    other = [value for value in values.tolist() if value not in by_value]
    if other:
        index = int((labels == other[0]).argmax())
        raise DataError(f"{where} is {other[0]} at index {index}; expected a number of its enumeration {members}")
    used = tuple(by_value[value] for value in values.tolist())
    names = used if len(used) > 1 else tuple(by_value[value] for value in sorted(by_value))
    return np.array(used)[places].reshape(labels.shape), names


def _read_class_names(arrays: Arrays, path: Path) -> Names:
    """The HDF5 attribute `class_names` of the file or of its labels, or else what has that key; None without them.

    What has the key is ignored with a warning if it is no list of different names, such as one name per image.
    """
    if isinstance(arrays, h5py.File):
        labels = next((find_array(arrays, key, path) for key in LABEL_KEYS if key in arrays), arrays)
        for names in (arrays.attrs.get(CLASS_NAMES), labels.attrs.get(CLASS_NAMES)):
            if names is not None:
                return parse_class_names(names, f"{path}: the attribute 'class_names'")
    if CLASS_NAMES not in arrays:
        return None
    try:
        names = parse_class_names(read_array(arrays, CLASS_NAMES, path), f"{path}: 'class_names'")
    except DataError as error:
        _LOG.warning("%s; it is ignored", error)
        return None
    if len(set(names)) < len(names):
        _LOG.warning("%s: 'class_names' has the same name twice; it is ignored", path)
        return None
    return names


def store_data(data: Any, config: DataConfig, folder: Path) -> DataConfig:
    """The data section of a sweep on this data; arrays are written into `folder`, unless it has them already.

    Args:
        data: (images, labels) or (images, labels, class names), as for `build_dataset`; (images, `Votes`); an
            `ImageDataset`; or a value of `data.source`, such as a path.
        config: the data section of the sweep; its source and its options are replaced.
        folder: created if missing.

    Raises:
        DataError: arrays of the wrong shape, type or size, another object, or a full disk.
    """
    if isinstance(data, str | os.PathLike):
        return config.model_copy(update={"source": os.fspath(data)})
    dataset = data if isinstance(data, ImageDataset) else _build(data, config)
    split = b"" if dataset.own_split is None else dataset.own_split.tobytes()
    content = hashlib.sha256(f"{dataset.digest} {dataset.simulated} ".encode() + split).hexdigest()
    path = folder.absolute() / f"{content[:16]}.h5"
    if not path.is_file():
        try:
            write_atomically(path, lambda temporary: _write(dataset, temporary))
        except OSError as error:
            raise DataError(f"{path}: the data cannot be written ({error.strerror or error})") from None
    return config.model_copy(update={"source": str(path), "options": {}})


def _build(data: Any, config: DataConfig) -> ImageDataset:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise DataError(
            f"data: found {type(data).__name__}; expected (images, labels), (images, labels, class_names), (images, "
            "votes), an ImageDataset, or what data.source may be"
        )
    images, labels, *names = data
    if isinstance(labels, Votes):
        if names:
            raise DataError("data: found votes and class names; expected (images, votes), whose classes are answers")
        return build_dataset(images, None, source="data", votes=labels)
    class_names = config.class_names or (names[0] if names else None)
    return build_dataset(images, labels, class_names, source="data", first_label=config.first_label)


def _write(dataset: ImageDataset, path: Path) -> None:
    path.touch(mode=0o600)  # whoever gave images to a sweep did not publish them
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", dataset.images.shape, dtype="uint8")
        for piece in iter_slices(dataset.images):
            images[piece] = dataset.images[piece]
        file["ans"] = dataset.labels
        file["ans"].attrs["class_names"] = list(dataset.class_names)
        if dataset.votes is not None:
            file[VOTES] = dataset.votes.values
        if dataset.own_split is not None:
            file["split"] = [PARTS[part] for part in dataset.own_split.tolist()]
        file.attrs[DESCRIPTION] = describe_images(dataset)
