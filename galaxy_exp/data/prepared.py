"""A split data set, written once as NumPy files that all workers of a machine memory-map.

<cache>/<data digest>-<split digest>/
    train_images.npy  train_labels.npy  train_indices.npy  validation_images.npy  ...
    meta.json
    sealed/test_images.npy  sealed/test_labels.npy  sealed/test_indices.npy
    train_votes.npy  validation_votes.npy  sealed/test_votes.npy    if there are votes
<cache>/groups/<data digest>-<near or identical>-<method>.npz    duplicates, see `load_groups`

The indices, int64 (n_part,), are the positions of the images in the data set.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SplitConfig
from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.duplicates import load_groups
from galaxy_exp.data.image_arrays import Preprocessing, iter_slices
from galaxy_exp.data.split import PARTS, Part, Split, split_dataset
from galaxy_exp.data.votes import describe_votes, parse_votes_description
from galaxy_exp.errors import DataError
from galaxy_exp.folders import write_atomically
from galaxy_exp.records import SplitFiles, VoteFiles

__all__ = ["HeldOutTest", "PreparedData", "prepare_split"]

FORMAT = 2
"""Version of the layout; folders of other versions are refused."""

STALE_SECONDS = 24 * 3600.0
"""Age at which an unfinished folder is deleted; no writer takes as long."""


@dataclass(frozen=True, slots=True)
class HeldOutTest:
    """The held-out test set: uint8 (n, height, width, 3) and int64 (n,) `.npy` files. Not for trials."""

    images: Path
    labels: Path
    votes: Path | None = None
    """float32 (n, n_answers), if the data has votes."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Files written by `prepare_split`, and facts about them."""

    folder: Path
    digest: str
    """`ImageDataset.digest`."""
    split_digest: str
    """`Split.digest`."""
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """(height, width, 3) in pixels."""
    counts: dict[str, dict[str, int]]
    """Images by part ("train", "validation", "test") and class name."""
    source: str
    simulated: bool
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    """Preprocessing of every image; raw images need the same before prediction."""
    own_split: bool = False
    """Whether the split is user-defined."""
    n_identical: int = 0
    """Images that are identical to an earlier one."""
    n_near: int = 0
    """Different images that are near duplicates of an earlier one."""
    skipped: tuple[str, ...] = ()
    """Unreadable files that were skipped, one line each."""
    votes: VoteFiles | None = None
    """If the data has votes."""

    @property
    def files(self) -> SplitFiles:
        """The training and validation files, which are all that a trial may read."""
        train, validation = (_part_files(self.folder, part) for part in PARTS[:2])
        return SplitFiles(
            train["images"],
            train["labels"],
            validation["images"],
            validation["labels"],
            self.class_names,
            self.votes,
        )

    @property
    def held_out(self) -> HeldOutTest:
        """The held-out test set, to be opened once per sweep."""
        files = _part_files(self.folder, "test")
        return HeldOutTest(files["images"], files["labels"], files["votes"] if self.votes is not None else None)

    @classmethod
    def load(cls, folder: Path) -> PreparedData:
        """Loads a folder written by `prepare_split`.

        Raises:
            DataError: `meta.json` or one of the arrays is missing or damaged; one line that names the file.
        """
        prepared = _parse_meta(folder)
        for part in PARTS:
            _check_part(prepared, part)
        return prepared

    def is_intact(self) -> bool:
        """Whether `load` accepts the folder; opens all files."""
        try:
            self.load(self.folder)
        except DataError:
            return False
        return True

    def is_present(self) -> bool:
        """Whether the files of `files` exist in full size; opens none, so it is cheap enough for each trial."""
        try:
            return all(
                path.stat().st_size >= math.prod(shape) * np.dtype(kind).itemsize
                for part in ("train", "validation")
                for path, (kind, shape) in _expected_arrays(self, part).items()
            )
        except OSError:
            return False


def prepare_split(dataset: ImageDataset, split_config: SplitConfig, cache_folder: Path) -> PreparedData:
    """Splits `dataset` and writes the parts, unless the same split of the same data exists already.

    If two processes write the same split at once, both use the folder of the first. A damaged folder is written again.
    What does not follow from images and split, such as the source and the skipped files, is that of `dataset`, also if
    another data set of the same images was there first.

    Raises:
        DataError: a class is too small to split, or the disk is full or not writable.
    """
    groups = load_groups(dataset, split_config.duplicates, cache_folder.absolute() / "groups")
    split = split_dataset(dataset, split_config, groups)
    folder = cache_folder.absolute() / f"{dataset.digest[:16]}-{split.digest[:16]}"
    _remove_leftovers(folder.parent)
    prepared = _load_or_write(dataset, split, folder)
    return replace(
        prepared,
        source=dataset.source,
        simulated=dataset.simulated,
        own_split=split.user_defined,
        n_identical=split.n_identical,
        n_near=split.n_near,
        skipped=dataset.skipped,
    )


def _load_or_write(dataset: ImageDataset, split: Split, folder: Path) -> PreparedData:
    if folder.exists():
        try:
            return PreparedData.load(folder)
        except DataError:
            shutil.rmtree(folder, ignore_errors=True)
    try:
        write_atomically(folder, lambda temporary: _write_folder(dataset, split, temporary))
    except OSError as error:
        if (folder / "meta.json").is_file():  # another process was faster
            return PreparedData.load(folder)
        raise DataError(f"{folder}: the split cannot be written ({error.strerror or error})") from None
    return PreparedData.load(folder)


def _write_folder(dataset: ImageDataset, split: Split, folder: Path) -> None:
    (folder / "sealed").mkdir(parents=True)
    for part in PARTS:
        files = _part_files(folder, part)
        _write_images(files["images"], dataset.images, split[part])
        np.save(files["labels"], dataset.labels[split[part]])
        np.save(files["indices"], split[part])
        if dataset.votes is not None:
            np.save(files["votes"], dataset.votes.values[split[part]])
    (folder / "meta.json").write_text(json.dumps(_build_meta(dataset, split), indent=1), encoding="utf-8")


def _remove_leftovers(cache_folder: Path) -> None:
    """Removes what killed processes left, of any data."""
    for leftover in cache_folder.glob(".*-*"):
        with suppress(OSError):  # another process was faster
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def _part_files(folder: Path, part: Part) -> dict[str, Path]:
    where = folder / "sealed" if part == "test" else folder
    return {kind: where / f"{part}_{kind}.npy" for kind in ("images", "labels", "indices", "votes")}


def _expected_arrays(prepared: PreparedData, part: Part) -> dict[Path, tuple[type[np.generic], tuple[int, ...]]]:
    """The type and shape of every array of a part, by its file."""
    n = sum(prepared.counts[part].values())
    arrays: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "images": (np.uint8, (n, *prepared.image_shape)),
        "labels": (np.int64, (n,)),
        "indices": (np.int64, (n,)),
    }
    if prepared.votes is not None:
        arrays["votes"] = (np.float32, (n, prepared.votes.questions.n_answers))
    files = _part_files(prepared.folder, part)
    return {files[kind]: expected for kind, expected in arrays.items()}


def _write_images(path: Path, images: NDArray[np.uint8], indices: NDArray[np.int64]) -> None:
    """Writes `images[indices]` in pieces, as a memory-mapped source may be larger than memory."""
    shape = (len(indices), *images.shape[1:])
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in iter_slices(images, len(indices)):
            file.write(images[indices[piece]].tobytes())


def _build_meta(dataset: ImageDataset, split: Split) -> dict[str, Any]:
    votes = {} if dataset.votes is None else {"votes": describe_votes(dataset.votes)}
    return {
        "format": FORMAT,
        "digest": dataset.digest,
        "split_digest": split.digest,
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "counts": {part: dataset.count_classes(split[part]) for part in PARTS},
        "source": dataset.source,
        "simulated": dataset.simulated,
        "preprocessing": dataset.preprocessing.to_dict(),
        "own_split": split.user_defined,
        "n_identical": split.n_identical,
        "n_near": split.n_near,
        "skipped": dataset.skipped,
        **votes,
    }


def _parse_meta(folder: Path) -> PreparedData:
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version = meta.pop("format")
        if version != FORMAT:
            raise DataError(f"{path}: has format {version}; expected {FORMAT}")
        return _build_prepared(folder, meta)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected the description of a prepared split") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error}); expected a prepared split") from None


def _build_prepared(folder: Path, meta: dict[str, Any]) -> PreparedData:
    for key in ("class_names", "image_shape", "skipped"):
        meta[key] = tuple(meta[key])
    meta["preprocessing"] = Preprocessing.from_dict(meta["preprocessing"])
    if "votes" in meta:
        train, validation = (_part_files(folder, part)["votes"] for part in PARTS[:2])
        meta["votes"] = VoteFiles(train, validation, *parse_votes_description(meta["votes"]))
    return PreparedData(folder=folder, **meta)


def _check_part(prepared: PreparedData, part: Part) -> None:
    """Reads only headers; NumPy refuses to map a file that is shorter than its header says."""
    for path, (_, shape) in _expected_arrays(prepared, part).items():
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: missing or damaged ({' '.join(str(error).split())})") from None
        if found != shape:
            raise DataError(f"{path}: has shape {found}; expected {shape}, as meta.json says")
