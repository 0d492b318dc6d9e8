"""Whether a new version takes the champion's place: first a pure decision, then its effect in MLflow.

| the champion | the challenger | decision |
|---|---|---|
| none | any | promoted |
| trained on simulated galaxies | on real ones | promoted |
| trained on real galaxies | on simulated ones | stays challenger |
| tested on other images | | stays challenger: the two cannot be compared |
| tested on the same images | its gain is significant at the level of this opening of the test set | promoted |
| tested on the same images | it is not | stays challenger |

The level is that of `openings.opening_level`, so that comparing many versions on one test set promotes by chance in at
most 5% of cases in all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from galaxy_exp.evaluation.resampling import opening_level, paired_bootstrap, paired_permutation
from galaxy_exp.records import Gain
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.model_card import add_decision
from galaxy_exp.registry.openings import describe_opening
from galaxy_exp.registry.sealed_predictions import SealedPredictions, fetch_sealed_predictions
from galaxy_exp.wording import iso_time

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "Candidate",
    "PromotionDecision",
    "apply_promotion",
    "crown",
    "decide_promotion",
    "describe_decision",
    "find_champion",
    "find_holder",
    "load_candidate",
    "read_decision",
    "read_history",
    "remember_champion",
    "write_evidence",
]

_ALL_THE_SAME = "; to promote it all the same: "


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What the decision needs to know of a version."""

    name: str
    version: int
    simulated: bool
    """Trained on simulated galaxies."""
    objective: str
    """What its sweep optimised, such as "val_macro_f1" or "macro_f1"."""
    test: SealedPredictions | None
    """None if its predictions are lost."""


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    """Whether to promote, why, and the comparison behind it if there was one."""

    promote: bool
    reason: str
    """One line."""
    difference: float | None = None
    """Challenger's gain over the champion in its objective, positive when better."""
    low: float | None = None
    """Ends of the 95% interval of `difference`, by the paired bootstrap."""
    high: float | None = None
    p_value: float | None = None
    """One-sided, of `paired_permutation`; promoted if at most `opening_level(opening)`."""
    opening: int | None = None
    """Which opening of the test set this was, from 1; None if it is not known."""
    against: int | None = None
    """The version that it was compared with."""

    @property
    def grounds(self) -> str:
        """The reason without what to do about it."""
        return self.reason.partition(_ALL_THE_SAME)[0]


_EVIDENCE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "difference": (version_tags.PROMOTION_DIFFERENCE, float),
    "low": (version_tags.PROMOTION_LOW, float),
    "high": (version_tags.PROMOTION_HIGH, float),
    "p_value": (version_tags.PROMOTION_P, float),
    "opening": (version_tags.PROMOTION_OPENING, int),
    "against": (version_tags.PROMOTION_AGAINST, int),
}
"""The tag of each number of a decision, and how its text becomes a number again."""


def decide_promotion(
    challenger: Candidate, champion: Candidate | None, seed: int = 0, store_option: str = "", opening: int | None = None
) -> PromotionDecision:
    """Applies the table of this module.

    Args:
        seed: that of the bootstrap's resampling and of the permutations.
        store_option: what the command in a hint ends with, to reach the versions' store.
        opening: which opening of its test set the challenger's test is, from 1; None: counts as the first.

    Raises:
        BadInputError: an objective that cannot be computed from probabilities.
    """
    decision = _decide(challenger, champion, seed, opening or 1)
    compared = decision.p_value is not None
    told = "" if opening is None else f"; {describe_opening(opening, compared=compared)}"
    is_refused = not decision.promote and not compared
    hint = _how_to_force(challenger, store_option) if is_refused else ""
    return replace(decision, reason=f"{decision.reason}{told}{hint}", opening=opening)


def _decide(challenger: Candidate, champion: Candidate | None, seed: int, opening: int) -> PromotionDecision:
    if champion is None:
        return PromotionDecision(True, "first version: there was no champion")
    if champion.version == challenger.version:
        return PromotionDecision(True, "is the champion already")
    if champion.simulated != challenger.simulated:
        return _decide_by_data(champion)
    if champion.test is None or challenger.test is None:
        missing = champion if champion.test is None else challenger
        return _incomparable(f"the sealed test predictions of version {missing.version} are missing")
    champion_test = champion.test.in_order_of(challenger.test)
    if champion_test is None:
        return _incomparable(
            f"version {champion.version}, the champion, was tested on images of another data set or split"
        )
    return _decide_by_test(challenger, challenger.test, champion, champion_test, seed, opening_level(opening))


def _decide_by_data(champion: Candidate) -> PromotionDecision:
    own, other = ("real", "simulated") if champion.simulated else ("simulated", "real")
    reason = f"trained on {own} galaxies; version {champion.version}, the champion, on {other} ones"
    return PromotionDecision(champion.simulated, reason)


def _incomparable(why: str) -> PromotionDecision:
    return PromotionDecision(False, f"not comparable: {why}")


def _how_to_force(challenger: Candidate, store_option: str) -> str:
    return f"{_ALL_THE_SAME}galaxy-exp models promote {challenger.name} {challenger.version} --force{store_option}"


def _decide_by_test(
    challenger: Candidate,
    test: SealedPredictions,
    champion: Candidate,
    champion_test: SealedPredictions,
    seed: int,
    level: float,
) -> PromotionDecision:
    metric = challenger.objective.removeprefix("val_")
    both = test.labels, test.probabilities, champion_test.probabilities, metric
    p_value = paired_permutation(*both, level=level, seed=seed)
    gain = Gain.of_difference(metric, *paired_bootstrap(*both, seed=seed))
    verdict = "better than" if p_value <= level else "worse than" if gain.high < 0 else "not clearly better than"
    what = "loss reduced by" if metric == "loss" else f"{metric} differs by"
    reason = (
        f"{verdict} version {champion.version}, the champion, on the same {len(test.labels)} sealed test images: "
        f"{what} {gain.difference:+.4f} (95% interval {gain.low:+.4f} to {gain.high:+.4f}, one-sided p {p_value:.2g})"
    )
    return PromotionDecision(
        p_value <= level, reason, gain.difference, gain.low, gain.high, p_value, against=champion.version
    )


def load_candidate(client: MlflowClient, name: str, version: int) -> Candidate:
    """Reads a registered version's tags and its stored sealed test.

    Raises:
        mlflow.exceptions.MlflowException: there is no such version.
    """
    return _candidate(client, client.get_model_version(name, str(version)))


def find_champion(client: MlflowClient, name: str) -> Candidate | None:
    """The champion of a registered model; None if there is none."""
    holder = find_holder(client, name, version_tags.CHAMPION)
    return None if holder is None else _candidate(client, holder)


def _candidate(client: MlflowClient, version: ModelVersion) -> Candidate:
    test = fetch_sealed_predictions(client, version.run_id)
    expected = version.tags.get(version_tags.TEST_DIGEST)
    return Candidate(
        name=version.name,
        version=int(version.version),
        simulated=version.tags.get(version_tags.SIMULATED) == "true",
        objective=version.tags.get(version_tags.OBJECTIVE, "val_macro_f1"),
        test=test if test is not None and test.digest == expected else None,
    )


def find_holder(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version an alias stands on; None if the alias or the registered model does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def apply_promotion(client: MlflowClient, name: str, version: int, decision: PromotionDecision) -> None:
    """Writes the decision and its numbers into the version's tags and sets the alias `champion` or `challenger`.

    The evidence is written before the alias moves, so that `read_decision` finds it whenever the version is
    champion. The tag `galaxy_exp.promotion` is written last and a version that has it is left alone, so repeating
    the call after a crash completes it, and repeating it later does not undo a promotion made since.
    """
    if version_tags.PROMOTION in client.get_model_version(name, str(version)).tags:
        return
    write_evidence(client, name, version, decision)
    if decision.promote:
        crown(client, name, version, decision.reason)
    else:
        client.set_registered_model_alias(name, version_tags.CHALLENGER, str(version))
    outcome = "promoted" if decision.promote else version_tags.CHALLENGER
    describe_decision(client, name, version, outcome, decision.grounds)
    client.set_model_version_tag(name, str(version), version_tags.PROMOTION, outcome)


def read_decision(client: MlflowClient, name: str, version: int) -> PromotionDecision | None:
    """The decision that an earlier call of `apply_promotion` carried out, or a person's, from the version's tags.

    None if there was none, or if it was cut short before the alias `champion` moved: then nothing has come of it,
    and it is to be made again, against whoever is champion now.
    """
    tags = client.get_model_version(name, str(version)).tags
    if version_tags.PROMOTION_REASON not in tags:
        return None
    if version_tags.PROMOTION not in tags and not _is_champion(client, name, version):
        return None
    return PromotionDecision(
        tags.get(version_tags.PROMOTION) != version_tags.CHALLENGER,
        tags[version_tags.PROMOTION_REASON],
        **{name: kind(tags[tag]) for name, (tag, kind) in _EVIDENCE.items() if tag in tags},
    )


def _is_champion(client: MlflowClient, name: str, version: int) -> bool:
    champion = find_holder(client, name, version_tags.CHAMPION)
    return champion is not None and int(champion.version) == version


def describe_decision(client: MlflowClient, name: str, version: int, outcome: str, reason: str) -> None:
    """Writes the decision into the version's description, in place of an earlier one."""
    card = client.get_model_version(name, str(version)).description or ""
    client.update_model_version(name, str(version), add_decision(card, outcome, reason))


def crown(client: MlflowClient, name: str, version: int, reason: str) -> int | None:
    """Moves the alias `champion` to a version and takes `challenger` off it.

    The version remembers whom it replaced, and the registered model when and why.

    Returns:
        The version that was champion before; None if none was or it is this one.
    """
    before = find_holder(client, name, version_tags.CHAMPION)
    previous = int(before.version) if before is not None and int(before.version) != version else None
    if previous is not None:
        client.set_model_version_tag(name, str(version), version_tags.PREVIOUS_CHAMPION, str(previous))
    client.set_registered_model_alias(name, version_tags.CHAMPION, str(version))
    remember_champion(client, name, version, previous, reason)
    challenger = find_holder(client, name, version_tags.CHALLENGER)
    if challenger is not None and int(challenger.version) == version:
        client.delete_registered_model_alias(name, version_tags.CHALLENGER)
    return previous


def remember_champion(client: MlflowClient, name: str, version: int, previous: int | None, reason: str) -> None:
    """Adds to the history of a registered model, a tag an entry, unless that is its last entry already."""
    history = read_history(client, name)
    if history and history[-1]["version"] == version:
        return
    now = datetime.now(UTC)
    entry = {"version": version, "time": iso_time(now.timestamp()), "previous": previous, "reason": reason}
    key = f"{version_tags.HISTORY}{now.strftime('%Y%m%dT%H%M%S.%f')}"
    client.set_registered_model_tag(name, key, json.dumps(entry))


def read_history(client: MlflowClient, name: str) -> list[dict[str, Any]]:
    """Who was champion, the first one first: `version`, `time` (ISO 8601, UTC), `previous` version and `reason`.

    Champions of earlier releases of galaxy_exp, which kept no history, are not in it.
    """
    tags = client.get_registered_model(name).tags
    return [json.loads(value) for key, value in sorted(tags.items()) if key.startswith(version_tags.HISTORY)]


def write_evidence(client: MlflowClient, name: str, version: int, decision: PromotionDecision) -> None:
    """Writes the decision's numbers into the version's tags, in place of an earlier decision's, then its reason.

    The reason says that all numbers are there.
    """
    tags = client.get_model_version(name, str(version)).tags
    for attribute, (tag, _) in _EVIDENCE.items():
        value = getattr(decision, attribute)
        if value is not None:
            client.set_model_version_tag(name, str(version), tag, repr(value))
        elif tag in tags:
            client.delete_model_version_tag(name, str(version), tag)
    client.set_model_version_tag(name, str(version), version_tags.PROMOTION_REASON, decision.reason)
