"""Dividing a data set into training, validation and the held-out test set, the same way on every machine.

Rules beyond the fractions in the sweep file:

- Images that are identical byte for byte, and by default near duplicates too, form one group, and all images of a group
  are in the same part. It belongs to the class of its first image.
- A class of at least three groups has at least one in every part; the number of images is rounded to the nearest,
  halves to even. Galaxy10's class of 17 images, at fractions of 0.15, is divided 11, 3, 3. A smaller class is refused,
  unless it is an answer of volunteers, which is learnt from the votes of all images: its images are for training then.
- A user-defined split precedes all of this. It must have every class in every part, and no image in two. If it has no
  validation or no test part, that is taken from its training images, by its fraction.

scikit-learn's splitters cannot replace this: a grouped and stratified one (`StratifiedGroupKFold`) leaves rare classes
out of a part, and journals, prepared data and test sets of earlier sweeps are identified by the split's digest.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import SplitConfig
from galaxy_exp.data.dataset import ImageDataset
from galaxy_exp.data.duplicates import Groups, group_duplicates
from galaxy_exp.errors import DataError

__all__ = ["PARTS", "PART_NAMES", "Part", "Split", "parse_parts", "split_dataset"]

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

_SPELLINGS: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
PART_NAMES = {spelling: part for part, spellings in _SPELLINGS.items() for spelling in spellings}
"""The part by its usual names, in lower case."""


_IGNORE = " (data.split.column: null ignores it)"


def parse_parts(
    values: Sequence[Any] | NDArray[Any], source: str, key: str, *, by_row: bool = False, hint: str = _IGNORE
) -> NDArray[np.int8]:
    """The part of each image as its position in `PARTS`, int8 (n,).

    Args:
        values: text or bytes: "train", "validation" or "test", in any case, or "training", "val", "valid", "dev",
            "testing".
        key: column or data set, for messages.
        by_row: whether messages count rows from 1 instead of indices from 0.
        hint: end of the message.

    Raises:
        DataError: names the first index with another value.
    """
    values = np.asarray(np.ma.filled(values, "") if np.ma.is_masked(values) else values)
    if values.ndim != 1:
        raise DataError(f"{source}: {key!r} has shape {values.shape}; expected (n,), one part per image")
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.tolist()]
    parts = [PART_NAMES.get(text.strip().lower()) if isinstance(text, str) else None for text in texts]
    if None in parts:
        index = parts.index(None)
        at = (
            f"row {index + 1}: {key!r} is {texts[index]!r}"
            if by_row
            else f"{key!r} is {texts[index]!r} at index {index}"
        )
        raise DataError(f"{source}: {at}; expected {', '.join(PARTS)}{hint}")
    return np.array([PARTS.index(part) for part in parts if part is not None], dtype=np.int8)


Group = list[int]
"""Indices of images that belong together; mostly one."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Split:
    """The parts of a data set: three arrays of int64 indices, each sorted; disjoint and together complete."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    n_identical: int = 0
    """Images that are identical to an earlier one."""
    n_near: int = 0
    """Different images that are near duplicates of an earlier one; 0 if these were not looked for."""
    user_defined: bool = False

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


def split_dataset(dataset: ImageDataset, config: SplitConfig, groups: Groups | None = None) -> Split:
    """Splits class by class; the same images, labels, fractions and seed give the same split on any machine.

    The order within a class comes from raw PCG64 output, whose stream NumPy guarantees, and not from
    `permutation`, whose algorithm may change with a release.

    Args:
        dataset: the images to split.
        config: the fractions, and which images count as duplicates.
        groups: the duplicates, if they are known; None: they are looked for.

    Raises:
        DataError: a class has fewer than three different images (names the class and its counts), or the
            user-defined split lacks a class in a part, or has identical images in two.
    """
    groups = groups or group_duplicates(dataset.images, config.duplicates)
    _warn_of_contradictions(dataset, groups)
    if dataset.own_split is None:
        parts = _fill_parts(dataset, np.zeros(len(dataset), np.int8), ["validation", "test"], config, groups)
        if len(np.unique(parts)) < len(PARTS):
            raise DataError(
                f"{dataset.source}: no answer wins for {len(PARTS)} different galaxies; expected one for training, "
                "one for validation and one for the test at least"
            )
    else:
        parts = _add_missing_parts(dataset, dataset.own_split, config, groups)
        _check_user_split(dataset, parts, groups)
    return Split(
        **{part: np.flatnonzero(parts == code) for code, part in enumerate(PARTS)},
        n_identical=groups.n_identical,
        n_near=groups.n_near,
        user_defined=dataset.own_split is not None,
    )


def _warn_of_contradictions(dataset: ImageDataset, groups: Groups) -> None:
    """One picture with two labels; volunteers, whose votes differ, may disagree on it."""
    labels = dataset.labels
    wrong = np.flatnonzero(labels != labels[groups.identical])
    if len(wrong) and dataset.votes is None:
        pair = (int(wrong[0]), int(groups.identical[wrong[0]]))
        one, other = (f"{dataset.name_image(index)} ({dataset.class_names[labels[index]]})" for index in pair)
        _LOG.warning(
            "%s: %d images are identical to an image with another label, as %s to %s",
            *(dataset.source, len(wrong), one, other),
        )


def _fill_parts(
    dataset: ImageDataset, parts: NDArray[np.int8], missing: list[Part], config: SplitConfig, groups: Groups
) -> NDArray[np.int8]:
    """The parts of the images as positions in `PARTS`, with the missing ones taken from the training images."""
    filled, by_class = parts.copy(), _sort_by_class(dataset, groups)
    for label in range(dataset.n_classes):
        train = [[index for index in group if parts[index] == PARTS.index("train")] for group in by_class[label]]
        members = [group for group in train if group]
        if dataset.votes is not None and len(members) < len(PARTS):
            # an answer that hardly ever wins, such as artifact, is learnt from votes all the same
            _LOG.warning(
                "%s: %r is the most frequent answer of %d images, which are all for training: too few to split",
                *(dataset.source, dataset.class_names[label], int((dataset.labels == label).sum())),
            )
            continue
        _check_splittable(dataset, label, members, parts, missing)
        divided = _divide_groups(_shuffle(members, config.seed, label), config)
        for part in missing:
            filled[[index for group in divided[part] for index in group]] = PARTS.index(part)
    return filled


def _add_missing_parts(
    dataset: ImageDataset, parts: NDArray[np.int8], config: SplitConfig, groups: Groups
) -> NDArray[np.int8]:
    """The user-defined split, completed if it has no validation or no test part."""
    missing: list[Part] = [part for code, part in enumerate(PARTS) if part != "train" and code not in parts]
    if not missing or PARTS.index("train") not in parts:
        return parts
    completed = _fill_parts(dataset, parts, missing, config, groups)
    _LOG.warning(
        "%s: your split has no %s images; they are taken from the training images, by data.split.%s",
        *(dataset.source, " and no ".join(missing), " and data.split.".join(missing)),
    )
    return completed


def _check_user_split(dataset: ImageDataset, parts: NDArray[np.int8], groups: Groups) -> None:
    for code, part in enumerate(PARTS):
        counts = np.bincount(dataset.labels[parts == code], minlength=dataset.n_classes)
        if dataset.votes is not None and not counts.any():
            raise DataError(
                f"{dataset.source}: your split has no image with votes in {part}; expected one at least, or "
                "data.split.column: null to have it split by fractions"
            )
        if dataset.votes is None and not counts.all():
            label = int(counts.argmin())
            raise DataError(
                f"{dataset.source}: your split has no image of class {label} ({dataset.class_names[label]!r}) in "
                f"{part}; expected one at least, or data.split.column: null to have it split by fractions"
                f"{_hint_first_label(dataset, label)}"
            )
    torn = np.flatnonzero(parts != parts[groups.identical])
    if len(torn):
        index, first = int(torn[0]), int(groups.identical[torn[0]])
        one, other = (f"{dataset.name_image(each)} ({PARTS[parts[each]]})" for each in (index, first))
        raise DataError(
            f"{dataset.source}: {one} is identical to {other}, and so are {len(torn)} in all; expected identical "
            "images in the same set"
        )
    _warn_of_near_duplicates(dataset, parts, groups)


def _warn_of_near_duplicates(dataset: ImageDataset, parts: NDArray[np.int8], groups: Groups) -> None:
    torn = np.flatnonzero(parts != parts[groups.joined])
    if len(torn):
        index, first = int(torn[0]), int(groups.joined[torn[0]])
        one, other = (f"{dataset.name_image(each)} ({PARTS[parts[each]]})" for each in (index, first))
        _LOG.warning(
            "%s: by your split, %d images are in another set than a near duplicate, as %s of %s",
            *(dataset.source, len(torn), one, other),
        )


def _sort_by_class(dataset: ImageDataset, groups: Groups) -> dict[int, list[Group]]:
    """Groups by the label of their first image, in order of that image."""
    by_name: dict[int, Group] = defaultdict(list)
    for index, name in enumerate(groups.joined.tolist()):
        by_name[name].append(index)
    by_class: dict[int, list[Group]] = defaultdict(list)
    for name, group in by_name.items():
        by_class[int(dataset.labels[name])].append(group)
    return by_class


def _check_splittable(
    dataset: ImageDataset, label: int, groups: list[Group], parts: NDArray[np.int8], missing: list[Part]
) -> None:
    if len(groups) > len(missing):
        return
    total = int(((dataset.labels == label) & (parts == PARTS.index("train"))).sum())
    kind = "images" if dataset.own_split is None else "images for training in your split"
    *first, last = ["training", *missing]
    raise DataError(
        f"{dataset.source}: class {label} ({dataset.class_names[label]!r}) has {len(groups)} different {kind} "
        f"({total} in all); expected at least {len(missing) + 1}, one each for {', '.join(first)} and {last}"
        f"{_hint_first_label(dataset, label)}"
    )


def _hint_first_label(dataset: ImageDataset, label: int) -> str:
    return "; if the labels start at 1: data.first_label: 1" if label == 0 and dataset.labels.min() == 1 else ""


def _shuffle(groups: list[Group], seed: int, label: int) -> list[Group]:
    keys = np.random.PCG64(np.random.SeedSequence([seed, label])).random_raw(len(groups))
    return [groups[position] for position in np.argsort(keys, kind="stable")]


def _divide_groups(groups: list[Group], config: SplitConfig) -> dict[Part, list[Group]]:
    """Fills test, then validation, up to their fraction of the images; the rest is for training."""
    total = sum(map(len, groups))
    room: dict[Part, int] = {"test": max(1, round(total * config.test))}
    room["validation"] = max(1, min(round(total * config.validation), total - room["test"] - 1))
    room["test"] = min(room["test"], total - room["validation"] - 1)
    divided: dict[Part, list[Group]] = {part: [] for part in PARTS}
    for group in groups:
        part: Part = next((name for name, left in room.items() if len(group) <= left), "train")
        divided[part].append(group)
        room[part] = room.get(part, 0) - len(group)
    _fill_empty_parts(divided)
    return divided


def _fill_empty_parts(divided: dict[Part, list[Group]]) -> None:
    """A part that large groups left empty gets the smallest group of the part that has the most groups."""
    for part in PARTS:
        if not divided[part]:
            donor = max(divided.values(), key=len)
            smallest = min(donor, key=len)
            donor.remove(smallest)
            divided[part].append(smallest)
