"""Whether a new version takes the champion's place: the decision alone. `champion` carries it out.

| the champion | the challenger | decision |
|---|---|---|
| none | any | promoted |
| trained on simulated galaxies | on real ones | promoted |
| trained on real galaxies | on simulated ones | stays challenger |
| of classes | of votes | stays challenger: the two cannot be compared |
| of votes | of classes, or of votes on other questions | stays challenger: the two cannot be compared |
| tested on other images | | stays challenger: the two cannot be compared |
| tested on the same images | its gain is significant at the level of this opening of the test set | promoted |
| tested on the same images | it is not | stays challenger |

The level is that of `evaluation.resampling.opening_level`, so that comparing many versions on one test set promotes one
that is no better in at most 5% of cases in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from galaxy_exp.evaluation.resampling import opening_level, paired_bootstrap, paired_permutation
from galaxy_exp.evaluation.vote_comparison import compare_votes, gate_metric, vote_permutation
from galaxy_exp.evaluation.vote_metrics import AGREED_METRICS, find_agreed
from galaxy_exp.records import LESS_IS_BETTER, Gain
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.catalogue import find_holder
from galaxy_exp.registry.held_out import HeldOutPredictions, describe_opening, fetch_held_out_predictions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Candidate", "PromotionDecision", "decide_promotion", "find_champion", "load_candidate"]

_ALL_THE_SAME = "; to promote it anyway: "


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What the decision needs to know of a version."""

    name: str
    version: int
    simulated: bool
    """Trained on simulated galaxies."""
    objective: str
    """What its sweep optimised, such as "val_macro_f1" or "macro_f1"."""
    test: HeldOutPredictions | None
    """None if its predictions are lost."""


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    """Whether to promote, why, and the numbers of the comparison, if any."""

    promote: bool
    reason: str
    """One line."""
    difference: float | None = None
    """Challenger's gain over the champion in its objective, positive when better."""
    low: float | None = None
    """Lower end of the 95% interval of `difference`, by the paired bootstrap."""
    high: float | None = None
    """Upper end."""
    p_value: float | None = None
    """One-sided, of `paired_permutation`; promoted if at most `opening_level(opening)`."""
    opening: int | None = None
    """Which opening of the test set this was, from 1; None if it is not known."""
    against: int | None = None
    """The version that it was compared with."""

    @property
    def grounds(self) -> str:
        """The reason without the command that promotes anyway."""
        return self.reason.partition(_ALL_THE_SAME)[0]


def load_candidate(client: MlflowClient, name: str, version: int) -> Candidate:
    """Reads a registered version's tags and its stored predictions of the held-out test set.

    Raises:
        mlflow.exceptions.MlflowException: there is no such version.
    """
    return _candidate(client, client.get_model_version(name, str(version)))


def find_champion(client: MlflowClient, name: str) -> Candidate | None:
    """The champion of a registered model; None if there is none."""
    holder = find_holder(client, name, version_tags.CHAMPION)
    return None if holder is None else _candidate(client, holder)


def _candidate(client: MlflowClient, version: ModelVersion) -> Candidate:
    test = fetch_held_out_predictions(client, version.run_id)
    expected = version.tags.get(version_tags.TEST_DIGEST)
    return Candidate(
        name=version.name,
        version=int(version.version),
        simulated=version.tags.get(version_tags.SIMULATED) == "true",
        objective=version.tags.get(version_tags.OBJECTIVE, "val_macro_f1"),
        test=test if test is not None and test.digest == expected else None,
    )


def decide_promotion(
    challenger: Candidate,
    champion: Candidate | None,
    store_option: str = "",
    opening: int | None = None,
    last_champion: int | None = None,
) -> PromotionDecision:
    """Applies the table of this module.

    Args:
        challenger: the new version.
        champion: the present one; None if there is none.
        store_option: end of the command in a hint that names the versions' store.
        opening: which opening of its test set the challenger's test is, from 1; None: counts as the first.
        last_champion: the version that was champion last, if any; named if there is no champion now.

    Raises:
        BadInputError: an objective that cannot be computed from probabilities.
    """
    decision = _decide(challenger, champion, opening_level(opening or 1), last_champion)
    compared = decision.p_value is not None
    counted = "" if opening is None else f"; {describe_opening(opening, compared=compared)}"
    hint = ""
    if not decision.promote and not compared:
        command = f"galaxy-exp models promote {challenger.name} {challenger.version} --force{store_option}"
        hint = f"{_ALL_THE_SAME}{command}"
    return replace(decision, reason=f"{decision.reason}{counted}{hint}", opening=opening)


def _decide(challenger: Candidate, champion: Candidate | None, level: float, last: int | None) -> PromotionDecision:
    if champion is None:
        lost = f"there is no champion now; the last was version {last}"
        return PromotionDecision(True, "first version: there was no champion" if last is None else lost)
    if champion.version == challenger.version:
        return PromotionDecision(True, "is the champion already")
    if champion.simulated != challenger.simulated:
        its, other = ("real", "simulated") if champion.simulated else ("simulated", "real")
        reason = f"trained on {its} galaxies; version {champion.version}, the champion, on {other} ones"
        return PromotionDecision(champion.simulated, reason)
    if champion.test is None or challenger.test is None:
        missing = champion if champion.test is None else challenger
        return _incomparable(f"the held-out test predictions of version {missing.version} are missing")
    if why := _differ(champion.test, challenger.test, champion.version):
        return _incomparable(why)
    champion_test = champion.test.in_order_of(challenger.test)
    if champion_test is None:
        return _incomparable(
            f"version {champion.version}, the champion, was tested on images of another data set or split"
        )
    metric = challenger.objective.removeprefix("val_")
    if challenger.test.votes is not None:
        metric = gate_metric(challenger.objective)
    return _compare(metric, challenger.test, champion_test, champion.version, level)


def _differ(champion: HeldOutPredictions, challenger: HeldOutPredictions, version: int) -> str | None:
    """Why the two cannot be compared on any images; None if they predict the same."""
    its, other = challenger.votes, champion.votes
    if (its is None) != (other is None):
        kinds = ("fractions of votes", "classes") if its is not None else ("classes", "fractions of votes")
        return f"this version predicts {kinds[0]}; version {version}, the champion, {kinds[1]}"
    if its is not None and other is not None and its.questions != other.questions:
        return f"version {version}, the champion, was trained on other questions or answers"
    return None


def _incomparable(why: str) -> PromotionDecision:
    return PromotionDecision(False, f"not comparable: {why}")


def _compare(
    metric: str, test: HeldOutPredictions, champion_test: HeldOutPredictions, champion: int, level: float
) -> PromotionDecision:
    p_value, gain = _measure_gain(metric, test, champion_test, level)
    metric = gain.metric
    verdict = "better than" if p_value <= level else "worse than" if gain.high < 0 else "not clearly better than"
    what = f"{metric} reduced by" if metric in LESS_IS_BETTER else f"{metric} differs by"
    reason = (
        f"{verdict} version {champion}, the champion, on the same {_tested_images(metric, test)}: "
        f"{what} {gain.difference:+.4f} (95% interval {gain.low:+.4f} to {gain.high:+.4f}, one-sided p {p_value:.2g})"
    )
    return PromotionDecision(p_value <= level, reason, gain.difference, gain.low, gain.high, p_value, against=champion)


def _tested_images(metric: str, test: HeldOutPredictions) -> str:
    if test.votes is None or metric not in AGREED_METRICS:
        return f"{len(test.labels)} held-out test images"
    agreed = find_agreed(test.votes, test.agreement).sum()
    return f"{agreed} held-out test images whose votes agree, of {len(test.labels)}"


def _measure_gain(
    metric: str, test: HeldOutPredictions, champion_test: HeldOutPredictions, level: float
) -> tuple[float, Gain]:
    """The one-sided p-value, and the gain with its interval."""
    if test.votes is not None:
        outputs, agreement = (test.probabilities, champion_test.probabilities), test.agreement
        differences = compare_votes(test.votes, *outputs, agreement)
        if metric not in differences:  # no image's votes agree, or fractions have no likelihood
            metric = "deviance"
        p_value = vote_permutation(test.votes, *outputs, metric, agreement, level)
        return p_value, Gain.of_difference(metric, *differences[metric])
    both = test.labels, test.probabilities, champion_test.probabilities, metric
    return paired_permutation(*both, level=level), Gain.of_difference(metric, *paired_bootstrap(*both))
