"""The model registry of a local SQLite store, read without importing MLflow, which takes over a second.

It only reads; all that is written goes through MLflow. A store whose tables are not as expected is left to MLflow too.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from galaxy_exp.tracking.addresses import resolve_tracking_uri, sqlite_file

__all__ = ["RegistryFile", "StoredModel", "StoredVersion", "open_registry_file", "query_name"]

_OTHER_PLACES = ("MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES")
"""Variables with which MLflow's registry is elsewhere, or has parts."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A registered version; the names are those of MLflow's `ModelVersion`."""

    name: str
    version: int
    creation_timestamp: int
    """Milliseconds since 1970."""
    description: str | None
    run_id: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A registered model; the names are those of MLflow's `RegisteredModel`."""

    name: str
    aliases: Mapping[str, int]
    tags: Mapping[str, str]


class _Page(list[Any]):
    """Results as MLflow's client gives them: all on the first page."""

    token = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RegistryFile:
    """The methods of `MlflowClient` that list and show registered versions."""

    tracking_uri: str
    models: Sequence[StoredModel]
    versions: Sequence[StoredVersion]

    def search_registered_models(self, filter_string: str = "", page_token: None = None) -> _Page:
        """The models by name; all of them, or that of `query_name`."""
        return _Page(model for model in self.models if filter_string in ("", query_name(model.name)))

    def search_model_versions(self, filter_string: str, page_token: None = None) -> _Page:
        """The versions of the model of `query_name`, newest first."""
        return _Page(version for version in self.versions if filter_string == query_name(version.name))

    def get_model_version(self, name: str, version: str) -> StoredVersion:
        """A version that exists."""
        return next(each for each in self.versions if (each.name, str(each.version)) == (name, version))


def query_name(name: str) -> str:
    """The filter, as MLflow's client takes it, of the registered model with this name, or of its versions."""
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def open_registry_file(tracking_uri: str | None) -> RegistryFile | None:
    """The registry of a SQLite store; None for other stores, and where only MLflow can say what is in it.

    Args:
        tracking_uri: None takes MLflow's own default.
    """
    uri = resolve_tracking_uri(tracking_uri)
    path = sqlite_file(uri)
    if path is None or "?" in uri or any(os.environ.get(name) for name in _OTHER_PLACES):
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return _read(database, uri)
    except sqlite3.Error:
        return None  # MLflow's client reports what is wrong


def _read(database: sqlite3.Connection, uri: str) -> RegistryFile | None:
    workspaces = "SELECT DISTINCT workspace FROM registered_models"
    if any(row != ("default",) for row in database.execute(workspaces)):
        return None
    model_tags = _by_owner(database, "SELECT name, key, value FROM registered_model_tags")
    aliases = _by_owner(database, "SELECT name, alias, version FROM registered_model_aliases")
    tags = _by_owner(database, "SELECT name, version, key, value FROM model_version_tags")
    names = database.execute("SELECT name FROM registered_models ORDER BY name")
    models = [StoredModel(name, aliases[name,], model_tags[name,]) for (name,) in names]
    rows = database.execute(  # MLflow keeps the row of a deleted version
        "SELECT name, version, creation_time, description, run_id FROM model_versions "
        "WHERE current_stage != 'Deleted_Internal' ORDER BY name, version DESC"
    )
    versions = [
        StoredVersion(name, version, created, description, run_id, tags[name, version])
        for name, version, created, description, run_id in rows
    ]
    return RegistryFile(uri, models, versions)


def _by_owner(database: sqlite3.Connection, query: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The last two columns as keys and values, by the columns before them."""
    found: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(dict)
    for *owner, key, value in database.execute(query):
        found[tuple(owner)][key] = value
    return found
