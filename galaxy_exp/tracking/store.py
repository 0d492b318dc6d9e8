"""Which MLflow store a project uses, and opening it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from galaxy_exp.errors import ModelError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["is_first_use", "open_client", "open_existing_client", "resolve_tracking_uri", "tracking_errors"]


def resolve_tracking_uri(configured: str | None) -> str:
    """The store to use: as configured, else MLflow's own choice (MLFLOW_TRACKING_URI, `sqlite:///mlflow.db`)."""
    if configured:
        return configured
    from mlflow import get_tracking_uri

    return str(get_tracking_uri())


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

    with tracking_errors(tracking_uri):
        return MlflowClient(tracking_uri=tracking_uri)


def open_existing_client(tracking_uri: str | None) -> MlflowClient:
    """As `open_client`, but a SQLite file that is not there is not created.

    Raises:
        ModelError: there is no such file; says how to make a model.
    """
    uri = resolve_tracking_uri(tracking_uri)
    path = _sqlite_path(uri)
    if path is not None and not path.exists():
        raise ModelError(f"no MLflow store at {uri}; make a model with: galaxy-exp sweep sweeps/quickstart.yaml")
    return open_client(uri)


@contextmanager
def tracking_errors(tracking_uri: str | None) -> Iterator[None]:
    """Turns the exceptions of MLflow and of its database into a one-line TrackingError that names the store."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise TrackingError(f"MLflow store {tracking_uri or '(default)'}: {lines[0]}") from error


def _sqlite_path(uri: str) -> Path | None:
    """The file behind a SQLite URI; None for other stores and for in-memory databases."""
    if not uri.startswith("sqlite:///"):
        return None
    name = unquote(uri.removeprefix("sqlite:///").split("?")[0])
    return Path(name) if name and name != ":memory:" else None
