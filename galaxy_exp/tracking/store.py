"""Which MLflow store a project uses, and opening it."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import psutil

from galaxy_exp.errors import GalaxyExpError, ModelError, TrackingError, first_line
from galaxy_exp.redaction import HIDDEN, hide_in_address
from galaxy_exp.tracking.quiet import quiet_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "check_store_exists",
    "hide_in_address",
    "is_first_use",
    "open_client",
    "open_existing_client",
    "remember_address",
    "resolve_tracking_uri",
    "tracking_errors",
    "uri_option",
    "whole_address",
]

_WHOLE: dict[str, str] = {}
"""Addresses by what they are without their password; of this process alone, and nowhere else."""

_HTTP_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own defaults wait four minutes for a dead server, and 16 for one that hangs, and a worker waits with them.

With these it is half a minute at most for a request; the user's own are kept.
"""


_UNFINISHED = ".unfinished"


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
    return None if old_runs else f"sqlite:///{quote(str(Path('mlflow.db').absolute()))}"


def _mlflow_release() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version("mlflow"))[:2]))


def _ask_mlflow() -> str:
    from mlflow import get_tracking_uri

    return str(get_tracking_uri())


def remember_address(uri: str) -> str:
    """The address as the journal has it, without a password; from then on `whole_address` knows the rest."""
    hidden = hide_in_address(uri)
    if hidden != uri:
        _WHOLE[hidden] = uri
    return hidden


def whole_address(uri: str) -> str:
    """The address with the password that the journal does not have.

    It is what this process began with (`remember_address`), or MLFLOW_TRACKING_URI if that is the same but for it.

    Raises:
        TrackingError: the password is nowhere to be found; says where it is looked for.
    """
    if uri in _WHOLE:
        return _WHOLE[uri]
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
    path = _sqlite_path(uri)
    return path is not None and not path.exists()


def open_client(tracking_uri: str | None) -> MlflowClient:
    """A client of the store; None takes MLflow's own choice (MLFLOW_TRACKING_URI, else sqlite:///mlflow.db).

    Raises:
        TrackingError: the store cannot be opened.
    """
    from mlflow import MlflowClient

    for name, value in _HTTP_PATIENCE.items():
        os.environ.setdefault(name, value)
    uri = whole_address(tracking_uri) if tracking_uri else resolve_tracking_uri(None)
    with tracking_errors(tracking_uri):
        if is_first_use(uri):
            _create_database(uri)
        return MlflowClient(tracking_uri=uri if tracking_uri else None)


def open_existing_client(tracking_uri: str | None) -> MlflowClient:
    """As `open_client`, but a SQLite file that is not there is not created.

    Raises:
        ModelError: there is no such file; says how to make a model.
    """
    uri = resolve_tracking_uri(tracking_uri)
    check_store_exists(uri)
    return open_client(uri)


def check_store_exists(uri: str) -> None:
    """Refuses a SQLite file that is not there, which MLflow would create; other stores are not looked at.

    Raises:
        ModelError: there is no such file; says how to make a model.
    """
    path = _sqlite_path(uri)
    if path is not None and not path.exists():
        raise ModelError(f"no MLflow store at {uri}; make a model with: galaxy-exp sweep sweeps/quickstart.yaml")


def _create_database(uri: str) -> None:
    """Makes a SQLite store under another name and gives it its own when it is whole.

    MLflow takes seconds for the tables, and what a process leaves that is killed meanwhile can never be opened again.
    """
    from mlflow import MlflowClient

    path = _sqlite_path(uri)
    assert path is not None
    for left in path.parent.glob(f".{path.name}.*{_UNFINISHED}*"):  # SQLite's own journal beside it, too
        maker = left.name.removeprefix(f".{path.name}.").partition(_UNFINISHED)[0]
        if maker.isdecimal() and not psutil.pid_exists(int(maker)):
            left.unlink(missing_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")
    folder = uri.split("?")[0].rpartition("/")[0]
    try:
        with quiet_mlflow():
            MlflowClient(tracking_uri=f"{folder}/{unfinished.name}").search_experiments(max_results=1)
        _give_name(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _give_name(file: Path, path: Path) -> None:
    """Moves the file to a path where nothing is; what another process put there meanwhile stays."""
    try:
        os.link(file, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            file.replace(path)


@contextmanager
def tracking_errors(tracking_uri: str | None) -> Iterator[None]:
    """Turns whatever MLflow, its database driver or its artifact store raise into a one-line TrackingError."""
    try:
        yield
    except GalaxyExpError:
        raise
    except Exception as error:
        message = f"MLflow store {tracking_uri or '(default)'}: {first_line(error)}"
        raise TrackingError(hide_in_address(message)) from error  # MLflow itself names the whole URI


def _absolute(uri: str) -> str:
    path = _sqlite_path(uri)
    if path is None or path.is_absolute():
        return uri
    return f"sqlite:///{path.resolve()}" + uri[len(uri.split("?")[0]) :]


def _sqlite_path(uri: str) -> Path | None:
    """The file behind a SQLite URI; None for other stores and for in-memory databases."""
    if not uri.startswith("sqlite:///"):
        return None
    name = unquote(uri.removeprefix("sqlite:///").split("?")[0])
    return Path(name) if name and name != ":memory:" else None
