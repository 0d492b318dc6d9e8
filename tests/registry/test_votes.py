"""A model of votes: packaged, loaded, predicting, evaluated, exported and compared with others."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from galaxy_exp.cli.main import run_command
from galaxy_exp.data.dataset import build_dataset
from galaxy_exp.data.inputs import NamedImage
from galaxy_exp.errors import ModelError
from galaxy_exp.questions import Question, Questions, Votes
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.classifier import GalaxyClassifier, load_model
from galaxy_exp.registry.export import export_network
from galaxy_exp.registry.exported import facts_file
from galaxy_exp.registry.held_out import HeldOutPredictions, fetch_held_out_predictions, log_held_out_predictions
from galaxy_exp.registry.labelled import align_questions, evaluate_on, list_predictions
from galaxy_exp.registry.packaging import ModelPackage, log_and_register
from galaxy_exp.registry.prediction import columns_of, predict_to_rows, write_rows
from galaxy_exp.registry.promotion import Candidate, decide_promotion

from .conftest import IMAGE_SIZE, Store, coloured, needs_onnx

TREE = Questions((Question("hue", ("red", "other")), Question("which", ("green", "blue"), after="hue.other")))
COLUMNS = ["hue.red", "hue.other", "which.green", "which.blue"]


@pytest.fixture(scope="module")
def vote_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose concentrations follow from the mean of each channel: never under 1, at most 21."""
    import keras

    network = keras.Sequential(
        [
            keras.Input((*IMAGE_SIZE, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="head"),
        ]
    )
    weights = 20 * np.array([[1, 0, 0, 0], [0, 0.5, 1, 0], [0, 0.5, 0, 1]], np.float32)
    network.get_layer("head").set_weights([weights, np.ones(4, np.float32)])
    path = tmp_path_factory.mktemp("votes") / "best.keras"
    network.save(path)
    return path


def _register(file: Path, store: Store, name: str, questions: Questions) -> str:
    """Registers a network of votes; returns the URI of its version."""
    package = ModelPackage(
        model_file=file,
        class_names=questions.class_names,
        image_shape=(*IMAGE_SIZE, 3),
        input_example=np.zeros((1, *IMAGE_SIZE, 3), np.uint8),
        metadata={"sweep_id": "votes-sweep", "temperature": None},
        questions=questions,
    )
    ref = log_and_register(
        package,
        run_id=store.finished_run(),
        registered_name=name,
        tags={version_tags.SIMULATED: "false"},
        description="",
        tracking_uri=store.uri,
    )
    return ref.uri


@pytest.fixture(scope="module")
def classifier(vote_file: Path, store: Store) -> GalaxyClassifier:
    return load_model(_register(vote_file, store, "votes", TREE), tracking_uri=store.uri)


def test_it_gives_fractions_concentrations_and_the_winning_answer(classifier: GalaxyClassifier) -> None:
    found = classifier.predict([coloured(0), coloured(2, 60, 40)])
    assert classifier.questions == TREE
    assert (found.class_names, found.labels.tolist()) == (["red", "other"], [0, 1])
    assert found.fractions is not None and found.concentrations is not None
    assert (found.fractions.shape, found.concentrations.shape) == ((2, 4), (2, 2))
    assert TREE.totals(found.fractions) == pytest.approx(np.ones((2, 2)))
    assert found.probabilities == pytest.approx(found.fractions[:, :2])
    raw = classifier.packaged.predict_probabilities([coloured(0), coloured(2)])
    assert found.outputs(TREE) == pytest.approx(raw, abs=1e-4)
    assert found.concentrations.min() > 2


def test_a_network_of_fractions_states_no_concentration(vote_file: Path, store: Store, tmp_path: Path) -> None:
    import keras

    images = keras.Input((*IMAGE_SIZE, 3), dtype="uint8")
    concentrations = keras.saving.load_model(vote_file)(images)
    shares = [keras.layers.Softmax()(concentrations[:, columns]) for columns in TREE.slices.values()]
    keras.Model(images, keras.layers.Concatenate()(shares)).save(tmp_path / "best.keras")
    classifier = load_model(_register(tmp_path / "best.keras", store, "fractions", TREE), tracking_uri=store.uri)
    found = classifier.predict([coloured(0)])
    assert np.isnan(found.concentrations).all()
    assert found.outputs(TREE) == pytest.approx(found.fractions)
    table = classifier.packaged.predict(None, np.stack([coloured(0)]))
    assert table[["concentration_hue", "concentration_which"]].isna().all(axis=None)
    (row,) = predict_to_rows(classifier, [[NamedImage("a.png", coloured(0))]])
    assert (row["concentration_hue"], row["low_hue.red"]) == (None, None)


def test_the_columns_of_a_catalogue_are_matched_with_the_model_s_questions(
    vote_file: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("smooth-or-featured", "disk-edge-on")
    tree = Questions(
        (
            Question(names[0], ("smooth", "featured-or-disk")),
            Question(names[1], ("yes", "no"), after=f"{names[0]}.featured-or-disk"),
        )
    )
    _register(vote_file, store, "zoo", tree)
    columns = [f"{each.name}_{answer}" for each in tree.items for answer in each.answers]
    with (tmp_path / "zoo.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", *columns, "bar_yes", "bar_no"])  # a question that the model was not asked
        for number in range(6):
            Image.fromarray(coloured(number % 3)).save(tmp_path / f"{number}.png")
            rows.writerow([f"{number}.png", 12, 8, 3, 5, 2, 3])
    arguments = ["evaluate", str(tmp_path / "zoo.csv"), "--model", "models:/zoo/1", "--uri", store.uri]
    assert run_command([*arguments, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n_images"] == 6 and report["deviance"] > 0


def test_a_temperature_is_refused_by_name(classifier: GalaxyClassifier) -> None:
    with pytest.raises(ModelError, match="predicts fractions of votes, for which no temperature is fitted"):
        classifier.calibrated()


def test_mlflow_alone_gives_a_column_per_answer_as_the_signature_says(
    classifier: GalaxyClassifier, store: Store
) -> None:
    model = mlflow.pyfunc.load_model(store.client.get_model_version_download_uri("votes", str(classifier.version)))
    images = np.stack([coloured(0), coloured(1)])
    table = model.predict(images)
    names = ["label", "class_name", "probability", *(f"p_{name}" for name in COLUMNS)]
    assert list(table) == [*names, "concentration_hue", "concentration_which"]
    assert model.metadata.signature.outputs.input_names() == list(table)
    found = classifier.predict(images)
    assert table[[f"p_{name}" for name in COLUMNS]].to_numpy() == pytest.approx(found.fractions)
    assert table[["concentration_hue", "concentration_which"]].to_numpy() == pytest.approx(found.concentrations)
    assert table["probability"].tolist() == pytest.approx(found.probabilities.max(axis=1).tolist())
    assert len(model.predict(np.zeros((0, *IMAGE_SIZE, 3), np.uint8))) == 0


class TestRows:
    def _batches(self) -> Iterator[list[NamedImage]]:
        yield [NamedImage("a.png", coloured(0)), NamedImage("b.png", None, "not an image")]

    def test_have_each_fraction_with_its_interval(self, classifier: GalaxyClassifier, tmp_path: Path) -> None:
        rows = list(predict_to_rows(classifier, self._batches()))
        columns = columns_of(classifier)
        assert [list(row) for row in rows] == [columns] * 2
        first = rows[0]
        assert first["probability"] == first["p_hue.red"]
        assert first["low_hue.red"] < first["p_hue.red"] < first["high_hue.red"]
        assert first["concentration_hue"] == pytest.approx(22 + 20 * (220 - 255 + 20) / 255, abs=1e-3)
        assert rows[1]["p_hue.red"] is None and rows[1]["error"] == "not an image"
        write_rows(rows, columns, tmp_path / "out.parquet", "parquet")
        table = parquet.read_table(tmp_path / "out.parquet")
        assert table.column_names == columns
        assert {str(table.schema.field(name).type) for name in columns if name[:4] in ("low_", "conc")} == {"double"}
        write_rows(rows, columns, tmp_path / "out.csv", "csv")
        read = list(csv.DictReader((tmp_path / "out.csv").open()))
        assert float(read[0]["high_which.blue"]) == first["high_which.blue"]

    def test_without_concentrations_intervals_are_unknown(self, classifier: GalaxyClassifier) -> None:
        class Softmax:
            class_names, questions, refusal = classifier.class_names, TREE, classifier.refusal

            def predict(self, images: list[np.ndarray]) -> object:
                found = classifier.predict(images)
                return replace(found, concentrations=np.ones_like(found.concentrations))

        (row, _) = predict_to_rows(Softmax(), self._batches())  # type: ignore[arg-type]
        assert row["p_hue.red"] > 0.5
        assert row["low_hue.red"] is row["high_hue.red"] is row["concentration_hue"] is None


class TestEvaluating:
    def _data(self, questions: Questions = TREE, n: int = 40):
        rng = np.random.default_rng(1)
        channels = np.arange(n) % 3
        images = np.stack([coloured(channel) for channel in channels])
        red = rng.binomial(20, np.where(channels == 0, 0.9, 0.1))
        green = rng.binomial(20 - red, np.where(channels == 1, 0.8, 0.2))
        values = np.column_stack([red, 20 - red, green, 20 - red - green]).astype(np.float32)
        return build_dataset(images, None, source="votes.h5", votes=Votes(questions, values, True))

    def test_fractions_are_scored_on_votes(self, classifier: GalaxyClassifier) -> None:
        data = self._data()
        alignment = align_questions(classifier.questions, data)
        assert alignment is not None
        report, fractions = evaluate_on(classifier, data, alignment, agreement=0.7)
        assert (report.n_images, fractions.shape) == (40, (40, 4))
        assert report.votes is not None and report.votes["agreement"] == 0.7
        assert report.accuracy == 1.0
        assert 0 < report.deviance < 0.2
        columns, rows = list_predictions(data, alignment, fractions)
        found = list(rows)
        assert columns[-5:] == [*(f"observed_{name}" for name in COLUMNS), "error"]
        assert [list(row) for row in found] == [columns] * 40
        assert found[0]["observed_hue.red"] == pytest.approx(data.votes.values[0, 0] / 20, abs=1e-6)

    def test_other_questions_are_refused_in_one_line(self, classifier: GalaxyClassifier) -> None:
        others = Questions((TREE.items[0], Question("which", ("blue", "green"), after="hue.other")))
        with pytest.raises(
            ModelError, match=re.escape("which after hue.other (blue, green); expected hue (red, other)")
        ):
            align_questions(classifier.questions, self._data(others))
        with pytest.raises(ModelError, match="--map: both the model and the data have votes"):
            align_questions(classifier.questions, self._data(), {"red": "other"})
        labelled = build_dataset(np.stack([coloured(0), coloured(1)]), np.array([0, 1]), source="labels")
        assert align_questions(classifier.questions, labelled) is None
        assert align_questions(None, self._data()) is None


@pytest.mark.parametrize("name", [pytest.param("votes.onnx", marks=needs_onnx), "votes"])  # ONNX and SavedModel
def test_an_exported_network_says_what_it_gives(classifier: GalaxyClassifier, tmp_path: Path, name: str) -> None:
    assert export_network(classifier, tmp_path / name) < 1e-4
    facts = json.loads(facts_file(tmp_path / name).read_text())
    assert facts["answers"] == COLUMNS
    assert Questions.from_list(facts["questions"]) == TREE
    assert "(n, n_answers), a positive number for each answer" in facts["output"]


@needs_onnx
def test_an_exported_network_predicts_votes_as_the_model_does(classifier: GalaxyClassifier, tmp_path: Path) -> None:
    export_network(classifier, tmp_path / "votes.onnx")
    exported, images = load_model(str(tmp_path / "votes.onnx")), [coloured(0), coloured(2, 40, 30)]
    ours, expected = exported.predict(images), classifier.predict(images)
    assert exported.questions == classifier.questions
    assert ours.class_names == expected.class_names
    np.testing.assert_allclose(ours.fractions, expected.fractions, atol=1e-4)
    np.testing.assert_allclose(ours.concentrations, expected.concentrations, rtol=1e-4)


class TestPromotion:
    def _test(self, noise: float, questions: Questions = TREE, seed: int = 0) -> HeldOutPredictions:
        rng = np.random.default_rng(0)
        red = rng.beta(0.5, 0.5, 300)
        counts = rng.binomial(20, red)
        green = rng.binomial(20 - counts, 0.5)
        values = np.column_stack([counts, 20 - counts, green, 20 - counts - green]).astype(np.float32)
        outputs = 20 * np.column_stack([red, 1 - red, np.full((300, 2), 0.5)]) + 0.2
        outputs = np.abs(outputs + np.random.default_rng(seed).normal(0, noise, outputs.shape)) + 0.1
        votes = Votes(questions, values, True)
        labels = values[:, :2].argmax(axis=1)
        images = np.array([b"%d" % number for number in range(300)], "S32")
        return HeldOutPredictions("same", labels, outputs.astype(np.float32), images, votes, 0.8)

    def _candidate(self, version: int, test: HeldOutPredictions, objective: str = "val_rmse") -> Candidate:
        return Candidate("votes", version, False, objective, test)

    def test_a_lower_deviance_is_promoted(self) -> None:
        good, bad = self._candidate(2, self._test(0.5)), self._candidate(1, self._test(8))
        decision = decide_promotion(good, bad, opening=2)
        assert decision.promote and decision.difference > 0
        assert "deviance reduced by +" in decision.reason
        worse = decide_promotion(self._candidate(2, self._test(8)), self._candidate(1, self._test(0.5)), opening=2)
        assert not worse.promote and worse.reason.startswith("worse than version 1")

    def test_a_score_of_the_images_whose_votes_agree_names_how_many_these_are(self) -> None:
        old, new = (
            self._candidate(version, self._test(noise), "val_accuracy") for version, noise in ((1, 12), (2, 0.5))
        )
        assert new.test is not None
        agreed = int((new.test.votes.values[:, :2].max(axis=1) >= 16).sum())
        decision = decide_promotion(new, old, opening=1)
        assert f"on the same {agreed} held-out test images whose votes agree, of 300: accuracy" in decision.reason
        assert 0 < agreed < 300

    def test_the_objective_decides_where_it_is_a_mean_over_images(self) -> None:
        good, bad = self._test(0.5), self._test(8)
        decision = decide_promotion(self._candidate(2, good, "val_nll"), self._candidate(1, bad))
        assert "nll reduced by" in decision.reason
        decision = decide_promotion(self._candidate(2, good, "val_accuracy"), self._candidate(1, bad))
        assert "accuracy differs by" in decision.reason

    def test_chance_promotes_none(self) -> None:
        decision = decide_promotion(
            self._candidate(2, self._test(2, seed=3)), self._candidate(1, self._test(2, seed=4))
        )
        assert not decision.promote and "not clearly better than" in decision.reason

    def test_other_questions_and_models_of_classes_are_not_compared(self) -> None:
        mine = self._candidate(2, self._test(1))
        others = Questions((TREE.items[0], Question("which", ("green", "violet"), after="hue.other")))
        decision = decide_promotion(mine, self._candidate(1, self._test(1, others)))
        assert not decision.promote
        assert "version 1, the champion, was trained on other questions or answers" in decision.reason
        of_classes = self._candidate(1, HeldOutPredictions("same", mine.test.labels, np.full((300, 2), 0.5)))
        decision = decide_promotion(mine, of_classes)
        assert "this version predicts fractions of votes; version 1, the champion, classes" in decision.reason
        decision = decide_promotion(replace(of_classes, version=3), mine)
        assert "this version predicts classes; version 2, the champion, fractions of votes" in decision.reason

    def test_rows_are_matched_by_image_with_their_votes(self) -> None:
        test = self._test(1)
        order = np.random.default_rng(5).permutation(300)
        votes = Votes(TREE, test.votes.values[order], True)
        shuffled = HeldOutPredictions(
            "other", test.labels[order], test.probabilities[order], test.images[order], votes, 0.8
        )
        found = shuffled.in_order_of(test)
        assert found is not None
        assert np.array_equal(found.probabilities, test.probabilities)
        assert np.array_equal(found.votes.values, test.votes.values)

    def test_stored_predictions_have_their_votes(self, store: Store) -> None:
        run, test = store.finished_run(), self._test(1)
        log_held_out_predictions(store.client, run, test)
        found = fetch_held_out_predictions(store.client, run)
        assert found is not None and found.votes is not None
        assert (found.votes.questions, found.votes.are_counts, found.agreement) == (TREE, True, 0.8)
        assert np.array_equal(found.votes.values, test.votes.values)
        assert np.array_equal(found.images, test.images)
