"""The registered versions in an MLflow store: finding, listing and showing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from galaxy_exp.errors import ModelError
from galaxy_exp.registry import version_tags
from galaxy_exp.tracking.store import open_existing_client, tracking_errors, uri_option
from galaxy_exp.wording import iso_time

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

__all__ = [
    "find_holder",
    "list_history",
    "list_models",
    "read_history",
    "require_version",
    "search_all",
    "show_model",
]


def list_models(tracking_uri: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
    """Every registered version, by name, the newest version first.

    Args:
        tracking_uri: None takes MLflow's own default.
        name: only this registered model.

    Returns:
        Records with `name`, `version` (int), `aliases` (list), `test` (metrics of the held-out test by name),
        `created` (ISO 8601, UTC, seconds), `run_id`, `sweep_id`, `data_source`, `simulated`, `test_opening` (which
        opening of its test set its comparison was; None if it is not known), `promotion` and `reason` (empty if the
        version has no such tag).

    Raises:
        ModelError: the store does not exist.
        TrackingError: the store cannot be read.
    """
    client = open_existing_client(tracking_uri)
    with tracking_errors(tracking_uri):
        records = [
            _record(version, model)
            for model in search_all(client.search_registered_models)
            if name in (None, model.name)
            for version in _versions(client, model.name)
        ]
    return sorted(records, key=lambda record: (record["name"], -record["version"]))


def show_model(reference: str, tracking_uri: str | None = None) -> dict[str, Any]:
    """One version: its record of `list_models`, all its `tags`, its `card` (Markdown), and the model's `history`.

    Args:
        reference: `NAME` (its champion), `NAME@ALIAS` or `NAME/VERSION`, with or without `models:/`.
        tracking_uri: None takes MLflow's own default.

    Raises:
        ModelError: there is no such version.
        TrackingError: the store cannot be read.
    """
    client = open_existing_client(tracking_uri)
    with tracking_errors(tracking_uri):
        version = _find_version(client, reference.removeprefix("models:/"))
        return {
            **_record(version, client.get_registered_model(version.name)),
            "tags": dict(version.tags),
            "card": version.description or "",
            "history": read_history(client, version.name),
        }


def list_history(name: str, tracking_uri: str | None = None) -> list[dict[str, Any]]:
    """As `read_history`, of a registered model that exists.

    Raises:
        ModelError: there is no such model.
        TrackingError: the store cannot be read.
    """
    client = open_existing_client(tracking_uri)
    with tracking_errors(tracking_uri):
        require_version(client, name, None)
        return read_history(client, name)


def read_history(client: MlflowClient, name: str) -> list[dict[str, Any]]:
    """Who was champion, the first one first: `version`, `time` (ISO 8601, UTC), `previous` version and `reason`.

    Champions of earlier releases of galaxy_exp, which kept no history, are not in it.
    """
    tags = client.get_registered_model(name).tags
    return [json.loads(value) for key, value in sorted(tags.items()) if key.startswith(version_tags.HISTORY)]


def find_holder(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version with an alias; None if the alias or the registered model does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def require_version(client: MlflowClient, name: str, version: int | None) -> None:
    """Checks that a registered model exists, and that it has a version.

    Raises:
        ModelError: it does not; lists the versions that it has.
    """
    known = sorted(int(known.version) for known in _versions(client, name))
    if not known:
        raise ModelError(
            f'no model is called "{name}"; galaxy-exp models list{uri_option(client.tracking_uri)} shows them all'
        )
    if version is not None and version not in known:
        raise ModelError(f"{name} has no version {version}; versions: {', '.join(map(str, known))}")


def search_all(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """The results on all pages of a search method of `MlflowClient`."""
    token = None
    while True:
        page = search(*arguments, page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return


def _find_version(client: MlflowClient, reference: str) -> ModelVersion:
    name, slash, number = reference.partition("/")
    if slash:
        if not number.isdecimal():
            raise ModelError(f"{reference!r} names no version; expected NAME, NAME@ALIAS or NAME/VERSION")
        require_version(client, name, int(number))
        return client.get_model_version(name, number)
    name, _, alias = name.partition("@")
    holder = find_holder(client, name, alias or version_tags.CHAMPION)
    if holder is None:
        require_version(client, name, None)
        raise ModelError(f"{name} has no version with the alias {alias or version_tags.CHAMPION!r}")
    return holder


def _versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    return search_all(client.search_model_versions, f"name = '{name}'")


def _record(version: ModelVersion, model: RegisteredModel) -> dict[str, Any]:
    tags = version.tags
    return {
        "name": version.name,
        "version": int(version.version),
        "aliases": sorted(alias for alias, holder in model.aliases.items() if int(holder) == int(version.version)),
        "test": version_tags.parse_test_tags(tags),
        "created": iso_time(version.creation_timestamp / 1000),
        "run_id": version.run_id or "",
        "sweep_id": tags.get(version_tags.SWEEP_ID, ""),
        "data_source": tags.get(version_tags.DATA_SOURCE, ""),
        "simulated": tags.get(version_tags.SIMULATED) == "true",
        "test_opening": int(tags.get(version_tags.PROMOTION_OPENING, 0)) or None,
        "promotion": tags.get(version_tags.PROMOTION, ""),
        "reason": tags.get(version_tags.PROMOTION_REASON, ""),
    }
