import csv
import os
import sys
import types
from dataclasses import replace

import keras
import numpy as np
import pytest

from galaxy_exp.evaluation.metrics import summarise_predictions
from galaxy_exp.folders import graph_of
from galaxy_exp.journal.events import TrialEnded, parse_event
from galaxy_exp.records import DATA_GONE, ENCODER_GONE, Decision, EpochReport, Objective, TrialState
from galaxy_exp.training import resolve_precision, run_trial

from .conftest import CLASSES, UserModel

METRICS = {
    "loss", "accuracy", "macro_f1", "val_loss", "val_accuracy", "val_macro_f1", "val_balanced_accuracy",
    "learning_rate", "epoch_seconds", "images_per_second",
}  # fmt: skip
CLOCKS = {"epoch_seconds", "images_per_second"}


def _run(spec, report=lambda _: Decision.CONTINUE):
    reports = []

    def collect(epoch):
        reports.append(epoch)
        return report(epoch)

    return run_trial(spec, collect), reports


def _curves(reports):
    return [{name: value for name, value in each.metrics.items() if name not in CLOCKS} for each in reports]


def _probabilities(spec):
    return np.load(spec.folder / "validation_probabilities.npy")


def _saved_model_probabilities(spec):
    model = keras.saving.load_model(spec.folder / "model.keras", safe_mode=True)
    return model.predict(np.load(spec.data.validation_images), verbose=0)


class TestACompletedTrial:
    @pytest.fixture(scope="class")
    @classmethod
    def ended(cls, tmp_path_factory, split):
        from galaxy_exp.hypermodel import GalaxyCNN, discover_space
        from galaxy_exp.records import TrialSpec

        from .conftest import SIDE, SMALL

        space = discover_space(GalaxyCNN((SIDE, SIDE, 3), len(CLASSES)))
        values = space.defaults | SMALL | {"augmentation": "flips+rotations"}
        spec = TrialSpec(
            "s", 4, values, space.get_config(), "galaxy-cnn", split, 3, 11, "float32", False, False,
            Objective("val_loss", "min"), tmp_path_factory.mktemp("trial"), attempt=2,
        )  # fmt: skip
        return spec, *_run(spec)

    def test_reports_every_epoch(self, ended):
        _, _, reports = ended
        assert [(each.number, each.attempt, each.epoch) for each in reports] == [(4, 2, 1), (4, 2, 2), (4, 2, 3)]
        assert all(set(each.metrics) == METRICS for each in reports)
        assert all(type(value) is float for each in reports for value in each.metrics.values())

    def test_says_how_it_ended(self, ended):
        _, result, _ = ended
        assert (result.number, result.attempt, result.state) == (4, 2, TrialState.COMPLETED)
        assert (result.reason, result.epochs, result.traceback) == ("all 3 epochs", 3, "")
        assert (result.precision, result.backend) == ("float32", keras.backend.backend())
        assert result.parameters == (3 * 9 + 1) * 2 + (2 * 9 + 1) * 2 + (10 * 10 * 2 + 1) * 8 + 9 * 3
        assert 0 < result.training_seconds < result.seconds

    def test_its_metrics_are_those_of_the_best_epoch(self, ended):
        _, result, reports = ended
        best = min(reports, key=lambda each: each.metrics["val_loss"])
        assert (result.best_epoch, result.metrics) == (best.epoch, best.metrics)

    def test_probabilities_belong_to_the_best_epoch(self, ended):
        spec, result, _ = ended
        probabilities = _probabilities(spec)
        assert (probabilities.dtype, probabilities.shape) == (np.float32, (30, len(CLASSES)))
        measured = summarise_predictions(np.load(spec.data.validation_labels), probabilities)
        assert measured["loss"] == pytest.approx(result.metrics["val_loss"])
        assert measured["macro_f1"] == pytest.approx(result.metrics["val_macro_f1"])

    def test_the_saved_model_gives_these_probabilities(self, ended):
        spec, _, _ = ended
        np.testing.assert_allclose(_saved_model_probabilities(spec), _probabilities(spec), atol=1e-5)

    def test_history_has_a_row_per_epoch(self, ended):
        spec, _, reports = ended
        with (spec.folder / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [float(row["val_loss"]) for row in rows] == [each.metrics["val_loss"] for each in reports]
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]

    def test_leaves_nothing_else(self, ended):
        spec, _, _ = ended
        names = {path.name for path in spec.folder.iterdir()}
        assert names == {"model.keras", "validation_probabilities.npy", "history.csv"}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history(make_spec, tmp_path):
    values = {"augmentation": "flips+rotations+shift+zoom", "schedule": "cosine", "label_smoothing": 0.1}
    spec = make_spec(values=values, deterministic=True, epochs=2)
    _, first = _run(spec)
    _, second = _run(replace(spec, folder=tmp_path / "again"))
    _, other = _run(replace(spec, folder=tmp_path / "other", seed=12))
    assert _curves(first) == _curves(second)
    assert _curves(first) != _curves(other)
    assert np.array_equal(_probabilities(spec), _probabilities(replace(spec, folder=tmp_path / "again")))


def test_a_stopped_trial_keeps_its_best_epoch(make_spec):
    """The rate is so high that the loss jumps about: the best epoch is not the last."""
    spec = make_spec(values={"learning_rate": 0.3}, epochs=9, objective=Objective("val_loss", "min"))
    losses = []

    def worsened(report):
        losses.append(report.metrics["val_loss"])
        return Decision.CONTINUE if losses[-1] <= min(losses) else Decision.STOP

    result, reports = _run(spec, worsened)
    assert result.state is TrialState.STOPPED
    assert result.reason == f"stopped after epoch {len(reports)} of 9"
    assert result.best_epoch == len(reports) - 1
    np.testing.assert_allclose(_saved_model_probabilities(spec), _probabilities(spec), atol=1e-5)


def test_a_stop_after_the_last_epoch_is_no_stop(make_spec):
    result, _ = _run(make_spec(epochs=1), lambda _: Decision.STOP)
    assert (result.state, result.reason) == (TrialState.COMPLETED, "all 1 epochs")


def test_the_first_report_and_the_result_say_what_auto_came_to(make_spec):
    reports = []
    result = run_trial(make_spec(precision="auto"), lambda report: reports.append(report) or Decision.CONTINUE)
    assert [report.precision for report in reports] == [resolve_precision("auto"), "", ""]
    assert result.precision == resolve_precision("auto")


def test_mixed_precision_and_class_weights(make_spec):
    values = {"n_blocks": 2, "batch_norm": True, "head": "gap", "class_weighting": "sqrt", "optimizer": "sgd"}
    values |= {"convs_per_block": 1, "width_growth": 2.0, "residual": False, "equivariant": False}
    before = keras.config.dtype_policy().name
    spec = make_spec(values=values, precision="mixed_bfloat16", epochs=1)
    result, _ = _run(spec)
    assert (result.state, result.precision) == (TrialState.COMPLETED, "mixed_bfloat16")
    np.testing.assert_allclose(_saved_model_probabilities(spec), _probabilities(spec), atol=0.05)
    assert keras.config.dtype_policy().name == before


class TestFailures:
    def _failed(self, spec, report=lambda _: Decision.CONTINUE):
        result, _ = _run(spec, report)
        assert result.state is TrialState.FAILED
        assert (result.best_epoch, result.metrics) == (0, {})
        assert result.traceback.startswith("Traceback")
        return result

    def test_a_loss_that_is_not_finite(self, make_spec):
        result = self._failed(make_spec(values={"learning_rate": 1e30, "optimizer": "sgd"}))
        assert result.reason == "diverged: loss is nan at epoch 1"
        assert result.epochs == 0

    def test_an_exception_in_build(self, make_spec, user_models):
        class Broken(UserModel):
            def build(self, hp):
                model = super().build(hp)
                if hp.get("units") == 5:
                    raise ValueError("five is\n  not enough")
                return model

        user_models.Broken = Broken
        result = self._failed(make_spec("user_models:Broken", {"units": 5}))
        assert result.reason == "ValueError: five is not enough"
        assert "not enough" in result.traceback
        assert result.epochs == 0

    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 GB")])
    def test_out_of_memory(self, make_spec, user_models, error):
        class Greedy(UserModel):
            def fit(self, hp, model, *args, **kwargs):
                raise error

        user_models.Greedy = Greedy
        assert self._failed(make_spec("user_models:Greedy")).reason == "out of memory"

    def test_sys_exit(self, make_spec, user_models):
        class Leaving(UserModel):
            def fit(self, hp, model, *args, **kwargs):
                sys.exit("no GPU here")

        user_models.Leaving = Leaving
        reason = self._failed(make_spec("user_models:Leaving")).reason
        assert reason == "SystemExit: no GPU here (from sys.exit or argparse)"

    def test_a_file_whose_name_is_no_text(self, make_spec, user_models):
        class Reading(UserModel):
            def fit(self, hp, model, *args, **kwargs):
                raise ValueError(f"cannot read {os.fsdecode(b'gal' + bytes([233]) + b'xy.png')}")

        user_models.Reading = Reading
        result = self._failed(make_spec("user_models:Reading"))
        assert result.reason == "ValueError: cannot read gal\\udce9xy.png"
        assert parse_event(TrialEnded(result=result).model_dump_json().encode()) == TrialEnded(result=result)

    def test_the_wrong_number_of_outputs(self, make_spec, user_models):
        class Wrong(UserModel):
            n_outputs = 7

        user_models.Wrong = Wrong
        reason = self._failed(make_spec("user_models:Wrong")).reason
        assert reason == "OutputError: the network's output has shape (None, 7); expected (images, 3), one per class"

    def test_a_fit_that_forgets_the_callbacks(self, make_spec, user_models):
        class Deaf(UserModel):
            def fit(self, hp, model, x, y, **kwargs):
                return model.fit(x, y, verbose=0)

        user_models.Deaf = Deaf
        assert "must pass `callbacks`" in self._failed(make_spec("user_models:Deaf")).reason

    def test_a_fit_that_trains_a_copy_of_the_network(self, make_spec, user_models):
        class Copies(UserModel):
            def fit(self, hp, model, x, y, validation_data, **kwargs):
                copy = keras.models.clone_model(model)
                copy.compile("adam", "sparse_categorical_crossentropy")
                return copy.fit(x, y, **kwargs)

        user_models.Copies = Copies
        reason = self._failed(make_spec("user_models:Copies")).reason
        assert reason.startswith("UntrainedError: its fit trains another network than the one that build returned")

    def test_files_that_are_not_there(self, make_spec, split, tmp_path):
        spec = make_spec(data=replace(split, train_images=tmp_path / "none.npy"))
        missing = f"[Errno 2] No such file or directory: '{tmp_path / 'none.npy'}'"
        assert self._failed(spec).reason == f"{DATA_GONE}: {missing}"

    def test_an_encoder_that_is_not_there(self, make_spec, tmp_path):
        encoder = {"start": "none.keras", "encoder": "sha256 0123456789abcdef", "body_rate": 0.0}
        reason = self._failed(make_spec(values=encoder, encoders=tmp_path)).reason
        assert reason.startswith(f"{ENCODER_GONE}: start: none.keras: no such file in ")

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'for", b"not an array"])
    def test_files_that_are_damaged(self, make_spec, split, tmp_path, content):
        (tmp_path / "damaged.npy").write_bytes(content)
        spec = make_spec(data=replace(split, validation_labels=tmp_path / "damaged.npy"))
        assert self._failed(spec).reason.startswith(f"{DATA_GONE}: ")

    def test_what_report_raises_passes_through(self, make_spec):
        def lost(_):
            raise ConnectionError("the driver is gone")

        with pytest.raises(ConnectionError, match="the driver is gone"):
            run_trial(make_spec(), lost)

    def test_an_interrupt_passes_through(self, make_spec):
        def interrupt(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_trial(make_spec(), interrupt)


class TestUsersHypermodels:
    def test_without_a_fit_of_its_own(self, make_spec, user_models):
        user_models.UserModel = UserModel
        spec = make_spec("user_models:UserModel", epochs=2)
        result, reports = _run(spec)
        assert (result.state, len(reports)) == (TrialState.COMPLETED, 2)
        assert set(reports[0].metrics) == METRICS - {"macro_f1"}

    def test_logits_become_probabilities_in_the_files_too(self, make_spec, user_models):
        class Logits(UserModel):
            activation = None

        user_models.Logits = Logits
        spec = make_spec("user_models:Logits", epochs=1)
        result, _ = _run(spec)
        assert result.state is TrialState.COMPLETED, result.traceback
        np.testing.assert_allclose(_probabilities(spec).sum(axis=1), 1.0, atol=1e-5)
        np.testing.assert_allclose(_saved_model_probabilities(spec), _probabilities(spec), atol=1e-5)

    def test_a_network_with_layers_of_its_own_leaves_a_graph_too(self, make_spec, user_models):
        class Half(keras.layers.Layer):
            def call(self, inputs):
                return inputs / 2

        class WithOwnLayer(UserModel):
            def build(self, hp):
                model = super().build(hp)
                own = keras.Sequential([*model.layers[:-1], Half(), model.layers[-1]])
                own.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
                return own

        user_models.WithOwnLayer = WithOwnLayer
        spec = make_spec("user_models:WithOwnLayer", epochs=1)
        result, _ = _run(spec)
        assert result.state is TrialState.COMPLETED, result.traceback
        graph = keras.layers.TFSMLayer(str(graph_of(spec.folder / "model.keras")), call_endpoint="serve")
        images = np.load(spec.data.validation_images)
        np.testing.assert_allclose(np.asarray(graph(images)), _probabilities(spec), atol=1e-5)

    def test_a_fit_of_its_own_gets_validation_data_and_can_end_early(self, make_spec, user_models):
        class Own(UserModel):
            def fit(self, hp, model, x, y, validation_data, callbacks, epochs, verbose):
                stop = keras.callbacks.EarlyStopping("val_loss", min_delta=1e9)
                return model.fit(
                    x, y, epochs=epochs, verbose=verbose, validation_data=validation_data, callbacks=[*callbacks, stop]
                )

        user_models.Own = Own
        result, reports = _run(make_spec("user_models:Own"))
        assert (result.state, result.reason) == (TrialState.COMPLETED, "ended itself after epoch 2 of 3")
        assert len(reports) == 2

    def test_an_optimizer_that_is_not_of_keras_has_no_rate_to_log(self, make_spec, user_models):
        class Own(UserModel):
            def build(self, hp):
                model = keras.Sequential(super().build(hp).layers)
                model.optimizer = types.SimpleNamespace(learning_rate=lambda step: 0.1 / step)
                return model

            def fit(self, hp, model, x, y, callbacks, epochs, verbose):
                for epoch in range(epochs):
                    for callback in callbacks:
                        callback.on_epoch_end(epoch)

        user_models.Own = Own
        result, reports = _run(make_spec("user_models:Own"))
        assert (result.state, len(reports)) == (TrialState.COMPLETED, 3), result.traceback
        assert "learning_rate" not in reports[0].metrics

    def test_a_hyperparameter_that_discovery_did_not_find_is_named(self, make_spec, user_models):
        class Hidden(UserModel):
            def build(self, hp):
                if hp.Int("seen", 1, 1000) == 7:
                    hp.Float("hidden", 0.0, 1.0)
                return super().build(hp)

        user_models.Hidden = Hidden
        named = "all 1 epochs; not searched, always its default: hidden (see hp.conditional_scope)"
        for seen, reason in ((1, "all 1 epochs"), (7, named)):
            result, _ = _run(make_spec("user_models:Hidden", values={"seen": seen}, epochs=1))
            assert (result.state, result.reason) == (TrialState.COMPLETED, reason)


def test_reports_can_be_sent_between_processes(make_spec):
    import pickle

    spec = make_spec(epochs=1)
    result, reports = _run(spec)
    assert pickle.loads(pickle.dumps((spec, result, reports))) == (spec, result, reports)
    assert isinstance(reports[0], EpochReport)
