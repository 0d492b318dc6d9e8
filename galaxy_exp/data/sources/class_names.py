"""Where the names of the classes come from.

In this order: `data.class_names` of the sweep file; a file `<data file>.classes.txt` beside the data, or
`classes.txt` in the same folder (inside it, when the data is a folder), one name a line, in label order;
an attribute `class_names` of the HDF5 file or of its labels; else "class 0", "class 1", ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxy_exp.data.array_file import LABEL_KEYS
from galaxy_exp.data.reasons import short_reason
from galaxy_exp.errors import DataError

__all__ = ["find_class_names", "read_attribute", "read_sidecar"]


def find_class_names(path: Path, configured: Sequence[str] | None, arrays: Any = None) -> tuple[str, ...] | None:
    """The first of the places above that says something; None when none does.

    Args:
        path: the data file or folder.
        configured: `data.class_names`.
        arrays: the open HDF5 file, for its attributes.

    Raises:
        DataError: a sidecar file that is empty or not text.
    """
    if configured is not None:
        return tuple(configured)
    return read_sidecar(path) or (read_attribute(arrays) if arrays is not None else None)


def read_sidecar(path: Path) -> tuple[str, ...] | None:
    """Class names from the text file beside `path`, or None without one."""
    path = path.resolve()  # "." has no name to append to
    folder = path if path.is_dir() else path.parent
    for sidecar in (path.with_name(f"{path.name}.classes.txt"), folder / "classes.txt"):
        if sidecar.is_file():
            return _read_names(sidecar)
    return None


def _read_names(sidecar: Path) -> tuple[str, ...]:
    try:
        lines = sidecar.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{sidecar}: cannot be read ({short_reason(error)}); expected UTF-8 text, one class name a line"
        ) from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise DataError(f"{sidecar}: is empty; expected one class name a line, in label order")
    return names


def read_attribute(arrays: Any) -> tuple[str, ...] | None:
    """The HDF5 attribute `class_names` of the file or of its labels, an array of strings; None without one."""
    holders = [arrays, *(arrays[key] for key in LABEL_KEYS if key in arrays)]
    for holder in holders:
        names = getattr(holder, "attrs", {}).get("class_names")
        if names is not None:
            return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
    return None
