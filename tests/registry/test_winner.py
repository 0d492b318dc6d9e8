"""From finished trials to a promoted version: a real journal, a real model file, a real MLflow store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxy_exp.config import parse_sweep
from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.errors import BadInputError, ModelError, SweepFailedError, TrackingError
from galaxy_exp.evaluation.held_out_report import build_report
from galaxy_exp.evaluation.resampling import opening_level
from galaxy_exp.evaluation.selection import choose_winner
from galaxy_exp.folders import SweepFolder, graph_of
from galaxy_exp.journal.events import (
    FinalistsChosen,
    ModelRegistered,
    PromotionDecided,
    SealedTestOpened,
    SweepStarted,
    TrialEnded,
    TrialProposed,
    TrialRunCreated,
)
from galaxy_exp.journal.journal import Journal
from galaxy_exp.records import TrialResult, TrialState
from galaxy_exp.registry import version_tags, winner
from galaxy_exp.registry.classifier import load_model
from galaxy_exp.registry.held_out import describe_opening, digest_test_set, fetch_held_out_predictions
from galaxy_exp.registry.networks import evaluate_model

from .conftest import Store

NUMBERS = count()


class Sweep:
    """A journal whose trials have ended, with a model in the folder of each that made one."""

    def __init__(
        self, folder: Path, data: PreparedData, store: Store, model: bytes, registry: Any = (), **search: Any
    ) -> None:
        self.name = f"winner-{next(NUMBERS)}"
        config = parse_sweep({"search": search, "registry": {"model": self.name, **dict(registry)}})
        self.folder, self.data, self.store, self._model = SweepFolder(folder / "sweeps" / self.name), data, store, model
        self.journal = Journal.create(
            self.folder.path,
            SweepStarted(
                sweep_id=self.name,
                config=config.model_dump(mode="json"),
                space={},
                baseline={},
                data_folder=str(data.folder),
                data_digest=data.digest,
                split_digest=data.split_digest,
                tracking_uri=store.uri,
                software={},
            ),
        )

    def trial(
        self,
        value: float,
        state: TrialState = TrialState.COMPLETED,
        reason: str = "all epochs",
        confirms: int | None = None,
    ) -> None:
        number, metric = len(self.journal.record.trials), self.journal.record.objective.name
        self.journal.append(TrialProposed(number=number, values={"units": 8}, seed=number, confirms=confirms))
        self.journal.append(TrialRunCreated(number=number, run_id=self.store.finished_run()))
        metrics = {metric: value} if state.has_model else {}
        self.journal.append(TrialEnded(result=TrialResult(number, 1, state, reason, 1, metrics, 1, 1.0)))
        if state.has_model:
            self.model_file(number).parent.mkdir(parents=True)
            self.model_file(number).write_bytes(self._model)

    def model_file(self, number: int) -> Path:
        return self.folder.trial(number) / "model.keras"

    def choose(self) -> int:
        return choose_winner(self.journal).number

    def test(self) -> list[int]:
        """Opens the held-out test set; the trials it has been opened for, in the order of the journal."""
        winner.open_held_out_test(self.journal, self.folder, self.data)
        return list(self.journal.record.test_reports)

    def register(self) -> None:
        winner.register_winner(self.journal, self.folder, self.data, self.store.client)

    def promote(self) -> PromotionDecided:
        winner.promote_winner(self.journal, self.folder, self.store.client)
        assert self.journal.record.promotion is not None
        return self.journal.record.promotion

    def to_registered(self) -> Sweep:
        self.choose()
        self.test()
        self.register()
        return self

    def versions(self) -> list[int]:
        found = self.store.client.search_model_versions(f"name = '{self.name}'")
        return [int(version.version) for version in found]

    def fail_once(self, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
        """The process is killed when it would journal the first event of this kind."""
        append = self.journal.append

        def killed(event: Any) -> Any:
            if isinstance(event, kind):
                monkeypatch.setattr(self.journal, "append", append)
                raise KeyboardInterrupt
            return append(event)

        monkeypatch.setattr(self.journal, "append", killed)


@pytest.fixture(scope="module")
def tiny_model(prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A `.keras` file for the prepared images; its predictions depend on colour alone."""
    import keras

    layers = [keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D()]
    head = keras.layers.Dense(len(prepared.class_names), activation="softmax")
    path = tmp_path_factory.mktemp("tiny") / "model.keras"
    keras.Sequential([keras.Input(prepared.image_shape, dtype="uint8"), *layers, head]).save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def other_models(tiny_model: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three more, with other weights."""
    import keras

    path, found = tmp_path_factory.mktemp("others") / "model.keras", []
    path.write_bytes(tiny_model)
    network = keras.saving.load_model(path)
    for seed in range(3):
        weights = np.random.default_rng(seed).normal(0, 3, (3, network.output_shape[1]))
        network.layers[-1].set_weights([weights, np.zeros(network.output_shape[1])])
        network.save(path)
        found.append(path.read_bytes())
    return found


@pytest.fixture
def sweep(prepared: PreparedData, store: Store, tiny_model: bytes, tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    """Makes a sweep from its trials' objective values; keywords are keys of `search`, and `registry`."""
    made: list[Sweep] = []

    def call(*values: float, **search: Any) -> Sweep:
        made.append(Sweep(tmp_path, prepared, store, tiny_model, **search))
        for value in values:
            made[-1].trial(value)
        return made[-1]

    yield call
    for each in made:
        each.journal.close()


class TestChoosing:
    @pytest.mark.parametrize(
        ("objective", "values", "best"),
        [
            ("val_macro_f1", [0.5, 0.7, 0.7, 0.6], 1),
            ("val_loss", [0.5, 0.2, 0.2, 0.6], 1),
            ("val_macro_f1", [float("nan"), 0.1], 1),
        ],
    )
    def test_the_best_wins_and_the_earlier_of_two_equals(
        self, sweep: Callable[..., Sweep], objective: str, values: list[float], best: int
    ) -> None:
        assert sweep(*values, objective=objective).choose() == best

    def test_the_choice_stands(self, sweep: Callable[..., Sweep]) -> None:
        chosen = sweep(0.5, 0.7)
        assert chosen.choose() == 1
        chosen.trial(0.9)
        assert chosen.choose() == 1

    def test_a_failed_trial_cannot_win(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep()
        made.trial(0.9, TrialState.FAILED)
        made.trial(0.1, TrialState.STOPPED)
        assert made.choose() == 1

    def test_without_any_model_the_last_reason_is_named(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep()
        made.trial(0, TrialState.FAILED, "loss is nan at epoch 1")
        made.trial(0, TrialState.LOST, "its worker died 3 times")
        message = rf"none of the 2 trials of {made.name} ended with a model; the last: its worker died 3 times"
        with pytest.raises(SweepFailedError, match=message):
            made.choose()
        assert made.journal.record.winner is None


class TestHeldOutTest:
    def test_it_is_opened_once_for_the_winner_and_once_for_the_baseline(
        self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, tested = sweep(0.5, 0.7, 0.6), []
        real = winner.evaluate_model

        def evaluate(model_file: Path, *rest: Any, **options: Any) -> Any:
            tested.append(model_file)
            return real(model_file, *rest, **options)

        monkeypatch.setattr(winner, "evaluate_model", evaluate)
        made.choose()
        assert made.test() == [1, 0]
        assert made.test() == [1, 0]
        assert tested == [made.model_file(1), made.model_file(0)]
        report = made.journal.record.test_reports[1]
        probabilities = np.load(made.folder.trial(1) / "test_probabilities.npy")
        assert report["n_images"] == len(probabilities) == sum(made.data.counts["test"].values())

    def test_killed_before_it_is_journaled_it_is_opened_again(
        self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sweep(0.5, 0.7)
        made.choose()
        made.fail_once(monkeypatch, SealedTestOpened)
        with pytest.raises(KeyboardInterrupt):
            made.test()
        assert made.journal.record.test_reports == {}
        assert made.test() == [1, 0]

    def test_a_baseline_that_won_is_tested_once(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.7, 0.5)
        made.choose()
        assert made.test() == [0]

    def test_a_baseline_without_a_model_is_passed_over(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep()
        made.trial(0, TrialState.FAILED)
        made.trial(0.5)
        made.choose()
        assert made.test() == [1]

    def test_a_baseline_whose_file_is_gone_is_passed_over(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5, 0.7)
        made.model_file(0).unlink()
        made.choose()
        assert made.test() == [1]
        made.register()
        assert made.versions() == [1]

    def test_a_sweep_without_baseline_tests_its_winner_alone(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5, 0.7, baseline=False)
        made.choose()
        assert made.test() == [1]

    def test_a_winner_whose_file_is_gone_is_one_line_that_says_what_to_do(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5, 0.7)
        made.choose()
        made.model_file(1).unlink()
        message = rf"0001/model\.keras: the model of trial 1, the best of .*then: galaxy-exp resume {made.name}; if"
        with pytest.raises(ModelError, match=message):
            made.test()
        assert made.journal.record.test_reports == {}


class TestRegistering:
    def test_the_version_has_its_test_and_where_it_comes_from(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5, 0.7).to_registered()
        version = made.store.client.get_model_version(made.name, "1")
        run_id = made.journal.record.trials[1].run_id
        report = made.journal.record.test_reports[1]
        assert version.run_id == run_id
        assert version.tags[version_tags.SWEEP_ID] == made.name
        assert version.tags[version_tags.SIMULATED] == "true"
        assert version.tags[version_tags.OBJECTIVE] == "val_macro_f1"
        assert version_tags.parse_test_tags(version.tags, made.name)["accuracy"] == report["accuracy"]
        for heading in ("Data", "Training", "Search", "Held-out test", "Limits", "Software"):
            assert f"\n## {heading}\n" in version.description
        low, high = report["intervals"]["accuracy"]
        assert f"| accuracy | {report['accuracy']:.3f} | {low:.3f} to {high:.3f} |" in version.description
        assert made.data.digest in version.description
        assert "The baseline is trial 0." in version.description
        assert "Simulated galaxies" in version.description
        stored = fetch_held_out_predictions(made.store.client, run_id)
        assert stored is not None
        assert stored.digest == version.tags[version_tags.TEST_DIGEST] == report["digest"]
        assert stored.images is not None
        assert stored.images.shape == (report["n_images"],)

    def test_the_version_averages_as_the_held_out_test_did(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5, 0.7, registry={"tta": True}).to_registered()
        reports = made.journal.record.test_reports
        assert [report["tta"] for report in (reports[1], reports[0])] == [True, False]
        (compared,) = reports[1]["compared"]
        assert compared["differences"]["accuracy"] == [0.0, 0.0, 0.0]  # colour does not change when an image is turned
        version = made.store.client.get_model_version(made.name, "1")
        assert "Without the mean over flips and turns: accuracy" in version.description
        model = load_model(f"models:/{made.name}/1", tracking_uri=made.store.uri)
        assert model.tta
        assert model.temperature == reports[1]["temperature"]
        images = np.load(made.data.held_out.images)
        probabilities = np.load(made.folder.trial(1) / "test_probabilities.npy")
        assert model.predict(images).probabilities == pytest.approx(probabilities, abs=1e-6)

    def test_the_mean_of_the_seeds_is_tested_and_registered(
        self, sweep: Callable[..., Sweep], other_models: list[bytes]
    ) -> None:
        made = sweep(0.5, 0.7, registry={"ensemble": True, "tta": True})
        made.journal.append(FinalistsChosen(numbers=[1], reason="max_trials reached"))
        for value, model in zip((0.6, 0.65, 0.62), other_models, strict=True):
            made.trial(value, confirms=1)
            made.model_file(len(made.journal.record.trials) - 1).write_bytes(model)
        assert made.choose() == 3
        assert made.test() == [3, 0]
        report = made.journal.record.test_reports[3]
        assert report["members"] == [2, 3, 4]
        assert [other["name"] for other in report["compared"]] == [
            "trial 3 alone",
            "without the mean over flips and turns",
        ]
        probabilities = np.load(made.folder.trial(3) / "test_probabilities.npy")
        images, labels = made.data.held_out.images, made.data.held_out.labels
        alone = [
            evaluate_model(made.model_file(number), images, labels, made.data.class_names, "")[1]
            for number in (2, 3, 4)
        ]
        assert probabilities == pytest.approx(np.mean(alone, axis=0), abs=1e-6)
        assert np.abs(alone[0] - alone[1]).max() > 0.01
        (made.folder.trial(3) / "ensemble.keras").unlink()
        made.register()
        loaded = load_model(f"models:/{made.name}/1", tracking_uri=made.store.uri)
        assert loaded.metadata["members"] == [2, 3, 4]
        assert loaded.predict(np.load(images)).probabilities == pytest.approx(probabilities, abs=1e-6)
        description = made.store.client.get_model_version(made.name, "1").description
        assert "the mean over the networks of trials 2, 3, 4 and the flips and quarter turns" in description

    def test_a_single_training_is_no_ensemble(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5, registry={"ensemble": True, "seeds": 1}, baseline=False)
        made.journal.append(FinalistsChosen(numbers=[0], reason="max_trials reached"))
        made.trial(0.6, confirms=0)
        assert made.choose() == 1
        assert made.test() == [1]
        report = made.journal.record.test_reports[1]
        assert (report["members"], report["compared"]) == ([], [])
        made.register()
        assert load_model(f"models:/{made.name}/1", tracking_uri=made.store.uri).metadata["members"] == []

    def test_networks_with_layers_of_their_own_are_averaged_in_the_report_alone(
        self, sweep: Callable[..., Sweep], other_models: list[bytes], tmp_path: Path
    ) -> None:
        import keras

        made = sweep(0.5, registry={"ensemble": True}, baseline=False)
        made.journal.append(FinalistsChosen(numbers=[0], reason="max_trials reached"))
        for value, model in zip((0.6, 0.65), other_models[:2], strict=True):
            made.trial(value, confirms=0)
            file = made.model_file(len(made.journal.record.trials) - 1)
            file.write_bytes(model)
            images = keras.InputSpec(shape=(None, *made.data.image_shape), dtype="uint8")
            keras.saving.load_model(file).export(graph_of(file), verbose=False, input_signature=[images])
        made.choose()
        assert made.test() == [2]
        report = made.journal.record.test_reports[2]
        assert report["members"] == []
        (other,) = report["compared"]
        assert other["name"] == "the mean of trials 1, 2, not registered for their own layers"
        assert other["loss"] != report["loss"]

    def test_twice_is_once(self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
        made = sweep(0.5)
        made.fail_once(monkeypatch, ModelRegistered)
        with pytest.raises(KeyboardInterrupt):
            made.to_registered()
        assert made.journal.record.registered is None
        made.register()
        made.register()
        assert made.versions() == [1]
        assert made.journal.record.registered is not None
        assert (made.journal.record.registered.name, made.journal.record.registered.version) == (made.name, 1)

    def test_a_test_of_an_earlier_release_is_registered(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5)
        made.choose()
        names = made.data.class_names
        labels = np.load(made.data.held_out.labels)
        probabilities = np.full((len(labels), len(names)), 1 / len(names), np.float32)
        report = build_report(labels, probabilities, names, digest_test_set(made.data)).to_dict()
        for name in ("top2", "macro_f1_without_rare", "calibration_error", "intervals", "reliability", "temperature",
                     "calibrated", "coverage", "tta", "members", "compared"):  # fmt: skip
            del report[name]
        np.save(made.folder.trial(0) / "test_probabilities.npy", probabilities)
        made.journal.append(SealedTestOpened(number=0, report=report))
        made.register()
        model = load_model(f"models:/{made.name}/1", tracking_uri=made.store.uri)
        assert (model.temperature, model.tta) == (None, False)

    @pytest.mark.parametrize(
        ("file", "what"),
        [
            ("model.keras", "the model of trial 0, "),
            ("test_probabilities.npy", "what trial 0 predicted for the held-out test set"),
        ],
    )
    def test_a_file_that_went_since_the_test_is_one_line(
        self, sweep: Callable[..., Sweep], file: str, what: str
    ) -> None:
        made = sweep(0.5)
        made.choose()
        made.test()
        (made.folder.trial(0) / file).unlink()
        with pytest.raises(ModelError, match=rf"0000/{file}: {what}.*galaxy-exp resume {made.name}"):
            made.register()

    def test_damaged_predictions_are_one_line(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5)
        made.choose()
        made.test()
        (made.folder.trial(0) / "test_probabilities.npy").write_bytes(b"")
        with pytest.raises(ModelError, match=r"0000/test_probabilities\.npy: .* is gone or damaged"):
            made.register()

    @pytest.mark.parametrize("error", [OSError(28, "No space left"), ModuleNotFoundError("No module named 'boto3'")])
    @pytest.mark.parametrize("step", ["log_artifact", "log_model_artifacts"])
    def test_whatever_the_store_raises_is_one_line(
        self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, error: Exception, step: str
    ) -> None:
        made = sweep(0.5)
        made.choose()
        made.test()
        with monkeypatch.context() as patch, pytest.raises(TrackingError) as caught:
            patch.setattr(f"mlflow.MlflowClient.{step}", _raising(error))
            made.register()
        assert str(error) in str(caught.value)
        assert "\n" not in str(caught.value)
        made.register()
        assert made.versions() == [1]


class TestOpenings:
    """How often the test set was opened, by whom, and what follows."""

    def test_it_is_on_record_before_it_is_read_and_once_a_sweep(
        self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, ledger = sweep(0.5, 0.7), []
        real = winner.evaluate_model

        def evaluate(*arguments: Any, **options: Any) -> Any:
            ledger.append(made.folder.project.test_openings.read_text().splitlines())
            return real(*arguments, **options)

        monkeypatch.setattr(winner, "evaluate_model", evaluate)
        made.choose()
        made.fail_once(monkeypatch, SealedTestOpened)
        with pytest.raises(KeyboardInterrupt):
            made.test()
        made.test()
        assert [len(lines) for lines in ledger] == [1, 1, 1]
        assert made.journal.record.opening == 1
        assert len(made.journal.record.test_set) == 2

    def test_a_later_sweep_counts_the_sweeps_before_it_in_folder_and_store(
        self, sweep: Callable[..., Sweep], tmp_path: Path
    ) -> None:
        first = sweep(0.5).to_registered()
        first.promote()
        second = sweep(0.5).to_registered()
        assert second.journal.record.opening == 2
        (tmp_path / "test_openings.jsonl").unlink()  # as on another machine, which has the store alone
        second.promote()
        counted = second.journal.record.opening
        assert counted > first.journal.record.opening >= 1
        version = second.store.client.get_model_version(second.name, "1")
        assert version.tags[version_tags.PROMOTION_OPENING] == str(counted)
        assert f"opening {counted} of this test set" in version.description

    def test_the_gate_is_at_the_level_of_the_opening(self, sweep: Callable[..., Sweep]) -> None:
        first = sweep(0.5, registry={"model": "shared-name"}).to_registered()
        first.promote()
        second = sweep(0.5, registry={"model": "shared-name"}).to_registered()
        second.promote()
        promotion = second.journal.record.promotion
        assert promotion is not None
        assert not promotion.promoted
        level = 100 * opening_level(promotion.opening)
        assert promotion.reason.endswith(f"; opening {promotion.opening} of this test set; level {level:.2g}%")


class TestPromoting:
    def test_the_first_version_is_champion(self, sweep: Callable[..., Sweep]) -> None:
        made = sweep(0.5).to_registered()
        decision = made.promote()
        assert (decision.name, decision.version, decision.promoted) == (made.name, 1, True)
        opening = describe_opening(decision.opening, compared=False)
        assert decision.reason == f"first version: there was no champion; {opening}"
        assert made.journal.record.opening == decision.opening
        assert made.promote() == decision

    def test_killed_before_it_is_journaled_the_reason_stays(
        self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sweep(0.5).to_registered()
        made.fail_once(monkeypatch, PromotionDecided)
        with pytest.raises(KeyboardInterrupt):
            made.promote()
        assert made.promote().reason.startswith("first version: there was no champion; opening ")

    def test_killed_after_the_alias_moved_the_reason_stays(
        self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sweep(0.5).to_registered()
        tag = made.store.client.set_model_version_tag

        def killed(name: str, version: str, key: str, value: str) -> None:
            if key == version_tags.PROMOTION:
                raise KeyboardInterrupt
            tag(name, version, key, value)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(made.store.client, "set_model_version_tag", killed)
            made.promote()
        assert int(made.store.client.get_model_version_by_alias(made.name, version_tags.CHAMPION).version) == 1
        assert made.promote().reason.startswith("first version: there was no champion; opening ")
        assert made.store.client.get_model_version(made.name, "1").tags[version_tags.PROMOTION] == "promoted"

    def test_a_version_promoted_by_hand_meanwhile_stays_so(self, sweep: Callable[..., Sweep]) -> None:
        from galaxy_exp.registry.champion import promote

        made = sweep(0.5).to_registered()
        promote(made.name, 1, made.store.uri)
        decision = made.promote()
        assert (decision.promoted, decision.reason) == (
            True,
            "promoted by hand (first version: there was no champion)",
        )

    @pytest.mark.parametrize(
        ("raised", "expected"),
        [(ConnectionError("reset"), TrackingError), (BadInputError("cannot compare"), BadInputError)],
    )
    def test_foreign_errors_become_tracking_errors_and_our_own_stay(
        self, sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type
    ) -> None:
        made = sweep(0.5).to_registered()
        for step in ("decide_against_champion", "apply_promotion", "read_decision"):
            with monkeypatch.context() as patch, pytest.raises(expected, match=str(raised)) as caught:
                patch.setattr(winner, step, _raising(raised))
                made.promote()
            assert type(caught.value) is expected
        assert made.promote().promoted


def _raising(error: Exception) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call
