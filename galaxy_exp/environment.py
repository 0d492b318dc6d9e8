"""The Python environment of this process: versions of packages, and the folders of the user's own modules."""

from __future__ import annotations

import importlib.metadata
import platform
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path

__all__ = [
    "add_import_paths",
    "describe_software",
    "importing",
    "is_installed",
    "user_import_paths",
    "what_is_imported",
]

_imported: ContextVar[str] = ContextVar("_imported", default="")
"""What is being imported for a sweep; empty outside `importing`."""

_PACKAGES = (
    "galaxy-exp", "keras", "keras-tuner", "tensorflow", "jax", "mlflow", "optuna", "dask", "astropy", "scipy", "numpy",
    "astroNN",
)  # fmt: skip


def describe_software() -> dict[str, str]:
    """Versions of Python and of the main packages, and the git commit of the current folder if it has one."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _git_commit()
    return versions | ({"git_commit": commit} if commit else {})


def _git_commit() -> str | None:
    """None outside a repository or without git."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


@contextmanager
def importing(name: str) -> Iterator[None]:
    """While a user's module is imported for a sweep; what it prints goes to stderr, and not into JSON output."""
    token = _imported.set(name)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _imported.reset(token)


def what_is_imported() -> str:
    """The name that `importing` was given; empty outside of it."""
    return _imported.get()


def is_installed(file: Path) -> bool:
    """Whether a module's file is part of the Python installation, and not a user's own."""
    return not _installation().isdisjoint(file.resolve().parents)


def _installation() -> set[Path]:
    folders = map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
    return {Path(each).resolve() for each in (*folders, site.getusersitepackages())}


def user_import_paths() -> list[str]:
    """The folders on `sys.path` that are not part of the Python installation, absolute, in their order."""
    folders = [Path(entry or ".").resolve() for entry in sys.path]
    installed = _installation()
    found = [folder for folder in folders if folder.is_dir() and not installed & {folder, *folder.parents}]
    return list(dict.fromkeys(map(str, found)))


def add_import_paths(paths: Iterable[str]) -> None:
    """Appends the folders that are not on `sys.path` yet."""
    known = {str(Path(entry or ".").resolve()) for entry in sys.path}
    sys.path.extend(path for path in paths if path not in known)
