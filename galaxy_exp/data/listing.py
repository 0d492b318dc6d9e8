"""Which files of a folder are images, for training and for prediction alike, and what else is in it.

An image is a file with an ending of a picture (`image_file`) or of FITS (`fits_file`), in upper or lower case. Hidden
files and folders, and what operating systems leave behind (`__MACOSX`, `Thumbs.db`), are as if they were not there;
every other file is counted by its ending. Symbolic links are followed, to each folder once; one that leads nowhere is
an image that cannot be read, so that it is named.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from galaxy_exp.data.fits_file import has_fits_name
from galaxy_exp.data.image_file import has_picture_name
from galaxy_exp.errors import DataError

__all__ = [
    "EXPECTED_ENDINGS",
    "Listing",
    "describe_endings",
    "has_image_name",
    "list_images",
    "list_subfolders",
    "no_images",
    "report_others",
]

EXPECTED_ENDINGS = ".png, .jpg, .tif, .webp, .gif, .bmp, .fits, or of another format that Pillow reads"

_LEFT_BEHIND = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information"}
    | {"@eadir", "lost+found", "__pycache__"}
)
_MAX_ENDINGS = 8
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder."""

    images: list[Path] = field(default_factory=list)
    """Sorted by path."""
    others: Counter[str] = field(default_factory=Counter)
    """Number of the other files by ending in lower case; "" without an ending."""


def has_image_name(path: Path) -> bool:
    """Whether the ending is that of a picture or of FITS."""
    return has_picture_name(path) or has_fits_name(path)


def list_images(folder: Path, deep: bool = False) -> Listing:
    """The files of `folder`, or, with `deep`, of all folders below too.

    Raises:
        OSError: a folder may not be looked into.
    """
    listing = Listing()
    for entry in _walk(folder, deep):
        path = Path(entry)
        if has_image_name(path) and (entry.is_symlink() or entry.is_file()):
            listing.images.append(path)
        else:
            listing.others[path.suffix.lower()] += 1
    listing.images.sort()
    return listing


def no_images(folder: Path, found: Listing) -> DataError:
    """The error to raise for a folder without any."""
    others = f"; found {describe_endings(found.others)}" if found.others else ""
    return DataError(f"{folder}: holds no images; expected files ending in {EXPECTED_ENDINGS}{others}")


def list_subfolders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, sorted; without hidden ones and those of operating systems."""
    return sorted(Path(entry) for entry in _entries(folder) if _is_folder(entry))


def report_others(source: Path, others: Counter[str]) -> None:
    """Logs as one warning how many files of which ending are left out, if there are any."""
    if others:
        _LOG.warning("%s: skipped %s", source, describe_endings(others))


def describe_endings(others: Counter[str]) -> str:
    """ "3 .txt, 1 .pdf, 1 without an ending"; at most a few endings, the most frequent ones first."""
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {ending or 'without an ending'}" for ending, count in ranked[:_MAX_ENDINGS]]
    rest = sum(count for _, count in ranked[_MAX_ENDINGS:])
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not _is_ignored(entry.name))


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return Path(entry).is_dir() if entry.is_symlink() else entry.is_dir()


def _walk(folder: Path, deep: bool) -> Iterator[os.DirEntry[str]]:
    """All files; those of a folder that several paths lead to once, by the one without links if there is one.

    A link to a folder that it is in itself is not followed.
    """
    folders, links, seen = [folder], list[Path](), set[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop()
        place = here.resolve()
        if place in seen:
            continue
        seen.add(place)
        for entry in sorted(_entries(here), key=lambda each: each.name, reverse=True):
            if not _is_folder(entry):
                yield entry
            elif deep and not entry.is_symlink():
                folders.append(Path(entry))
            elif deep and not place.is_relative_to(Path(entry).resolve()):
                links.append(Path(entry))
