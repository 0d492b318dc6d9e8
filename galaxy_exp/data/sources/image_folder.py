"""Loads a folder with one subfolder per class, or with such a folder for each part of a split."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data.class_labels import find_class_names, find_sidecar, normalise_name
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.image_file import read_files
from galaxy_exp.data.listing import (
    describe_endings,
    list_images,
    list_subfolders,
    lost_links,
    no_images,
    report_others,
)
from galaxy_exp.data.split import PART_NAMES, PARTS, Part
from galaxy_exp.errors import DataError

__all__ = ["load_image_folder"]

_LOG = logging.getLogger(__name__)
_EXPECTED = "expected one subfolder per class, holding its images, or only train, val and test, holding such subfolders"


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    path: Path
    images: list[Path]
    part: Part = "train"


def load_image_folder(folder: Path, config: DataConfig) -> ImageDataset:
    """Loads every picture and FITS file of `folder/<class>/`, preprocessed as `config` says.

    Label k is the k-th subfolder in alphabetical order, unless class names define another order (`_order_subfolders`).
    If all subfolders are called train, val (valid, validation) or test, they are a user-defined split and contain the
    classes. Other files are counted in a warning.

    Raises:
        DataError: names a file or folder: no subfolders, one without images or with further subfolders, a part that
            is a link to nothing, names that do not match, an unreadable picture, or one of another size.
    """
    others: Counter[str] = Counter()
    parts = _find_parts(folder)
    tops = parts or {"train": folder}
    looked_at = {folder, *tops.values()}
    for top in looked_at:
        _report_lost_links(top)
    found = [entry for part, top in tops.items() for entry in _list_classes(top, part, others)]
    for top in looked_at:
        others.update(_count_beside(top, find_sidecar(folder)))
    names, order = _order_subfolders(folder, _class_names_of(found), config.class_names)
    label_of = {name: label for label, name in enumerate(order)}
    found.sort(key=lambda entry: (label_of[entry.path.name], PARTS.index(entry.part)))
    files = [path for entry in found for path in entry.images]
    labels = np.array([label_of[entry.path.name] for entry in found for _ in entry.images])
    own_split = np.array([PARTS.index(entry.part) for entry in found for _ in entry.images], np.int8)
    report_others(folder, others)
    stack = read_files(files, config, str(folder), [names[label] for label in labels])
    return build_dataset(
        stack.images,
        labels[stack.kept],
        names,
        source=str(folder),
        own_split=own_split[stack.kept] if parts and config.split.column is not None else None,
        preprocessing=stack.preprocessing,
        skipped=stack.skipped,
        other_files=describe_endings(others),
        names=[str(files[index]) for index in stack.kept.tolist()],
    )


def _report_lost_links(folder: Path) -> None:
    """Refuses a part of the split that is a link to nothing, and warns of what may be a class or anything else."""
    for link in lost_links(folder):
        found = f"{link}: is a link to {link.readlink()}, which does not exist"
        if link.name.lower() in PART_NAMES:
            raise DataError(f"{found}; expected a folder of classes")
        _LOG.warning("%s; it is left out", found)


def _find_parts(folder: Path) -> dict[Part, Path]:
    """The folders of a user-defined split; empty if the subfolders are classes."""
    subfolders = list_subfolders(folder)
    if not all(entry.name.lower() in PART_NAMES for entry in subfolders):
        return {}
    parts: dict[Part, Path] = {}
    for entry in subfolders:
        part = PART_NAMES[entry.name.lower()]
        if part in parts:
            raise DataError(f"{folder}: {parts[part].name!r} and {entry.name!r} are both {part}; expected one of them")
        parts[part] = entry
    return parts


def _list_classes(top: Path, part: Part, others: Counter[str]) -> list[_ClassFolder]:
    """The classes in a folder; adds their other files to `others`."""
    subfolders = list_subfolders(top)
    if not subfolders:
        loose = len(list_images(top).images)
        found = f", but {loose} images" if loose else ""
        raise DataError(f"{top}: has no subfolders{found}; expected one per class, holding its images")
    return [_ClassFolder(entry, _list_images(entry, top, others), part) for entry in subfolders]


def _count_beside(top: Path, sidecar: Path | None) -> Counter[str]:
    """Number of files beside class folders by ending, without the file of class names."""
    beside = list_images(top)
    expected = [".txt"] if sidecar is not None and sidecar.parent == top.resolve() else []
    return beside.others - Counter(expected) + Counter({"images beside the class folders": len(beside.images)})


def _list_images(subfolder: Path, top: Path, others: Counter[str]) -> list[Path]:
    below = [entry for entry in list_subfolders(subfolder) if list_images(entry, deep=True).images]
    if below:
        alone = len(list_subfolders(top)) == 1
        hint = f"; should data.source be {subfolder}?" if alone else ""
        found = f"{subfolder.name!r} has images in further subfolders {_quote(below)}"
        raise DataError(f"{top}: {found}; {_EXPECTED}{hint}")
    listing = list_images(subfolder)
    if not listing.images:
        raise no_images(subfolder, listing)
    others.update(listing.others)
    return listing.images


def _class_names_of(found: list[_ClassFolder]) -> list[str]:
    """Different names in alphabetical order; refuses names that differ only in case or encoding."""
    first: dict[str, Path] = {}
    for entry in found:
        like = first.setdefault(normalise_name(entry.path.name).casefold(), entry.path)
        if like.name != entry.path.name:
            raise DataError(
                f"{entry.path}: its name and that of {like} differ only in upper and lower case, or in how accents are "
                "encoded; expected one name for one class"
            )
    return sorted({entry.path.name for entry in found})


def _order_subfolders(
    folder: Path, found: Sequence[str], configured: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the classes in label order, and the subfolder of each.

    Names of the subfolders define the order. Other names replace those of the subfolders, `found`, in alphabetical
    order, but only if that cannot be a mistake: for `data.class_names`, or if the subfolders are numbers. This is
    logged. DataError: the names match only some subfolders, are more or fewer, or their order is not certain.
    """
    names = find_class_names(folder, configured)
    if names is None:
        return tuple(found), tuple(found)
    where = "data.class_names" if configured is not None else str(find_sidecar(folder))
    by_name = {normalise_name(name): name for name in found}
    known = [by_name[normalise_name(name)] for name in names if normalise_name(name) in by_name]
    if len(set(known)) == len(names) == len(found):
        return tuple(known), tuple(known)
    if known:
        strange = [name for name in names if normalise_name(name) not in by_name]
        raise DataError(
            f"{where}: matches the subfolders of {folder} only in part: names without a subfolder {strange}, "
            f"subfolders without a name {[name for name in found if name not in known]}; expected each subfolder once"
        )
    if len(names) != len(found):
        raise DataError(
            f"{where}: {len(names)} class names for {len(found)} subfolders of {folder}; expected one for each"
        )
    _check_renaming(folder, found, where, configured is not None)
    renamed = ", ".join(f"{old} is {new}" for old, new in zip(found, names, strict=True))
    _LOG.warning("%s: the subfolders of %s are other names, so that %s", where, folder, renamed)
    return names, tuple(found)


def _check_renaming(folder: Path, found: Sequence[str], where: str, configured: bool) -> None:
    numbers = all(name.isdecimal() for name in found)
    if numbers and sorted(found, key=int) != list(found):
        raise DataError(
            f"{where}: the subfolders of {folder} are numbers whose alphabetical order, {', '.join(found)}, is not "
            "that of the numbers; expected subfolders with the names of the classes, or with zeros before the numbers"
        )
    if not numbers and not configured:
        raise DataError(
            f"{where}: has none of the subfolders {', '.join(found)} of {folder}; expected these in label order; to "
            "give them other names, rename the subfolders, or list names in their order under data.class_names"
        )


def _quote(folders: list[Path]) -> str:
    shown = ", ".join(repr(entry.name) for entry in folders[:5])
    return f"{shown} and {len(folders) - 5} more" if len(folders) > 5 else shown
