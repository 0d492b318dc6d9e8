"""The registered versions: listing them, and moving the champion alias by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from galaxy_exp.errors import ModelError
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.openings import find_openers, find_openers_in_store, record_opening
from galaxy_exp.registry.promotion import (
    Candidate,
    PromotionDecision,
    crown,
    decide_promotion,
    describe_decision,
    find_champion,
    find_holder,
    load_candidate,
    read_decision,
    read_history,
    remember_champion,
    write_evidence,
)
from galaxy_exp.tracking.store import open_existing_client, tracking_errors, uri_option
from galaxy_exp.wording import iso_time

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

__all__ = ["list_history", "list_models", "promote", "rollback", "show_model"]

BY_HAND = "by hand"
"""Value of the tag `galaxy_exp.promotion` of a version that a person promoted."""


def list_models(tracking_uri: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
    """Every registered version, by name, the newest version first.

    Args:
        tracking_uri: None takes MLflow's own default.
        name: only this registered model.

    Returns:
        Records with `name`, `version` (int), `aliases` (list), `test` (sealed test metrics by name), `created`
        (ISO 8601, UTC, seconds), `run_id`, `sweep_id`, `data_source`, `simulated`, `test_opening` (which opening of
        its test set its comparison was; None if it is not known), `promotion` and `reason` (empty where the version
        has no such tag).

    Raises:
        ModelError: the store does not exist.
        TrackingError: the store cannot be read.
    """
    client = open_existing_client(tracking_uri)
    with tracking_errors(tracking_uri):
        records = [
            _record(version, _aliases(model, version))
            for model in _registered_models(client)
            if name in (None, model.name)
            for version in _versions(client, model.name)
        ]
    return sorted(records, key=lambda record: (record["name"], -record["version"]))


def show_model(reference: str, tracking_uri: str | None = None) -> dict[str, Any]:
    """One version: what `list_models` says of it, all its `tags`, its `card` (Markdown), and the model's `history`.

    Args:
        reference: `NAME` (its champion), `NAME@ALIAS` or `NAME/VERSION`, with or without `models:/`.
        tracking_uri: None takes MLflow's own default.

    Raises:
        ModelError: there is no such version.
        TrackingError: the store cannot be read.
    """
    client = open_existing_client(tracking_uri)
    with tracking_errors(tracking_uri):
        name, number = _resolve(client, reference.removeprefix("models:/"))
        version = client.get_model_version(name, str(number))
        model = client.get_registered_model(name)
        return {
            **_record(version, _aliases(model, version)),
            "tags": dict(version.tags),
            "card": version.description or "",
            "history": read_history(client, name),
        }


def _resolve(client: MlflowClient, reference: str) -> tuple[str, int]:
    name, slash, number = reference.partition("/")
    if slash:
        if not number.isdecimal():
            raise ModelError(f"{reference!r} names no version; expected NAME, NAME@ALIAS or NAME/VERSION")
        _require_version(client, name, int(number))
        return name, int(number)
    name, _, alias = name.partition("@")
    holder = find_holder(client, name, alias or version_tags.CHAMPION)
    if holder is None:
        _require_version(client, name, None)
        raise ModelError(f"{name} has no version with the alias {alias or version_tags.CHAMPION!r}")
    return name, int(holder.version)


def list_history(name: str, tracking_uri: str | None = None) -> list[dict[str, Any]]:
    """Who was champion of a registered model, when and why, as `promotion.read_history` gives it.

    Raises:
        ModelError: there is no such model.
        TrackingError: the store cannot be read.
    """
    client = open_existing_client(tracking_uri)
    with tracking_errors(tracking_uri):
        _require_version(client, name, None)
        return read_history(client, name)


def promote(
    name: str, version: int, tracking_uri: str | None = None, *, force: bool = False, reason: str = ""
) -> int | None:
    """Makes a version the champion, if the promotion rules say so of it and the present champion, or by force.

    Args:
        name: of the registered model.
        version: of it.
        tracking_uri: None takes MLflow's own default.
        force: whatever the rules say; that, and what they say, is recorded.
        reason: the person's own, recorded as well.

    Returns:
        The version that was champion before; None if there was none or it is this one.

    Raises:
        ModelError: there is no such version, or the evidence is against it; has the numbers.
        TrackingError: the store cannot be read or written.
    """
    client = open_existing_client(tracking_uri, to_write=True)
    with tracking_errors(tracking_uri):
        _require_version(client, name, version)
        champion = find_champion(client, name)
        if champion is not None and champion.version == version:
            return None
        opening = _opening_by_hand(client, name, version, champion)
        decision = decide_promotion(load_candidate(client, name, version), champion, opening=opening)
        if not decision.promote and not force:
            command = f"galaxy-exp models promote {name} {version} --force{uri_option(tracking_uri)}"
            raise ModelError(
                f"{name} version {version} is not promoted: {decision.grounds}; to promote it all the same: {command}"
            )
        replaced = "" if champion is None else f" in place of version {champion.version}"
        given = f"; the reason given: {reason}" if reason else ""
        against = "" if decision.promote else ", against the evidence"
        recorded = f"promoted by hand{replaced}{against} ({decision.grounds}){given}"
        write_evidence(client, name, version, replace(decision, reason=recorded))  # before the alias moves
        previous = crown(client, name, version, recorded)
        describe_decision(client, name, version, BY_HAND, recorded)
        client.set_model_version_tag(name, str(version), version_tags.PROMOTION, BY_HAND)
    return previous


def _opening_by_hand(client: MlflowClient, name: str, version: int, champion: Candidate | None) -> int | None:
    """Which opening of its test set a comparison by hand counts as.

    The same comparison as before counts as it did then; another one, with a champion since then, is one more opening.
    """
    challenger = client.get_model_version(name, str(version))
    tags, earlier = challenger.tags, read_decision(client, name, version)
    if earlier is not None and champion is not None and earlier.against == champion.version:
        return earlier.opening
    digests = frozenset(tags[tag] for tag in (version_tags.TEST_DIGEST, version_tags.TEST_IMAGES) if tag in tags)
    if champion is None or not digests:
        return None
    project = ProjectFolder.default()
    if earlier is not None:
        other = client.get_model_version(name, str(champion.version))
        record_opening(project, digests, f"{_origin(challenger)} against {_origin(other)}")
    return len(find_openers(project, digests) | find_openers_in_store(client, digests))


def _origin(version: ModelVersion) -> str:
    """The run, which unlike the name of the model is another in each store."""
    return version.run_id or f"{version.name}/{version.version}"


def rollback(name: str, tracking_uri: str | None = None) -> int:
    """Gives the alias back to the version that the present champion replaced.

    Returns:
        The version that is champion now.

    Raises:
        ModelError: there is no champion, or none before it.
        TrackingError: the store cannot be read or written.
    """
    client = open_existing_client(tracking_uri, to_write=True)
    with tracking_errors(tracking_uri):
        champion = find_holder(client, name, version_tags.CHAMPION)
        if champion is None:
            raise ModelError(
                f"{name} has no champion to roll back; see: galaxy-exp models list{uri_option(tracking_uri)}"
            )
        previous = champion.tags.get(version_tags.PREVIOUS_CHAMPION)
        if previous is None:
            raise ModelError(f"{name} version {champion.version} is the first champion; there is none before it")
        _require_version(client, name, int(previous))
        recorded = f"rolled back from version {champion.version}"
        write_evidence(client, name, int(previous), PromotionDecision(True, recorded))  # before the alias moves
        client.set_registered_model_alias(name, version_tags.CHAMPION, previous)
        remember_champion(client, name, int(previous), int(champion.version), recorded)
        describe_decision(client, name, int(previous), BY_HAND, recorded)
        client.set_model_version_tag(name, previous, version_tags.PROMOTION, BY_HAND)
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
    return {
        "name": version.name,
        "version": int(version.version),
        "aliases": aliases,
        "test": version_tags.parse_test_tags(version.tags),
        "created": iso_time(version.creation_timestamp / 1000),
        "run_id": version.run_id or "",
        "sweep_id": version.tags.get(version_tags.SWEEP_ID, ""),
        "data_source": version.tags.get(version_tags.DATA_SOURCE, ""),
        "simulated": version.tags.get(version_tags.SIMULATED) == "true",
        "test_opening": int(version.tags.get(version_tags.PROMOTION_OPENING, 0)) or None,
        "promotion": version.tags.get(version_tags.PROMOTION, ""),
        "reason": version.tags.get(version_tags.PROMOTION_REASON, ""),
    }


def _require_version(client: MlflowClient, name: str, version: int | None) -> None:
    known = sorted(int(known.version) for known in _versions(client, name))
    if not known:
        raise ModelError(
            f'no model is called "{name}"; galaxy-exp models list{uri_option(client.tracking_uri)} shows them all'
        )
    if version is not None and version not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise ModelError(f"{name} has no version {version}; versions: {listed}")
