"""Which MLflow store a project uses."""

from __future__ import annotations

from galaxy_exp.registry.store import _sqlite_path, open_client, tracking_errors

__all__ = ["is_first_use", "open_client", "resolve_tracking_uri", "tracking_errors"]


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
