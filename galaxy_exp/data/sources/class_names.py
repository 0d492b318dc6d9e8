"""Finds the names of the classes.

The first of these that exists: `data.class_names` of the sweep file; a sidecar file `<data file>.classes.txt` beside
the data, or `classes.txt` in the same folder (in the folder itself, if the data is a folder), one name a line in label
order, where lines that begin with # are comments; the attribute `class_names` of an HDF5 file or of its labels; "class
0", "class 1", ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from galaxy_exp.errors import DataError, short_reason

__all__ = ["find_class_names", "find_sidecar"]


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
