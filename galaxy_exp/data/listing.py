"""Lists the images of a folder, for training and prediction, and counts its other files.

An image is a file with an ending of pictures or FITS (`image_file`), in upper or lower case. Hidden files
and folders, and those of operating systems (`__MACOSX`, `Thumbs.db`), are ignored; all other files are counted by their
endings. Symbolic links are followed, to each folder once; a broken link with the name of an image counts as an image,
so that an error names it.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from galaxy_exp.data.image_file import has_image_name
from galaxy_exp.errors import DataError

__all__ = [
    "EXPECTED_ENDINGS",
    "Listing",
    "describe_endings",
    "list_images",
    "list_subfolders",
    "lost_links",
    "no_images",
    "refuse_address",
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
    """Number of other files by lower-case ending; "" without an ending."""


def list_images(folder: Path, deep: bool = False) -> Listing:
    """The files of `folder` and, with `deep`, of all folders in it.

    Raises:
        OSError: a folder cannot be read.
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
    """The error for a folder without images."""
    others = f"; found {describe_endings(found.others)}" if found.others else ""
    return DataError(f"{folder}: holds no images; expected files ending in {EXPECTED_ENDINGS}{others}")


def list_subfolders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, sorted, without hidden ones and those of operating systems."""
    return sorted(Path(entry) for entry in _entries(folder) if _is_folder(entry))


def lost_links(folder: Path) -> list[Path]:
    """The links directly in `folder` that lead nowhere and have no ending, as folders have none; sorted."""
    links = sorted(Path(entry) for entry in _entries(folder) if entry.is_symlink())
    return [link for link in links if not link.suffix and not link.exists()]


def report_others(source: Path, others: Counter[str]) -> None:
    """Logs one warning with the number of skipped files by ending, if any."""
    if others:
        _LOG.warning("%s: skipped %s", source, describe_endings(others))


def describe_endings(others: Counter[str]) -> str:
    """`3 .txt, 1 .pdf, 1 without an ending`: the most frequent endings first, at most `_MAX_ENDINGS`."""
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {ending or 'without an ending'}" for ending, count in ranked[:_MAX_ENDINGS]]
    rest = sum(count for _, count in ranked[_MAX_ENDINGS:])
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (each for each in entries if not each.name.startswith(".") and each.name.lower() not in _LEFT_BEHIND)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return Path(entry).is_dir() if entry.is_symlink() else entry.is_dir()


def _walk(folder: Path, deep: bool) -> Iterator[os.DirEntry[str]]:
    """All files, each folder once, by a path without links if possible.

    A link to a folder that contains the link is not followed.
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


def refuse_address(text: str) -> None:
    """Raises `DataError` for an address such as https://..., also as a path, which has lost one of its slashes."""
    if found := re.fullmatch(r"([a-z][a-z0-9+.-]+):/+([^/].*)", text, re.IGNORECASE):  # not C:/
        whole = f"{found[1]}://{found[2]}"
        raise DataError(f"{whole}: is an address; expected a file on this machine: download it first")
