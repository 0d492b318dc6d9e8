"""The addresses of MLflow stores: which one a project uses, and how MLflow has to be told of it."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import sys
import tempfile
from importlib.metadata import version
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
"""Links of this process to folders that MLflow cannot be given by their own names, by folder."""

_MISREAD = re.compile(r"%(?=[0-9A-Fa-f]{2})|\?")
"""What has to be percent-encoded in the path of a SQLite URI, and nothing else: MLflow makes the folder of the path as
it is spelled, so that `my%20work` would be made beside `my work`."""


def resolve_tracking_uri(configured: str | None) -> str:
    """The store to use: as configured, else MLflow's own choice (MLFLOW_TRACKING_URI, `sqlite:///mlflow.db`).

    The file of a SQLite store is given by its absolute path, so that a sweep resumed from elsewhere finds the same.
    """
    return _absolute(configured or _guess_tracking_uri() or _ask_mlflow())


def _guess_tracking_uri() -> str | None:
    """MLflow's own choice where it is plain, without the second that importing it takes; None where it is not.

    MLflow from 3.7 on takes what its `set_tracking_uri` was told, else the environment variable, else
    `sqlite:///mlflow.db`, unless an older release left runs in `./mlruns`; before 3.7 it took `./mlruns`.
    """
    if "mlflow" in sys.modules or _mlflow_release() < (3, 7):
        return None
    if own := os.environ.get("MLFLOW_TRACKING_URI"):
        return own
    old_runs = any(Path("mlruns").glob("*/meta.yaml"))
    return None if old_runs else "sqlite:///mlflow.db"


def _mlflow_release() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version("mlflow"))[:2]))


def _ask_mlflow() -> str:
    from mlflow import get_tracking_uri

    return str(get_tracking_uri())


def whole_address(uri: str) -> str:
    """The address with the password that the journal does not have.

    It is what this process began with (`remember_address`), or MLFLOW_TRACKING_URI if that is the same but for it.

    Raises:
        TrackingError: the password is nowhere to be found; says where it is looked for.
    """
    if (known := known_address(uri)) is not None:
        return known
    if f"{HIDDEN}@" not in uri and f"={HIDDEN}" not in uri:
        return uri
    own = os.environ.get("MLFLOW_TRACKING_URI", "")
    if hide_in_address(own) == uri:
        return own
    raise TrackingError(
        f"MLflow store {uri}: its password is not in the journal; set MLFLOW_TRACKING_URI to the whole address"
    )


def uri_option(uri: str | None) -> str:
    """What a command in a hint needs to reach this store: ` --uri URI` without its password, nothing for the usual."""
    shown = hide_in_address(resolve_tracking_uri(uri))
    return "" if shown == hide_in_address(resolve_tracking_uri(None)) else f" --uri {shlex.quote(shown)}"


def is_first_use(uri: str) -> bool:
    """Whether opening the store will create a database, which takes MLflow about ten seconds."""
    path = sqlite_file(uri)
    return path is not None and not os.path.lexists(path)


def _absolute(uri: str) -> str:
    path = sqlite_file(uri)
    if path is None:
        return uri
    path = path.resolve() if path.parent in _LINKS.values() else path.absolute()
    return spell(path, uri)


def spell(path: Path, like: str = "") -> str:
    """The SQLite URI of a file, with the query of another."""
    return "sqlite:///" + _MISREAD.sub(lambda found: quote(found[0]), str(path)) + like[len(like.split("?")[0]) :]


def openable(uri: str) -> str:
    """The URI by which MLflow finds the file, whatever its folder is called: through a link if there is no other way.

    The link is in the folder for temporary files, and is removed with the process.
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
    # before SQLAlchemy 2.1 the name was not decoded
    return spelled if os.access(spelled, os.F_OK) and not os.access(decoded, os.F_OK) else decoded
