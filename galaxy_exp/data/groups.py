"""Groups of images that must not be divided between parts."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.near_duplicates import describe_method, find_near_duplicates
from galaxy_exp.folders import write_atomically

__all__ = ["Groups", "group_duplicates", "recall_groups"]

_LOG = logging.getLogger(__name__)

Which = Literal["near", "identical"]


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Which images belong together. Each image is named by the first of its group, int64 (n,)."""

    identical: NDArray[np.int64]
    """By identical bytes."""
    joined: NDArray[np.int64]
    """By identical bytes or near duplication, also by way of others; `identical` again if that was not looked for."""

    @property
    def n_identical(self) -> int:
        """Images that are identical to an earlier one."""
        return int((self.identical != np.arange(len(self.identical))).sum())

    @property
    def n_near(self) -> int:
        """Different images that are near duplicates of an earlier one."""
        return int((self.joined != np.arange(len(self.joined))).sum()) - self.n_identical


def group_duplicates(images: NDArray[np.uint8], which: Which) -> Groups:
    """Compares uint8 (n, height, width, 3) images; see `near_duplicates` for what is near."""
    identical = _first_of_identical(images)
    if which == "identical":
        return Groups(identical, identical)
    different = np.flatnonzero(identical == np.arange(len(identical)))
    pairs = find_near_duplicates(images, different)
    return Groups(identical, _join(identical, pairs))


def recall_groups(dataset: ImageDataset, which: Which, folder: Path) -> Groups:
    """As `group_duplicates`, from a file in `folder` where these images have been compared in this way before.

    The comparison takes a second for some thousand images, and a sweep wants its groups at each start. A damaged file
    is made anew; where none can be written, the next sweep compares again.
    """
    method = hashlib.sha256(describe_method().encode()).hexdigest()[:8] if which == "near" else "bytes"
    file = folder / f"{dataset.digest[:16]}-{which}-{method}.npz"
    groups = _read_groups(file, len(dataset))
    if groups is None:
        groups = group_duplicates(dataset.images, which)
        try:
            write_atomically(file, lambda path: np.savez(path, identical=groups.identical, joined=groups.joined))
        except OSError as error:
            _LOG.info("%s: cannot be written (%s)", file, error.strerror or error)
    return groups


def _read_groups(file: Path, n_images: int) -> Groups | None:
    """None if there is no file, or not one that could be meant."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            groups = Groups(arrays["identical"], arrays["joined"])
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - what is raised depends on which byte is wrong
        _LOG.info("%s: damaged (%s: %s)", file, type(error).__name__, error)
        return None
    own = np.arange(n_images)
    for names in (groups.identical, groups.joined):
        if names.shape != own.shape or names.dtype != own.dtype or (names < 0).any() or (names > own).any():
            return None
    return groups


def _first_of_identical(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    first: dict[bytes, int] = {}
    digests = (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
    return np.array([first.setdefault(digest, index) for index, digest in enumerate(digests)], dtype=np.int64)


def _join(identical: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins groups along the pairs; each keeps its smallest member as its name."""
    name = identical.copy()
    for one, other in pairs.tolist():
        low, high = sorted((_find(name, one), _find(name, other)))
        name[high] = low
    return np.array([_find(name, index) for index in range(len(name))], dtype=np.int64)


def _find(name: NDArray[np.int64], index: int) -> int:
    while name[index] != index:
        index = int(name[index])
    return index
