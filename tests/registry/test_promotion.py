from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from galaxy_exp.errors import ModelError
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.catalogue import show_model
from galaxy_exp.registry.champion import apply_promotion, decide_against_champion, promote, read_decision, rollback
from galaxy_exp.registry.held_out import HeldOutPredictions, fetch_held_out_predictions, log_held_out_predictions
from galaxy_exp.registry.packaging import ModelVersionRef
from galaxy_exp.registry.promotion import (
    Candidate,
    PromotionDecision,
    decide_promotion,
    find_champion,
    load_candidate,
)

from .conftest import Store

LABELS = np.random.default_rng(0).integers(0, 3, 200)
OTHER = "version 1, the champion, was tested on images of another data set or split"
FORCE = re.escape("galaxy-exp models promote galaxy10-cnn 2 --force")


def _test(share_right: float, digest: str = "same", n_classes: int = 3) -> HeldOutPredictions:
    """Predictions of which the first `share_right` are right."""
    predicted = LABELS.copy()
    n_right = int(share_right * len(LABELS))
    predicted[n_right:] = (predicted[n_right:] + 1) % 3
    probabilities = np.full((len(LABELS), n_classes), 0.1, np.float32)
    probabilities[np.arange(len(LABELS)), predicted] = 0.8
    return HeldOutPredictions(digest, LABELS, probabilities)


def _with_images(test: HeldOutPredictions, kind: bytes = b"image") -> HeldOutPredictions:
    images = np.array([b"%s %d" % (kind, number) for number in range(len(LABELS))], "S32")
    return replace(test, images=images)


def _candidate(
    version: int, test: HeldOutPredictions | None, simulated: bool = False, objective: str = "val_macro_f1"
) -> Candidate:
    return Candidate("galaxy10-cnn", version, simulated, objective, test)


def test_without_a_champion_the_first_version_is_promoted() -> None:
    decision = decide_promotion(_candidate(1, None), None)
    assert decision == PromotionDecision(True, "first version: there was no champion")


def test_real_galaxies_beat_simulated_ones_whatever_the_scores() -> None:
    poor_but_real, good_but_simulated = _candidate(2, _test(0.4, "other")), _candidate(1, _test(0.99), simulated=True)
    assert decide_promotion(poor_but_real, good_but_simulated).promote
    decision = decide_promotion(_candidate(2, _test(0.99), simulated=True), _candidate(1, _test(0.4)))
    assert not decision.promote
    assert re.search(
        f"trained on simulated galaxies; version 1, the champion, on real ones; .*{FORCE}", decision.reason
    )


@pytest.mark.parametrize(
    ("challenger", "champion", "why"),
    [
        (_test(0.9, "new"), _test(0.5), OTHER),
        (_test(0.9, n_classes=4), _test(0.5), OTHER),
        (_test(0.9, "new"), _with_images(_test(0.5)), OTHER),
        (_with_images(_test(0.9, "new"), b"of other images"), _with_images(_test(0.5)), OTHER),
        (_test(0.9), None, "the held-out test predictions of version 1 are missing"),
        (None, _test(0.5), "the held-out test predictions of version 2 are missing"),
    ],
)
def test_what_cannot_be_compared_stays_challenger(
    challenger: HeldOutPredictions | None, champion: HeldOutPredictions | None, why: str
) -> None:
    decision = decide_promotion(_candidate(2, challenger), _candidate(1, champion), opening=5)
    assert not decision.promote
    assert re.match(f"not comparable: {why}; opening 5 of this test set; to promote .*{FORCE}", decision.reason)
    assert decision.difference is None


@pytest.mark.parametrize("objective", ["val_macro_f1", "val_loss"])
def test_the_same_images_in_another_data_set_and_order_are_compared_one_by_one(objective: str) -> None:
    """As where only training images were added to a split of the user's own."""
    champion, challenger = _with_images(_test(0.7)), _with_images(_test(0.8, "more training images"))
    order = np.random.default_rng(1).permutation(len(LABELS))
    assert champion.images is not None
    shuffled = HeldOutPredictions("same", LABELS[order], champion.probabilities[order], champion.images[order])
    expected = decide_promotion(
        _candidate(2, _test(0.8), objective=objective), _candidate(1, _test(0.7), objective=objective)
    )
    for other in (champion, shuffled):
        found = decide_promotion(
            _candidate(2, challenger, objective=objective), _candidate(1, other, objective=objective)
        )
        assert found == expected
    assert expected.promote


@pytest.mark.parametrize("objective", ["val_macro_f1", "val_accuracy", "val_balanced_accuracy", "val_loss"])
def test_a_clear_gain_promotes_and_a_small_one_does_not(objective: str) -> None:
    champion = _candidate(1, _test(0.7), objective=objective)
    clear = decide_promotion(_candidate(2, _test(0.8), objective=objective), champion)
    assert clear.promote
    assert clear.low is not None
    assert clear.high is not None
    assert 0 < clear.low < (clear.difference or 0) < clear.high
    assert re.match(r"better than version 1, the champion, on the same 200 held-out test images: ", clear.reason)
    unclear = decide_promotion(_candidate(2, _test(0.705), objective=objective), champion)
    assert not unclear.promote
    assert unclear.reason.startswith("not clearly better than version 1")
    assert not decide_promotion(_candidate(2, _test(0.6), objective=objective), champion).promote


def test_the_champion_itself_stays() -> None:
    assert decide_promotion(_candidate(1, _test(0.7)), _candidate(1, _test(0.7))).promote


def test_what_is_enough_at_the_second_opening_may_not_be_at_the_tenth() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    better = HeldOutPredictions("same", labels, _mostly_right(labels, rng))
    probabilities = better.probabilities.copy()
    wrong = np.flatnonzero(probabilities.argmax(axis=1) == labels)[:9]
    probabilities[wrong] = np.roll(probabilities[wrong], 1, axis=1)
    champion = Candidate("galaxy10-cnn", 1, False, "val_accuracy", HeldOutPredictions("same", labels, probabilities))
    challenger = Candidate("galaxy10-cnn", 2, False, "val_accuracy", better)
    second, tenth = (decide_promotion(challenger, champion, opening=opening) for opening in (2, 10))
    assert (second.promote, tenth.promote) == (True, False)
    assert second.p_value == pytest.approx(2**-9, rel=0.5)
    assert second.reason.endswith("; opening 2 of this test set; level 2.5%")
    assert tenth.reason.startswith(
        "not clearly better than version 1, the champion, on the same 200 held-out test images"
    )
    assert tenth.reason.endswith("; opening 10 of this test set; level 0.056%")
    assert (tenth.opening, tenth.against) == (10, 1)


def _mostly_right(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    predicted = np.where(rng.random(len(labels)) < 0.8, labels, (labels + rng.integers(1, 3, len(labels))) % 3)
    probabilities = np.full((len(labels), 3), 0.1, np.float32)
    probabilities[np.arange(len(labels)), predicted] = 0.8
    return probabilities


def test_predictions_survive_mlflow(store: Store) -> None:
    run_id, test = store.finished_run(), _with_images(_test(0.7, "digest-é"))
    assert fetch_held_out_predictions(store.client, run_id) is None
    log_held_out_predictions(store.client, run_id, test)
    log_held_out_predictions(store.client, run_id, test)
    found = fetch_held_out_predictions(store.client, run_id)
    assert found is not None
    assert found.digest == test.digest
    assert np.array_equal(found.labels, test.labels)
    assert test.images is not None
    assert np.array_equal(found.images, test.images)
    assert np.array_equal(found.probabilities, test.probabilities)
    assert fetch_held_out_predictions(store.client, None) is None
    assert fetch_held_out_predictions(store.client, "no-such-run") is None


def _fail(*_: object) -> None:
    raise MlflowException("503 service unavailable")


@pytest.mark.parametrize("step", ["list_artifacts", "download_artifacts"])
def test_a_store_out_of_reach_is_not_a_missing_test(store: Store, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    run_id = store.finished_run()
    log_held_out_predictions(store.client, run_id, _test(0.7))
    monkeypatch.setattr(store.client, step, _fail)
    with pytest.raises(MlflowException, match="503 service unavailable"):
        fetch_held_out_predictions(store.client, run_id)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not an archive"])
def test_a_damaged_test_is_a_missing_one(store: Store, tmp_path: Path, content: bytes) -> None:
    run_id = store.finished_run()
    (tmp_path / "sealed_test.npz").write_bytes(content)
    store.client.log_artifact(run_id, str(tmp_path / "sealed_test.npz"))
    assert fetch_held_out_predictions(store.client, run_id) is None


Versions = Callable[..., list[ModelVersionRef]]


@pytest.fixture
def versions(register: Callable[..., ModelVersionRef], store: Store) -> Versions:
    """Registers versions of a new name from the share of test images they get right."""

    def call(*shares: float) -> list[ModelVersionRef]:
        name = f"gated-{next(_NUMBERS)}"
        made = []
        for share in shares:
            run_id = store.finished_run()
            log_held_out_predictions(store.client, run_id, _test(share))
            tags = {version_tags.TEST_DIGEST: "same", version_tags.OBJECTIVE: "val_accuracy"}
            made.append(register(name, run_id=run_id, **tags))
        return made

    return call


_NUMBERS = count()


def _gate(store: Store, ref: ModelVersionRef, opening: int | None = None) -> PromotionDecision:
    challenger = load_candidate(store.client, ref.name, ref.version)
    decision = decide_promotion(challenger, find_champion(store.client, ref.name), opening=opening)
    apply_promotion(store.client, ref.name, ref.version, decision)
    return decision


def _aliases(store: Store, name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in store.client.get_registered_model(name).aliases.items()}


def test_three_sweeps_in_a_row(versions: Versions, store: Store) -> None:
    first, worse, better = versions(0.7, 0.69, 0.9)
    assert find_champion(store.client, first.name) is None
    assert _gate(store, first).promote
    assert _aliases(store, first.name) == {"champion": 1}
    assert not _gate(store, worse).promote
    assert _aliases(store, first.name) == {"champion": 1, "challenger": 2}
    decision = _gate(store, better)
    assert decision.promote
    assert _aliases(store, first.name) == {"champion": 3, "challenger": 2}
    shown = show_model(first.name, store.uri)
    assert f"## Promotion\n\npromoted: {decision.reason}\n" in shown["card"]
    assert [(entry["version"], entry["previous"]) for entry in shown["history"]] == [(1, None), (3, 1)]
    assert shown["history"][1]["reason"] == decision.reason
    refused = re.escape("version 2 is not promoted: worse than version 3, the champion, on the same 200 held-out test")
    with pytest.raises(ModelError, match=rf"{refused} images: accuracy differs by -0\.2100 \(95% interval -"):
        promote(first.name, 2, store.uri)
    tags = store.client.get_model_version(first.name, "3").tags
    assert tags[version_tags.PROMOTION] == "promoted"
    assert tags[version_tags.PROMOTION_REASON] == decision.reason
    assert float(tags[version_tags.PROMOTION_LOW]) == decision.low
    assert tags[version_tags.PREVIOUS_CHAMPION] == "1"


def test_a_promoted_challenger_loses_the_other_alias(versions: Versions, store: Store) -> None:
    (ref,) = versions(0.7)
    store.client.set_registered_model_alias(ref.name, "challenger", "1")
    _gate(store, ref)
    assert _aliases(store, ref.name) == {"champion": 1}


def test_repeating_a_decision_changes_nothing_decided_since(versions: Versions, store: Store) -> None:
    first, second = versions(0.7, 0.9)
    decision = _gate(store, first)
    _gate(store, second)
    apply_promotion(store.client, first.name, first.version, decision)
    assert _aliases(store, first.name) == {"champion": 2}


def test_a_decision_cut_short_is_completed(versions: Versions, store: Store) -> None:
    first, second = versions(0.7, 0.9)
    _gate(store, first)
    store.client.set_model_version_tag(second.name, "2", version_tags.PREVIOUS_CHAMPION, "1")
    store.client.set_registered_model_alias(second.name, "champion", "2")  # killed here
    apply_promotion(store.client, second.name, 2, PromotionDecision(True, "better", 0.2, 0.1, 0.3))
    tags = store.client.get_model_version(second.name, "2").tags
    assert (tags[version_tags.PROMOTION], tags[version_tags.PREVIOUS_CHAMPION]) == ("promoted", "1")


class _Killed(BaseException):
    pass


def _kill_at(monkeypatch: pytest.MonkeyPatch, store: Store, step: int) -> None:
    """The nth call that writes to the registry is not made, and raises."""
    calls = count(1)

    def until_killed(write: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: str) -> None:
            if next(calls) == step:
                raise _Killed
            write(*arguments)

        return call

    for name in ("set_registered_model_alias", "set_model_version_tag"):
        monkeypatch.setattr(store.client, name, until_killed(getattr(store.client, name)))


@pytest.mark.parametrize("step", [1, 4, 5, 6, 7, 8, 9])
def test_a_decision_killed_at_any_step_keeps_its_evidence(
    versions: Versions, store: Store, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    first, second = versions(0.7, 0.9)
    _gate(store, first)
    with monkeypatch.context() as patch, pytest.raises(_Killed):
        _kill_at(patch, store, step)
        _gate(store, second)
    crowned = step > 8  # five numbers, the reason, whom it replaces, the alias, the outcome
    assert _aliases(store, first.name) == {"champion": 2 if crowned else 1}
    kept = read_decision(store.client, second.name, 2)
    assert (kept is not None) == crowned
    decision = kept or _gate(store, second)
    apply_promotion(store.client, second.name, 2, decision)
    assert [entry["version"] for entry in show_model(first.name, store.uri)["history"]] == [1, 2]
    assert decision.promote
    assert decision.low is not None
    assert decision.reason.startswith("better than version 1")
    assert _aliases(store, first.name) == {"champion": 2}
    assert read_decision(store.client, second.name, 2) == decision


def test_by_hand_the_evidence_is_written_anew_and_before_the_alias_moves(
    versions: Versions, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = versions(0.7, 0.5)
    for ref in (first, second):
        _gate(store, ref)
    reasons, move = [], MlflowClient.set_registered_model_alias

    def note(client: MlflowClient, name: str, alias: str, version: str) -> None:
        reasons.append(client.get_model_version(name, version).tags[version_tags.PROMOTION_REASON])
        move(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", note)
    promote(first.name, 2, store.uri, force=True)
    forced = read_decision(store.client, first.name, 2)
    assert forced is not None
    assert (forced.high or 0) < 0
    rollback(first.name, store.uri)
    assert reasons == [forced.reason, "rolled back from version 2"]
    assert promote(first.name, 2, store.uri, force=True) == 1
    store.client.delete_registered_model_alias(first.name, version_tags.CHAMPION)
    promote(first.name, 2, store.uri)
    alone = read_decision(store.client, first.name, 2)
    expected = "promoted by hand (there is no champion now; the last was version 2)"
    assert alone == PromotionDecision(True, expected)


def test_by_hand_the_same_comparison_counts_as_before_and_another_is_one_more_opening(
    versions: Versions, store: Store
) -> None:
    first, second, third = versions(0.7, 0.72, 0.9)
    decisions = [_gate(store, ref, opening) for opening, ref in enumerate((first, second, third), start=1)]
    assert [decision.opening for decision in decisions] == [1, 2, 3]
    counted = [_opening_of_refusal(store, second) for _ in range(2)]
    assert counted[0] == counted[1] > 3  # against the new champion
    promote(first.name, 2, store.uri, force=True)
    assert _opening_of_refusal(store, first) == counted[0] + 1
    promote(first.name, 3, store.uri)
    store.client.set_registered_model_alias(first.name, version_tags.CHAMPION, "1")
    assert _opening_of_refusal(store, second) > counted[0]


def test_by_hand_what_cannot_be_compared_is_no_opening(
    versions: Versions, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = versions(0.7, 0.9)
    store.client.set_model_version_tag(first.name, "1", version_tags.TEST_DIGEST, "another")
    for opening, ref in enumerate((first, second), start=1):
        _gate(store, ref, opening)
    openers: list[str] = []
    monkeypatch.setattr("galaxy_exp.registry.champion.record_opening", lambda *entry: openers.append(entry[2]))
    refused = r"not promoted: not comparable: [^;]*; to promote it anyway"
    with pytest.raises(ModelError, match=refused):
        promote(first.name, 2, store.uri)
    assert openers == []


def test_a_champion_that_changes_meanwhile_is_compared_too(versions: Versions, store: Store) -> None:
    first, second, third = versions(0.6, 0.7, 0.9)
    _gate(store, first)

    def count_opening(challenger: Candidate, champion: Candidate | None) -> int:
        store.client.set_registered_model_alias(first.name, version_tags.CHAMPION, str(third.version))
        return 2

    decision, champion = decide_against_champion(store.client, second.name, second.version, count_opening)
    assert champion is not None
    assert (champion.version, decision.promote) == (3, False)
    assert decision.reason.startswith("worse than version 3")


def test_by_hand_the_same_names_in_two_stores_are_two_openings(
    versions: Versions, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models with the same version numbers stand for two stores: what the ledger notes is free of names."""
    openers: list[str] = []
    monkeypatch.setattr("galaxy_exp.registry.champion.record_opening", lambda *entry: openers.append(entry[2]))
    for _ in range(2):
        first, second, third = versions(0.7, 0.72, 0.9)
        for ref in (first, second, third):
            _gate(store, ref, opening=3)
        _opening_of_refusal(store, second)
        runs = [store.client.get_model_version(first.name, number).run_id for number in ("2", "3")]
        assert openers[-1] == f"{runs[0]} against {runs[1]}"
    assert len(set(openers)) == 2


def _opening_of_refusal(store: Store, ref: ModelVersionRef) -> int:
    with pytest.raises(ModelError, match=r"; opening (\d+) of this test set; level") as caught:
        promote(ref.name, ref.version, store.uri)
    return int(re.findall(r"opening (\d+) of", str(caught.value))[0])


def test_a_decision_is_read_back_as_it_was_made(versions: Versions, store: Store) -> None:
    first, second = versions(0.7, 0.5)
    assert read_decision(store.client, first.name, 1) is None
    decisions = [_gate(store, first), _gate(store, second)]
    assert [decision.promote for decision in decisions] == [True, False]
    assert [read_decision(store.client, first.name, version) for version in (1, 2)] == decisions


def test_a_tag_that_contradicts_the_artifact_makes_it_incomparable(versions: Versions, store: Store) -> None:
    (ref,) = versions(0.7)
    store.client.set_model_version_tag(ref.name, "1", version_tags.TEST_DIGEST, "another")
    assert load_candidate(store.client, ref.name, 1).test is None
