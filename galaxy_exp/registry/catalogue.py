"""The registered versions in an MLflow store: finding, listing and showing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from galaxy_exp.errors import ModelError
from galaxy_exp.registry import version_tags
from galaxy_exp.tracking.addresses import resolve_tracking_uri, uri_option
from galaxy_exp.tracking.registry_file import RegistryFile, open_registry_file, query_name
from galaxy_exp.tracking.store import check_store_exists, open_existing_client, tracking_errors
from galaxy_exp.wording import iso_time

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from galaxy_exp.tracking.registry_file import StoredModel, StoredVersion

__all__ = [
    "find_holder",
    "list_history",
    "list_models",
    "parse_reference",
    "read_history",
    "require_version",
    "search_all",
    "show_model",
]

_ENTRY = ("version", "time", "previous", "reason")
"""Keys of an entry of the history."""


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
        ModelError: the store does not exist, or has no version of that name.
        TrackingError: the store cannot be read.
    """
    client = _open(tracking_uri)
    with tracking_errors(tracking_uri):
        if name is not None:
            require_version(client, name, None)
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
    client = _open(tracking_uri)
    with tracking_errors(tracking_uri):
        version, model = _find_version(client, reference.removeprefix("models:/"))
        return {
            **_record(version, model),
            "tags": dict(version.tags),
            "card": version.description or "",
            "history": _history(model),
        }


def list_history(name: str, tracking_uri: str | None = None) -> list[dict[str, Any]]:
    """As `read_history`, of a registered model that exists.

    Raises:
        ModelError: there is no such model.
        TrackingError: the store cannot be read.
    """
    client = _open(tracking_uri)
    with tracking_errors(tracking_uri):
        require_version(client, name, None)
        return read_history(client, name)


def _open(tracking_uri: str | None) -> MlflowClient | RegistryFile:
    """The registry for reading: without MLflow where its store is a file that can be read without it."""
    check_store_exists(resolve_tracking_uri(tracking_uri))
    return open_registry_file(tracking_uri) or open_existing_client(tracking_uri)


def read_history(client: MlflowClient | RegistryFile, name: str) -> list[dict[str, Any]]:
    """Who was champion, the first one first: `version`, `time` (ISO 8601, UTC), `previous` version and `reason`.

    Champions of earlier releases of galaxy_exp, which kept no history, are not in it.
    """
    return _history(_find_model(client, name))


def _history(model: RegisteredModel | StoredModel) -> list[dict[str, Any]]:
    tags = sorted(tag for tag in model.tags if tag.startswith(version_tags.HISTORY))
    expected = f"a JSON object with {', '.join(_ENTRY)}"
    found = [version_tags.read_tag(_parse_entry, model.tags, tag, model.name, expected) for tag in tags]
    return [entry for entry in found if entry is not None]


def _parse_entry(text: str) -> dict[str, Any]:
    entry = json.loads(text)
    if not isinstance(entry, dict) or not set(_ENTRY) <= entry.keys() or not isinstance(entry["version"], int):
        raise ValueError(text)
    return entry


def find_holder(client: MlflowClient, name: str, alias: str, number: int | None = None) -> ModelVersion | None:
    """The version with an alias, or with a number; None if it or the registered model does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        if number is not None:
            return client.get_model_version(name, str(number))
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def require_version(client: MlflowClient | RegistryFile, name: str, version: int | None) -> None:
    """Checks that a registered model exists, and that it has a version.

    Raises:
        ModelError: it does not; lists the versions that it has.
    """
    known = sorted(int(known.version) for known in _versions(client, name))
    if not known:
        command = f"galaxy-exp models list{uri_option(client.tracking_uri)}"
        raise ModelError(f'no version is registered as "{name}"; {command} shows them all')
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


def parse_reference(text: str, alias: str, expected: str) -> tuple[str, str, int | None]:
    """The name, the alias and any version in NAME, NAME@ALIAS or NAME/VERSION, also with `models:/` before it.

    `alias` is that of a plain name.

    Raises:
        ModelError: the version is no number; says what was expected.
    """
    name, slash, version = text.removeprefix("models:/").partition("/")
    if slash:
        if not version.isdecimal():
            raise ModelError(f"{text!r} names no version; expected {expected}")
        return name, alias, int(version)
    name, _, stated = name.partition("@")
    return name, stated or alias, None


def _find_version(
    client: MlflowClient | RegistryFile, reference: str
) -> tuple[ModelVersion | StoredVersion, RegisteredModel | StoredModel]:
    name, alias, number = parse_reference(reference, version_tags.CHAMPION, "NAME, NAME@ALIAS or NAME/VERSION")
    require_version(client, name, number)
    model = _find_model(client, name)
    if number is not None:
        return client.get_model_version(name, str(number)), model
    if alias not in model.aliases:
        known = ", ".join(f"{name}/{each}" for each in sorted(int(each.version) for each in _versions(client, name)))
        raise ModelError(f"{name} has no version with the alias {alias!r}; expected one of {known}")
    return client.get_model_version(name, str(model.aliases[alias])), model


def _find_model(client: MlflowClient | RegistryFile, name: str) -> RegisteredModel | StoredModel:
    """A registered model that exists."""
    found: RegisteredModel | StoredModel = next(search_all(client.search_registered_models, query_name(name)))
    return found


def _versions(client: MlflowClient | RegistryFile, name: str) -> Iterator[ModelVersion | StoredVersion]:
    return search_all(client.search_model_versions, query_name(name))


def _record(version: ModelVersion | StoredVersion, model: RegisteredModel | StoredModel) -> dict[str, Any]:
    tags, where = version.tags, f"{version.name} version {version.version}"
    return {
        "name": version.name,
        "version": int(version.version),
        "aliases": sorted(alias for alias, holder in model.aliases.items() if int(holder) == int(version.version)),
        "test": version_tags.parse_test_tags(tags, where),
        "created": iso_time(version.creation_timestamp / 1000),
        "run_id": version.run_id or "",
        "sweep_id": tags.get(version_tags.SWEEP_ID, ""),
        "data_source": tags.get(version_tags.DATA_SOURCE, ""),
        "simulated": tags.get(version_tags.SIMULATED) == "true",
        "test_opening": version_tags.read_tag(int, tags, version_tags.PROMOTION_OPENING, where) or None,
        "promotion": tags.get(version_tags.PROMOTION, ""),
        "reason": tags.get(version_tags.PROMOTION_REASON, ""),
    }
