"""Who is champion of a registered model: carrying out a decision, promoting by hand, rolling back, the history.

The numbers and the reason of a decision are written into the version's tags before the alias `champion` moves, so that
`read_decision` finds them whenever the version is champion, and what a killed process left can be completed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from galaxy_exp.errors import ModelError
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.catalogue import find_holder, read_history, require_version
from galaxy_exp.registry.held_out import find_openers, find_openers_in_store, record_opening
from galaxy_exp.registry.model_card import add_decision
from galaxy_exp.registry.promotion import Candidate, PromotionDecision, decide_promotion, find_champion, load_candidate
from galaxy_exp.tracking.addresses import uri_option
from galaxy_exp.tracking.store import open_existing_client, tracking_errors
from galaxy_exp.wording import iso_time

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["apply_promotion", "decide_against_champion", "promote", "read_decision", "rollback"]

_ROLLED_BACK = "rolled back from version"
_PROMOTED_BY_HAND = "promoted by hand"
PROMOTED, BY_HAND = "promoted", "by hand"
"""Values of the tag `galaxy_exp.promotion`, besides `challenger`."""

_NUMBERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "difference": (version_tags.PROMOTION_DIFFERENCE, float),
    "low": (version_tags.PROMOTION_LOW, float),
    "high": (version_tags.PROMOTION_HIGH, float),
    "p_value": (version_tags.PROMOTION_P, float),
    "opening": (version_tags.PROMOTION_OPENING, int),
    "against": (version_tags.PROMOTION_AGAINST, int),
}
"""The tag of each number of a decision, and the type that its text is parsed to."""


def apply_promotion(client: MlflowClient, name: str, version: int, decision: PromotionDecision) -> None:
    """Writes the decision and its numbers into the version's tags and sets the alias `champion` or `challenger`.

    The tag `galaxy_exp.promotion` is written last and a version that has it is left alone, so repeating the call after
    a crash completes it, and repeating it later does not undo a promotion made since.
    """
    if version_tags.PROMOTION in client.get_model_version(name, str(version)).tags:
        return
    _write_evidence(client, name, version, decision)
    if decision.promote:
        _make_champion(client, name, version, decision.reason)
    else:
        client.set_registered_model_alias(name, version_tags.CHALLENGER, str(version))
    outcome = PROMOTED if decision.promote else version_tags.CHALLENGER
    _close_decision(client, name, version, outcome, decision.grounds)


def read_decision(client: MlflowClient, name: str, version: int) -> PromotionDecision | None:
    """The decision that an earlier call of `apply_promotion` or a person carried out, from the version's tags.

    None if there was none, or if it was cut short before the alias `champion` moved: then it had no effect, and is made
    again, against whoever is champion now.
    """
    tags = client.get_model_version(name, str(version)).tags
    if version_tags.PROMOTION_REASON not in tags:
        return None
    if version_tags.PROMOTION not in tags:
        champion = find_holder(client, name, version_tags.CHAMPION)
        if champion is None or int(champion.version) != version:
            return None
    where = f"{name} version {version}"
    return PromotionDecision(
        tags.get(version_tags.PROMOTION) != version_tags.CHALLENGER,
        tags[version_tags.PROMOTION_REASON],
        **{each: version_tags.read_tag(kind, tags, tag, where) for each, (tag, kind) in _NUMBERS.items()},
    )


def promote(
    name: str, version: int, tracking_uri: str | None = None, *, force: bool = False, reason: str = ""
) -> int | None:
    """Makes a version the champion, if the promotion rules allow it against the present champion, or by force.

    If the version was given the alias without galaxy_exp, the rules are not applied, and that is recorded. A call that
    was killed is completed by repeating it.

    Args:
        name: of the registered model.
        version: of it.
        tracking_uri: None takes MLflow's own default.
        force: promotes against the rules too; that, and their decision, is recorded.
        reason: the person's own, recorded as well.

    Returns:
        The version that was champion before; None if there was none or it is this one.

    Raises:
        ModelError: there is no such version, or the evidence is against it; has the numbers.
        TrackingError: the store cannot be read or written.
    """
    client = open_existing_client(tracking_uri, to_write=True)
    added = f"; the reason given: {reason}" if reason else ""
    with tracking_errors(tracking_uri):
        require_version(client, name, version)
        holder = find_holder(client, name, version_tags.CHAMPION)
        if holder is not None and int(holder.version) == version:
            recorded = _unfinished_reason(holder.tags, _PROMOTED_BY_HAND)
            if recorded is None and _is_recorded(client, holder):
                return None
            if recorded is None:
                recorded = f"{_PROMOTED_BY_HAND} (the alias was set without galaxy_exp){added}"
                _record_alias(client, holder, recorded)
        else:
            count_opening = partial(_count_opening_by_hand, client)
            decision, champion = decide_against_champion(client, name, version, count_opening)
            if not decision.promote and not force:
                command = f"galaxy-exp models promote {name} {version} --force{uri_option(tracking_uri)}"
                raise ModelError(
                    f"{name} version {version} is not promoted: {decision.grounds}; to promote it anyway: {command}"
                )
            replaced = "" if champion is None else f" in place of version {champion.version}"
            against = "" if decision.promote else ", against the evidence"
            recorded = f"{_PROMOTED_BY_HAND}{replaced}{against} ({decision.grounds}){added}"
            _write_evidence(client, name, version, replace(decision, reason=recorded))
        previous = _make_champion(client, name, version, recorded)
        _close_decision(client, name, version, BY_HAND, recorded)
    return previous


def rollback(name: str, tracking_uri: str | None = None) -> int:
    """Gives the alias back to the version that the present champion replaced, and returns that version.

    A call that was killed is completed by repeating it.

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
        previous = int(champion.version)
        recorded = _unfinished_reason(champion.tags, _ROLLED_BACK)
        if recorded is None:
            previous = _find_previous(client, champion)
            if find_holder(client, name, version_tags.CHAMPION, previous) is None:
                raise ModelError(
                    f"{name} version {previous}, the champion before version {champion.version}, was deleted; make "
                    f"another one champion: galaxy-exp models promote {name} VERSION{uri_option(tracking_uri)}"
                )
            recorded = f"{_ROLLED_BACK} {champion.version}"
            _move_back(client, name, previous, int(champion.version), recorded)
        _close_decision(client, name, previous, BY_HAND, recorded)
    return previous


def decide_against_champion(
    client: MlflowClient,
    name: str,
    version: int,
    count_opening: Callable[[Candidate, Candidate | None], int | None],
    store_option: str = "",
) -> tuple[PromotionDecision, Candidate | None]:
    """The decision on a version, and the champion that it was made against: still champion when it is made.

    Args:
        client: of the store.
        name: of the registered model.
        version: of it.
        count_opening: gives the number of the opening of the test set from challenger and champion.
        store_option: as of `decide_promotion`.
    """
    challenger = load_candidate(client, name, version)
    while True:
        champion = find_champion(client, name)
        history = read_history(client, name)
        last = int(history[-1]["version"]) if history else None
        decision = decide_promotion(challenger, champion, store_option, count_opening(challenger, champion), last)
        holder = find_holder(client, name, version_tags.CHAMPION)
        if (holder and int(holder.version)) == (champion and champion.version):
            return decision, champion


def _is_recorded(client: MlflowClient, champion: ModelVersion) -> bool:
    """Whether tags and history record how a version became champion, or a process that was killed has begun to."""
    outcome = champion.tags.get(version_tags.PROMOTION)
    if outcome is None and version_tags.PROMOTION_REASON in champion.tags:
        return True
    history = read_history(client, champion.name)
    is_last = not history or history[-1]["version"] == int(champion.version)
    return outcome in (PROMOTED, BY_HAND) and is_last


def _record_alias(client: MlflowClient, champion: ModelVersion, reason: str) -> None:
    """Writes the evidence of a version that was given the alias `champion` without galaxy_exp.

    The reason is there before `_write_evidence` takes the outcome away, so that a repeated call completes a killed one.
    """
    name, version = champion.name, str(champion.version)
    history = read_history(client, name)
    if history and history[-1]["version"] != int(version):
        client.set_model_version_tag(name, version, version_tags.PREVIOUS_CHAMPION, str(history[-1]["version"]))
    client.set_model_version_tag(name, version, version_tags.PROMOTION_REASON, reason)
    _write_evidence(client, name, int(version), PromotionDecision(True, reason))


def _unfinished_reason(tags: Mapping[str, str], beginning: str) -> str | None:
    """By a champion's tags, the reason of a process that was killed when it had moved the alias, if it begins so."""
    reason = tags.get(version_tags.PROMOTION_REASON, "")
    return reason if version_tags.PROMOTION not in tags and reason.startswith(beginning) else None


def _move_back(client: MlflowClient, name: str, version: int, champion: int, reason: str) -> None:
    """The history comes before the alias.

    The other way round, a version that is champion without an entry looks as if its alias had been moved by hand.
    """
    _write_evidence(client, name, version, PromotionDecision(True, reason))
    _add_to_history(client, name, version, champion, reason)
    client.set_registered_model_alias(name, version_tags.CHAMPION, str(version))


def _find_previous(client: MlflowClient, champion: ModelVersion) -> int:
    """Whom the champion replaced: the last champion of the history, if the alias was moved without galaxy_exp."""
    history = read_history(client, champion.name)
    if history and history[-1]["version"] != int(champion.version):
        return int(history[-1]["version"])
    previous = _read_previous(champion)
    if previous is None:
        raise ModelError(
            f"{champion.name} version {champion.version} replaced no champion; there is none to go back to"
        )
    return previous


def _read_previous(champion: ModelVersion) -> int | None:
    where = f"{champion.name} version {champion.version}"
    return version_tags.read_tag(int, champion.tags, version_tags.PREVIOUS_CHAMPION, where)


def _count_opening_by_hand(client: MlflowClient, challenger: Candidate, champion: Candidate | None) -> int | None:
    """Which opening of its test set a comparison by hand counts as; None if nothing is compared.

    The same comparison as before counts as it did then; one with a later champion is one more opening.
    """
    if champion is None or decide_promotion(challenger, champion).p_value is None:
        return None
    name, earlier = challenger.name, read_decision(client, challenger.name, challenger.version)
    if earlier is not None and earlier.against == champion.version:
        return earlier.opening
    version = client.get_model_version(name, str(challenger.version))
    tags = version.tags
    digests = frozenset(tags[tag] for tag in (version_tags.TEST_DIGEST, version_tags.TEST_IMAGES) if tag in tags)
    project = ProjectFolder.default()
    if earlier is not None:
        other = client.get_model_version(name, str(champion.version))
        record_opening(project, digests, f"{_origin(version)} against {_origin(other)}")
    return len(find_openers(project, digests) | find_openers_in_store(client, digests))


def _origin(version: ModelVersion) -> str:
    """The run, which unlike the name of the model is another in each store."""
    return version.run_id or f"{version.name}/{version.version}"


def _write_evidence(client: MlflowClient, name: str, version: int, decision: PromotionDecision) -> None:
    """Writes the decision's numbers into the version's tags in place of an earlier decision's; the reason comes last.

    A version that has the reason of a decision thus has all its numbers. It has no outcome until `_close_decision`, by
    which a repeated call sees that this one was killed.
    """
    tags = client.get_model_version(name, str(version)).tags
    if version_tags.PROMOTION in tags:
        client.delete_model_version_tag(name, str(version), version_tags.PROMOTION)
    for attribute, (tag, _) in _NUMBERS.items():
        value = getattr(decision, attribute)
        if value is not None:
            client.set_model_version_tag(name, str(version), tag, repr(value))
        elif tag in tags:
            client.delete_model_version_tag(name, str(version), tag)
    client.set_model_version_tag(name, str(version), version_tags.PROMOTION_REASON, decision.reason)


def _make_champion(client: MlflowClient, name: str, version: int, reason: str) -> int | None:
    """Moves the alias `champion` to a version and takes `challenger` off it; returns who was champion before, if any.

    The version remembers whom it replaced, and the registered model when and why. Repeated, it does what is left.
    """
    before = find_holder(client, name, version_tags.CHAMPION)
    is_repeated = before is not None and int(before.version) == version
    if before is not None and is_repeated:
        previous = _read_previous(before)
    else:
        previous = None if before is None else int(before.version)
        if previous is not None:
            client.set_model_version_tag(name, str(version), version_tags.PREVIOUS_CHAMPION, str(previous))
        elif version_tags.PREVIOUS_CHAMPION in client.get_model_version(name, str(version)).tags:
            client.delete_model_version_tag(name, str(version), version_tags.PREVIOUS_CHAMPION)
    client.set_registered_model_alias(name, version_tags.CHAMPION, str(version))
    _add_to_history(client, name, version, previous, reason)
    challenger = find_holder(client, name, version_tags.CHALLENGER)
    if challenger is not None and int(challenger.version) == version:
        client.delete_registered_model_alias(name, version_tags.CHALLENGER)
    return previous


def _add_to_history(client: MlflowClient, name: str, version: int, previous: int | None, reason: str) -> None:
    """Adds an entry, a tag of the registered model, unless a process that was killed has written the same one."""
    latest = read_history(client, name)[-1:]
    if [(each["version"], each["previous"], each["reason"]) for each in latest] == [(version, previous, reason)]:
        return
    now = datetime.now(UTC)
    entry = {"version": version, "time": iso_time(now.timestamp()), "previous": previous, "reason": reason}
    key = f"{version_tags.HISTORY}{now.strftime('%Y%m%dT%H%M%S.%f')}"
    client.set_registered_model_tag(name, key, json.dumps(entry))


def _close_decision(client: MlflowClient, name: str, version: int, outcome: str, reason: str) -> None:
    """Writes the decision into the version's description, in place of an earlier one, and its outcome as a tag."""
    card = client.get_model_version(name, str(version)).description or ""
    client.update_model_version(name, str(version), add_decision(card, outcome, reason))
    client.set_model_version_tag(name, str(version), version_tags.PROMOTION, outcome)
