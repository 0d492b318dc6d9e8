"""Groups of images that must not be divided between parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.near_duplicates import find_near_duplicates

__all__ = ["Groups", "group_duplicates"]


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


def group_duplicates(images: NDArray[np.uint8], which: Literal["near", "identical"]) -> Groups:
    """Compares uint8 (n, height, width, 3) images; see `near_duplicates` for what is near."""
    identical = _first_of_identical(images)
    if which == "identical":
        return Groups(identical, identical)
    different = np.flatnonzero(identical == np.arange(len(identical)))
    pairs = find_near_duplicates(images, different)
    return Groups(identical, _join(identical, pairs))


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
