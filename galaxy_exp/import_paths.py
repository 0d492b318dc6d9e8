"""Where the user's own modules lie, so that another process finds them too."""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

__all__ = ["add_import_paths", "own_import_paths"]


def own_import_paths() -> list[str]:
    """The folders on `sys.path` that are not part of the Python installation, absolute, in their order."""
    folders = [Path(entry or ".").resolve() for entry in sys.path]
    installed = _installation()
    own = [folder for folder in folders if folder.is_dir() and not installed & {folder, *folder.parents}]
    return list(dict.fromkeys(map(str, own)))


def add_import_paths(paths: Iterable[str]) -> None:
    """Appends those that are not on `sys.path` yet; what was there before goes first."""
    known = {str(Path(entry or ".").resolve()) for entry in sys.path}
    sys.path.extend(path for path in paths if path not in known)


def _installation() -> set[Path]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return {Path(sysconfig.get_path(name)).resolve() for name in names} | {Path(site.getusersitepackages()).resolve()}
