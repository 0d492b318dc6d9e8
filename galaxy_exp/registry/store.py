"""Opening the MLflow store that holds runs and registered models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from galaxy_exp.errors import ModelError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["open_client", "open_existing_client", "tracking_errors"]


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
    from mlflow import get_tracking_uri

    uri = tracking_uri or str(get_tracking_uri())
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
