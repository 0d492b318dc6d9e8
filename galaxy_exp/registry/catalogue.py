"""The registered versions: listing them, and moving the champion alias by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from galaxy_exp.errors import ModelError
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.promotion import crown, find_holder
from galaxy_exp.tracking.quiet import quiet_mlflow
from galaxy_exp.tracking.store import open_existing_client, tracking_errors, uri_option

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

__all__ = ["list_models", "promote", "rollback"]

BY_HAND = "by hand"
"""Value of the tag `galaxy_exp.promotion` of a version that a person promoted."""


def list_models(tracking_uri: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
    """Every registered version, by name, the newest version first.

    Args:
        tracking_uri: None takes MLflow's own default.
        name: only this registered model.

    Returns:
        Records with `name`, `version` (int), `aliases` (list), `test` (sealed test metrics by name), `created`
        (ISO 8601, UTC, seconds), `run_id`, `sweep_id`, `data_source`, `promotion` and `reason` (empty where
        the version has no such tag).

    Raises:
        ModelError: the store does not exist.
        TrackingError: the store cannot be read.
    """
    client = open_existing_client(tracking_uri)
    with quiet_mlflow(), tracking_errors(tracking_uri):
        records = [
            _record(version, _aliases(model, version))
            for model in _registered_models(client)
            if name in (None, model.name)
            for version in _versions(client, model.name)
        ]
    return sorted(records, key=lambda record: (record["name"], -record["version"]))


def promote(name: str, version: int, tracking_uri: str | None = None) -> int | None:
    """Makes a version the champion whatever the promotion rules say; its tags record that and whom it replaced.

    Returns:
        The version that was champion before; None if there was none or it is this one.

    Raises:
        ModelError: there is no such version.
        TrackingError: the store cannot be read or written.
    """
    client = open_existing_client(tracking_uri)
    with quiet_mlflow(), tracking_errors(tracking_uri):
        _require_version(client, name, version)
        previous = crown(client, name, version)
        replaced = "" if previous is None else f" in place of version {previous}"
        _tag(client, name, version, version_tags.PROMOTION_REASON, f"promoted by hand{replaced}")
        _tag(client, name, version, version_tags.PROMOTION, BY_HAND)
    return previous


def rollback(name: str, tracking_uri: str | None = None) -> int:
    """Gives the alias back to the version that the present champion replaced.

    Returns:
        The version that is champion now.

    Raises:
        ModelError: there is no champion, or none before it.
        TrackingError: the store cannot be read or written.
    """
    client = open_existing_client(tracking_uri)
    with quiet_mlflow(), tracking_errors(tracking_uri):
        champion = find_holder(client, name, version_tags.CHAMPION)
        if champion is None:
            raise ModelError(
                f"{name} has no champion to roll back; see: galaxy-exp models list{uri_option(tracking_uri)}"
            )
        previous = champion.tags.get(version_tags.PREVIOUS_CHAMPION)
        if previous is None:
            raise ModelError(f"{name} version {champion.version} is the first champion; there is none before it")
        _require_version(client, name, int(previous))
        client.set_registered_model_alias(name, version_tags.CHAMPION, previous)
        _tag(client, name, int(previous), version_tags.PROMOTION_REASON, f"rolled back from version {champion.version}")
        _tag(client, name, int(previous), version_tags.PROMOTION, BY_HAND)
    return int(previous)


def _registered_models(client: MlflowClient) -> Iterator[RegisteredModel]:
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _aliases(model: RegisteredModel, version: ModelVersion) -> list[str]:
    return sorted(alias for alias, holder in model.aliases.items() if int(holder) == int(version.version))


def _record(version: ModelVersion, aliases: list[str]) -> dict[str, Any]:
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC)
    return {
        "name": version.name,
        "version": int(version.version),
        "aliases": aliases,
        "test": version_tags.parse_test_tags(version.tags),
        "created": created.isoformat(timespec="seconds"),
        "run_id": version.run_id or "",
        "sweep_id": version.tags.get(version_tags.SWEEP_ID, ""),
        "data_source": version.tags.get(version_tags.DATA_SOURCE, ""),
        "promotion": version.tags.get(version_tags.PROMOTION, ""),
        "reason": version.tags.get(version_tags.PROMOTION_REASON, ""),
    }


def _require_version(client: MlflowClient, name: str, version: int) -> None:
    known = sorted(int(known.version) for known in _versions(client, name))
    if not known:
        raise ModelError(
            f'no model is called "{name}"; galaxy-exp models list{uri_option(client.tracking_uri)} shows them all'
        )
    if version not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise ModelError(f"{name} has no version {version}; versions: {listed}")


def _list_command(client: MlflowClient) -> str:
    return f"galaxy-exp models list{uri_option(client.tracking_uri)}"


def _tag(client: MlflowClient, name: str, version: int, tag: str, value: str) -> None:
    client.set_model_version_tag(name, str(version), tag, value)
