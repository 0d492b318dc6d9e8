"""Dividing a data set into training, validation and the sealed test part, the same way everywhere.

Two rules beyond the shares in the sweep file. Images that are identical byte for byte form one group, and
a group never straddles parts (it belongs to the class of its first image). A class of at least three
different images has at least one in every part.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.sweep import SplitConfig
from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.errors import DataError

__all__ = ["PARTS", "Part", "Split", "split_dataset"]

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
Group = list[int]
"""Indices of images that are identical to each other; mostly just one."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which image goes where: three arrays of int64 indices, each sorted; disjoint and together complete."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    def __getitem__(self, part: Part) -> NDArray[np.int64]:
        """The indices of one part, int64 (n_part,)."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) over the three index arrays."""
        sha256 = hashlib.sha256()
        for part in PARTS:
            sha256.update(f"{part} {len(self[part])} ".encode())
            sha256.update(self[part].astype("<i8").tobytes())
        return sha256.hexdigest()


def split_dataset(dataset: ImageDataset, config: SplitConfig) -> Split:
    """Splits class by class; the same images, labels, shares and seed give the same split on any machine.

    The order within a class comes from raw PCG64 output, whose stream NumPy guarantees, and not from
    `permutation`, whose algorithm may change with a release.

    Raises:
        DataError: a class has fewer than three different images; names the class and its counts.
    """
    parts: dict[Part, list[int]] = {part: [] for part in PARTS}
    groups_by_class = _group_identical(dataset)
    for label in range(dataset.n_classes):
        groups = groups_by_class[label]
        _check_splittable(dataset, label, groups)
        shares = _divide_groups(_shuffle(groups, config.seed, label), config)
        for part in PARTS:
            parts[part].extend(index for group in shares[part] for index in group)
    return Split(*(np.array(sorted(parts[part]), dtype=np.int64) for part in PARTS))


def _group_identical(dataset: ImageDataset) -> dict[int, list[Group]]:
    """Groups of identical images by the label of their first image, in order of that image."""
    by_content: dict[bytes, Group] = defaultdict(list)
    for index, image in enumerate(dataset.images):
        by_content[hashlib.blake2b(image.tobytes(), digest_size=16).digest()].append(index)
    by_class: dict[int, list[Group]] = defaultdict(list)
    for group in by_content.values():
        by_class[int(dataset.labels[group[0]])].append(group)
    return by_class


def _check_splittable(dataset: ImageDataset, label: int, groups: list[Group]) -> None:
    if len(groups) >= len(PARTS):
        return
    total = int((dataset.labels == label).sum())
    raise DataError(
        f"{dataset.source}: class {label} ({dataset.class_names[label]!r}) has {len(groups)} different images "
        f"({total} in all); expected at least {len(PARTS)}, one each for training, validation and test"
    )


def _shuffle(groups: list[Group], seed: int, label: int) -> list[Group]:
    keys = np.random.PCG64(np.random.SeedSequence([seed, label])).random_raw(len(groups))
    return [groups[position] for position in np.argsort(keys, kind="stable")]


def _divide_groups(groups: list[Group], config: SplitConfig) -> dict[Part, list[Group]]:
    """Fills test, then validation, up to their share of the images; the rest is for training."""
    total = sum(map(len, groups))
    room: dict[Part, int] = {"test": max(1, round(total * config.test))}
    room["validation"] = max(1, min(round(total * config.validation), total - room["test"] - 1))
    room["test"] = min(room["test"], total - room["validation"] - 1)
    shares: dict[Part, list[Group]] = {part: [] for part in PARTS}
    for group in groups:
        part: Part = next((name for name, left in room.items() if len(group) <= left), "train")
        shares[part].append(group)
        room[part] = room.get(part, 0) - len(group)
    _fill_empty_parts(shares)
    return shares


def _fill_empty_parts(shares: dict[Part, list[Group]]) -> None:
    """Large groups can leave a part empty: it gets the smallest group of the part that has the most groups."""
    for part in PARTS:
        if not shares[part]:
            donor = max(shares.values(), key=len)
            smallest = min(donor, key=len)
            donor.remove(smallest)
            shares[part].append(smallest)
