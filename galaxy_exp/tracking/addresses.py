"""The addresses of MLflow stores: which one a project uses, and in which spelling MLflow can open it."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote

from galaxy_exp.errors import TrackingError
from galaxy_exp.redaction import HIDDEN, hide_in_address, known_address

__all__ = [
    "is_first_use",
    "openable",
    "resolve_tracking_uri",
    "spell",
    "sqlite_file",
    "uri_option",
    "whole_address",
]

_LINKS: dict[Path, Path] = {}
"""Symbolic links of this process to folders whose names MLflow cannot open, by folder."""

_MISREAD = re.compile(r"%(?=[0-9A-Fa-f]{2})|\?")
"""The characters to percent-encode in the path of a SQLite URI, and no others: MLflow creates the folder as it is
spelled, so it would create `my%20work` beside `my work`."""


def resolve_tracking_uri(configured: str | None) -> str:
    """The store to use: as configured, else MLflow's own choice (MLFLOW_TRACKING_URI, `sqlite:///mlflow.db`).

    The path of a SQLite store is absolute, so that a sweep resumed from another folder finds the same store.
    """
    uri = configured or _guess_tracking_uri()
    if uri is None:
        from mlflow import get_tracking_uri

        uri = str(get_tracking_uri())
    path = sqlite_file(uri)
    if path is None:
        return uri
    return spell(path.resolve() if path.parent in _LINKS.values() else path.absolute(), uri)


def _guess_tracking_uri() -> str | None:
    """MLflow's choice, without the second that importing it takes; None if it cannot be predicted.

    That is the argument of `set_tracking_uri`, else the environment variable, else `sqlite:///mlflow.db`, unless a
    release before 3.7 left runs in `./mlruns`.
    """
    if "mlflow" in sys.modules:
        return None
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    return None if any(Path("mlruns").glob("*/meta.yaml")) else "sqlite:///mlflow.db"


def whole_address(uri: str) -> str:
    """The address with its password, from `remember_address` or MLFLOW_TRACKING_URI, as the journal does not have it.

    Raises:
        TrackingError: the password is in neither.
    """
    if (known := known_address(uri)) is not None:
        return known
    if f"{HIDDEN}@" not in uri and f"={HIDDEN}" not in uri:
        return uri
    variable = os.environ.get("MLFLOW_TRACKING_URI", "")
    if hide_in_address(variable) == uri:
        return variable
    raise TrackingError(
        f"MLflow store {uri}: its password is not in the journal; set MLFLOW_TRACKING_URI to the whole address"
    )


def uri_option(uri: str | None) -> str:
    """The option for a command in a message: ` --uri URI` without its password, or nothing for the default store."""
    shown = hide_in_address(resolve_tracking_uri(uri))
    return "" if shown == hide_in_address(resolve_tracking_uri(None)) else f" --uri {shlex.quote(shown)}"


def is_first_use(uri: str) -> bool:
    """Whether opening the store will create a database (about ten seconds)."""
    path = sqlite_file(uri)
    return path is not None and not os.path.lexists(path)


def spell(path: Path, like: str = "") -> str:
    """The SQLite URI of a file, with the query of another."""
    return "sqlite:///" + _MISREAD.sub(lambda found: quote(found[0]), str(path)) + like[len(like.split("?")[0]) :]


def openable(uri: str) -> str:
    """The URI by which MLflow finds the file, whatever the name of its folder.

    If need be, it leads through a link in the folder for temporary files, which is removed when the process ends.
    """
    path = sqlite_file(uri)
    if path is None or not _MISREAD.search(str(path.parent)):
        return uri
    if path.parent not in _LINKS:
        holder = tempfile.mkdtemp(prefix="galaxy-exp-")
        atexit.register(shutil.rmtree, holder, ignore_errors=True)
        link = Path(holder, "store")
        link.symlink_to(path.parent, target_is_directory=True)
        _LINKS[path.parent] = link
    return spell(_LINKS[path.parent] / path.name, uri)


def sqlite_file(uri: str) -> Path | None:
    """The file behind a SQLite URI; None for other stores and for in-memory databases."""
    matched = re.match(r"sqlite(?:\+\w+)?:///([^?]*)", uri)
    if matched is None or matched[1] in ("", ":memory:") or matched[1].startswith("file:"):
        return None
    spelled, decoded = Path(matched[1]), Path(unquote(matched[1]))
    # SQLAlchemy before 2.1 did not decode the name
    return spelled if os.access(spelled, os.F_OK) and not os.access(decoded, os.F_OK) else decoded
