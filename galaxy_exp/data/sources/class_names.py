"""Finds the names of the classes.

The first of these that exists: `data.class_names` of the sweep file; a sidecar file `<data file>.classes.txt` beside
the data, or `classes.txt` in the same folder (in the folder itself, if the data is a folder), one name a line in label
order, where lines that begin with # are comments; the attribute `class_names` of an HDF5 file or of its labels; "class
0", "class 1", ...
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from galaxy_exp.errors import DataError, short_reason

__all__ = ["find_class_names", "find_sidecar", "normalise_name", "order_subfolders"]

_LOG = logging.getLogger(__name__)


def find_class_names(path: Path, configured: Sequence[str] | None) -> tuple[str, ...] | None:
    """The configured names, else those of a sidecar file; None without either.

    Args:
        path: the data file or folder.
        configured: `data.class_names`.

    Raises:
        DataError: the sidecar file is empty, not text, or names a class twice.
    """
    if configured is not None:
        return tuple(configured)
    sidecar = find_sidecar(path)
    return None if sidecar is None else _read_names(sidecar)


def order_subfolders(
    folder: Path, found: Sequence[str], configured: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the classes in label order, and the subfolder of each.

    Names of the subfolders define the order. Other names replace those of the subfolders in alphabetical order, but
    only if that cannot be a mistake: for `data.class_names`, or if the subfolders are numbers. This is logged.

    Args:
        folder: the folder of the data.
        found: names of the subfolders in alphabetical order.
        configured: `data.class_names`.

    Raises:
        DataError: the names match only some subfolders, are more or fewer, or their order is not certain.
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


def normalise_name(name: str) -> str:
    """The name with accents in one encoding, as macOS encodes them in another way than other systems."""
    return unicodedata.normalize("NFC", name)


def find_sidecar(path: Path) -> Path | None:
    """The text file with class names beside `path`, or in it if it is a folder; None without one."""
    path = path.resolve()  # "." has no name to append to
    folder = path if path.is_dir() else path.parent
    candidates = (path.with_name(f"{path.name}.classes.txt"), folder / "classes.txt")
    return next((sidecar for sidecar in candidates if sidecar.is_file()), None)


def _read_names(sidecar: Path) -> tuple[str, ...]:
    try:
        lines = sidecar.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{sidecar}: cannot be read ({short_reason(error)}); expected UTF-8 text, one class name a line"
        ) from None
    names = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not names:
        raise DataError(f"{sidecar}: is empty; expected one class name a line, in label order")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{sidecar}: names {twice!r} twice; expected each class once, a name a line")
    return names
