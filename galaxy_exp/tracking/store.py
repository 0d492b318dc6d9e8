"""Opens MLflow stores."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from galaxy_exp.errors import HOW_TO_START, GalaxyExpError, ModelError, TrackingError, first_line
from galaxy_exp.folders import take_lock
from galaxy_exp.redaction import hide_in_address
from galaxy_exp.tracking import addresses
from galaxy_exp.tracking.calls import quiet_mlflow
from galaxy_exp.tracking.store_check import refuse_unusable
from galaxy_exp.wording import Say

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "check_store_exists",
    "open_client",
    "open_existing_client",
    "tracking_errors",
]

_LOG = logging.getLogger(__name__)
_UNFINISHED = ".unfinished"


def open_client(tracking_uri: str | None, *, to_write: bool = True, say: Say = lambda _: None) -> MlflowClient:
    """A client of the store; None uses MLflow's choice (MLFLOW_TRACKING_URI, else sqlite:///mlflow.db).

    Args:
        to_write: False accepts a database that this user may only read, such as a colleague's.
        say: called with a line before MLflow migrates the database; `check_store` has the same.

    Raises:
        TrackingError: the store cannot be opened; UnusableStoreError if it never can be.
    """
    uri = addresses.whole_address(addresses.resolve_tracking_uri(tracking_uri))
    refuse_unusable(uri, say, ask=False, to_write=to_write)
    from mlflow import MlflowClient

    with tracking_errors(tracking_uri), _handlers_kept():
        if addresses.is_first_use(uri):
            _create_database(uri)
        with _alone(uri):
            return MlflowClient(tracking_uri=addresses.openable(uri))


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Removes the handler that MLflow adds to Alembic's logger when it creates or migrates a database."""
    logger = logging.getLogger("alembic")
    handlers = list(logger.handlers)
    try:
        yield
    finally:
        logger.handlers[:] = handlers


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Locks a SQLite store, if its file system has locks: opening an older database migrates it."""
    path = addresses.sqlite_file(uri)
    if path is None or not os.access(path.parent, os.R_OK):
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            take_lock(folder, wait=True)
        yield
    finally:
        os.close(folder)


def open_existing_client(tracking_uri: str | None, *, to_write: bool = False) -> MlflowClient:
    """As `open_client`, but creates no SQLite file: a ModelError, as of `check_store_exists`.

    A migration of the database is logged as a warning before it is done.
    """
    uri = addresses.resolve_tracking_uri(tracking_uri)
    check_store_exists(uri)
    return open_client(uri, to_write=to_write, say=_LOG.warning)


def check_store_exists(uri: str) -> None:
    """Refuses a SQLite file that does not exist, which MLflow would create; other stores are not checked.

    Raises:
        ModelError: there is no such file; one line with the command that makes a model.
    """
    if addresses.is_first_use(uri):
        raise ModelError(f"no MLflow store at {uri}; make a model with: {HOW_TO_START}")


def _create_database(uri: str) -> None:
    """Creates a SQLite store by a temporary name, and renames it when it is complete.

    MLflow takes seconds for the tables, and a database whose creation was killed can never be opened.
    """
    from mlflow import MlflowClient

    path = addresses.sqlite_file(uri)
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*{_UNFINISHED}*"):  # with SQLite's journals beside it
        maker = left.name.removeprefix(f".{path.name}.").partition(_UNFINISHED)[0]
        if maker.isdecimal() and not psutil.pid_exists(int(maker)):
            left.unlink(missing_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")
    try:
        MlflowClient(tracking_uri=addresses.openable(addresses.spell(unfinished))).search_experiments(max_results=1)
        _give_name(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _give_name(file: Path, path: Path) -> None:
    """Moves the file to a path, unless another process has created that file meanwhile."""
    try:
        os.link(file, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            file.replace(path)


@contextmanager
def tracking_errors(tracking_uri: str | None) -> Iterator[None]:
    """Turns any error of MLflow, its database driver or its artifact store into a one-line TrackingError.

    MLflow prints little and waits briefly within the context; see `quiet_mlflow`.
    """
    try:
        with quiet_mlflow():
            yield
    except GalaxyExpError:
        raise
    except Exception as error:
        message = f"MLflow store {addresses.resolve_tracking_uri(tracking_uri)}: {first_line(error)}"
        raise TrackingError(hide_in_address(message)) from error  # MLflow itself names the whole URI
