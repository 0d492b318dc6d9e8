"""Which software a sweep ran with."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess

__all__ = ["describe_software"]

_PACKAGES = (
    "galaxy-exp", "keras", "keras-tuner", "tensorflow", "jax", "mlflow", "optuna", "dask", "astropy", "scipy", "numpy",
    "astroNN",
)  # fmt: skip


def describe_software() -> dict[str, str]:
    """Versions of Python and of the packages that matter, and the git commit of the current folder if it has one."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _git_commit()
    return versions | ({"git_commit": commit} if commit else {})


def _git_commit() -> str | None:
    """The commit of the current folder; None outside a repository or without git."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
