"""An ordinary KerasTuner search in MLflow: a real store, real tuners, networks of a few weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import galaxy_exp
from galaxy_exp.errors import BadInputError
from galaxy_exp.tracking import names

SCORE = keras_tuner.Objective("score", "max")


def build(hp: Any) -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(hp.Int("units", 2, 9), "relu")])
    if hp.Boolean("hidden"):
        with hp.conditional_scope("hidden", [True]):
            model.add(keras.layers.Dense(hp.Int("hidden_units", 2, 9)))
    model.add(keras.layers.Dense(2, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@dataclass
class Scripted:
    """What each run of a trial does, in turn: a score, or an exception."""

    script: list[Any] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    def tuner(self, folder: Path, max_trials: int = 3, overwrite: bool = False, **kwargs: Any) -> keras_tuner.Tuner:
        outer = self

        class Tuner(keras_tuner.Tuner):
            def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
                trial.hyperparameters.Float("x", 0.0, 1.0)
                outer.ran.append(trial.trial_id)
                now = outer.script.pop(0)
                model = build(keras_tuner.HyperParameters())
                for epoch in range(2):
                    self.on_epoch_end(trial, model, epoch, logs={"loss": 1.0 - epoch, "odd (name)": 3, "text": "no"})
                if isinstance(now, BaseException):
                    raise now
                return {"score": now}

        oracle = galaxy_exp.Oracle(SCORE, max_trials, **kwargs)
        return Tuner(oracle, directory=folder, project_name="mine", overwrite=overwrite)


@pytest.fixture(scope="module")
def uri(new_store: Callable[[], str]) -> str:
    return new_store()


@dataclass
class Experiment:
    name: str
    uri: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def track(self, tuner: Any) -> Any:
        return galaxy_exp.track_tuner(tuner, self.name, self.uri)

    def runs(self) -> tuple[Run, list[Run]]:
        """The one parent and its children, in order of the trials and attempts."""
        found = self.client.search_runs([self.client.get_experiment_by_name(self.name).experiment_id])
        (parent,) = [run for run in found if names.PARENT not in run.data.tags]
        children = [run for run in found if run is not parent]
        assert {run.data.tags[names.PARENT] for run in children} == {parent.info.run_id}
        return parent, sorted(children, key=lambda run: (run.data.tags[names.TRIAL], run.data.tags[names.ATTEMPT]))

    def curve(self, run: Run, metric: str) -> list[tuple[int, float]]:
        return [(entry.step, entry.value) for entry in self.client.get_metric_history(run.info.run_id, metric)]


@pytest.fixture
def experiment(uri: str, request: pytest.FixtureRequest) -> Experiment:
    return Experiment(request.node.name, uri)


def fit_data() -> dict[str, Any]:
    x, y = np.random.default_rng(0).random((16, 3), np.float32), np.arange(16) % 2
    return {"x": x, "y": y, "validation_data": (x, y), "epochs": 2, "verbose": 0}


def test_a_search_is_a_parent_run_and_its_trials_are_children(experiment: Experiment, tmp_path: Path) -> None:
    oracle = galaxy_exp.Oracle(keras_tuner.Objective("val_accuracy", "max"), max_trials=2)
    tuner = keras_tuner.Tuner(oracle, build, directory=tmp_path, project_name="mine")
    tracking = experiment.track(tuner)
    tuner.search(**fit_data())
    parent, children = experiment.runs()
    assert (parent.info.run_id, parent.info.run_name, parent.info.status) == (tracking.run_id, "mine", "FINISHED")
    assert parent.data.params.items() >= {"oracle": "Oracle", "objective": "val_accuracy", "max_trials": "2"}.items()
    assert [run.info.run_name for run in children] == ["trial 0", "trial 1"]
    for run, trial in zip(children, tuner.oracle.trials.values(), strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags[names.STATE] == "completed"
        assert run.data.params.items() >= {k: str(v) for k, v in trial.hyperparameters.values.items()}.items()
        assert ("hidden_units" in run.data.params) == (run.data.params["hidden"] == "True")
        assert int(run.data.params["parameters"]) > 0
        curve = experiment.curve(run, "val_accuracy")
        assert [step for step, _ in curve] == [1, 2]
        assert max(value for _, value in curve) == run.data.metrics["best_val_accuracy"] == trial.score
        assert len(experiment.curve(run, "loss")) == 2
    assert parent.data.metrics["sweep/trials_completed"] == 2
    assert parent.data.metrics["best_val_accuracy"] == tuner.oracle.get_best_trials(1)[0].score


def test_any_oracle_and_several_executions(experiment: Experiment, tmp_path: Path) -> None:
    tuner = keras_tuner.RandomSearch(build, "val_loss", 1, executions_per_trial=2, directory=tmp_path)
    experiment.track(tuner)
    tuner.search(**fit_data())
    _, (run,) = experiment.runs()
    for name in ("val_loss", "execution_2/val_loss"):
        assert [step for step, _ in experiment.curve(run, name)] == [1, 2]


def test_failed_trials(experiment: Experiment, tmp_path: Path, uri: str) -> None:
    tuner = Scripted([0.1, ValueError("no good"), float("nan")]).tuner(tmp_path)
    experiment.track(tuner)
    tuner.search(verbose=0)
    parent, children = experiment.runs()
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "FAILED"]
    assert children[1].data.tags[names.REASON] == "ValueError: no good"
    text = experiment.client.download_artifacts(children[1].info.run_id, "traceback.txt", str(tmp_path))
    assert "run_trial" in Path(text).read_text()
    assert (parent.info.status, parent.data.metrics["sweep/trials_failed"]) == ("FINISHED", 2)
    assert experiment.curve(children[1], "loss") == [(1, 1.0), (2, 0.0)]
    assert "odd _name_" in children[0].data.metrics
    assert "text" not in children[0].data.metrics


def test_too_many_failures_end_the_search_and_its_runs(experiment: Experiment, tmp_path: Path) -> None:
    tuner = Scripted([ValueError("no good")] * 2).tuner(tmp_path, max_consecutive_failed_trials=2)
    experiment.track(tuner)
    with pytest.raises(RuntimeError, match="Number of consecutive failures"):
        tuner.search(verbose=0)
    parent, children = experiment.runs()
    assert [run.info.status for run in (parent, *children)] == ["FAILED"] * 3


def test_a_retried_trial_has_a_run_for_each_attempt(experiment: Experiment, tmp_path: Path) -> None:
    tuner = Scripted([ValueError("once"), 0.3]).tuner(tmp_path, max_trials=1, max_retries_per_trial=1)
    experiment.track(tuner)
    tuner.search(verbose=0)
    _, children = experiment.runs()
    assert [(run.data.tags[names.ATTEMPT], run.info.status) for run in children] == [("1", "FAILED"), ("2", "FINISHED")]


def test_an_interrupted_search_leaves_nothing_running_and_goes_on(experiment: Experiment, tmp_path: Path) -> None:
    tuner = Scripted([0.1, KeyboardInterrupt()]).tuner(tmp_path)
    experiment.track(tuner)
    with pytest.raises(KeyboardInterrupt):
        tuner.search(verbose=0)
    parent, (first, second) = experiment.runs()
    assert [run.info.status for run in (parent, first, second)] == ["KILLED", "FINISHED", "KILLED"]
    assert second.data.tags[names.STATE] == "interrupted"

    again = Scripted([0.2, 0.3])
    tuner = again.tuner(tmp_path)
    experiment.track(tuner)
    tuner.search(verbose=0)
    assert again.ran == ["1", "2"]
    same, children = experiment.runs()
    assert (same.info.run_id, same.info.status) == (parent.info.run_id, "FINISHED")
    assert children[0].info.run_id == first.info.run_id
    assert [(run.data.tags[names.TRIAL], run.info.status) for run in children] == [
        ("0", "FINISHED"), ("1", "FINISHED"), ("2", "FINISHED")
    ]  # fmt: skip
    assert experiment.curve(children[1], "loss") == [(1, 1.0), (2, 0.0)]
    assert same.data.metrics["best_score"] == 0.3


def test_a_killed_process_is_mended_by_the_next(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `kill -9` nobody ends the runs."""
    tuner = Scripted([0.1, SystemExit()]).tuner(tmp_path)
    tracking = experiment.track(tuner)
    monkeypatch.setattr(tracking, "end_search", lambda *_: None)
    with pytest.raises(SystemExit):
        tuner.search(verbose=0)
    assert [run.info.status for run in experiment.runs()[1]] == ["FINISHED", "RUNNING"]
    tuner = Scripted([0.2, 0.3]).tuner(tmp_path)
    experiment.track(tuner)
    tuner.search(verbose=0)
    assert [run.info.status for run in experiment.runs()[1]] == ["FINISHED"] * 3


def test_tracking_may_begin_late(experiment: Experiment, tmp_path: Path) -> None:
    Scripted([0.1, ValueError("no good")]).tuner(tmp_path, max_trials=2).search(verbose=0)
    tuner = Scripted([0.3]).tuner(tmp_path)
    experiment.track(tuner)
    tuner.search(verbose=0)
    _, children = experiment.runs()
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "FINISHED"]
    assert [run.data.metrics.get("best_score") for run in children] == [0.1, None, 0.3]


def test_a_project_that_is_overwritten_is_another_search(experiment: Experiment, tmp_path: Path) -> None:
    ids = set()
    for _ in range(2):
        tuner = Scripted([0.1]).tuner(tmp_path, max_trials=1, overwrite=True)
        tracking = experiment.track(tuner)
        tuner.search(verbose=0)
        ids.add(tracking.run_id)
    assert len(ids) == 2


def test_an_outage_at_the_very_end_promises_nothing_that_never_comes(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tuner = Scripted([0.1]).tuner(tmp_path, max_trials=1)
    tracking = experiment.track(tuner)
    terminate = MlflowClient.set_terminated

    def fail_for_the_parent(client: MlflowClient, run_id: str, *arguments: Any, **keywords: Any) -> None:
        if run_id == tracking.run_id:
            raise OSError("connection lost")
        terminate(client, run_id, *arguments, **keywords)

    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(MlflowClient, "set_terminated", fail_for_the_parent)
        tuner.search(verbose=0)
    outage, at_the_end = (each.getMessage() for each in caplog.records if each.name.startswith("galaxy_exp"))
    assert outage.endswith("connection lost; the search has ended")
    assert "the parent run is not closed; a new search on this folder (overwrite=False) closes it" in at_the_end
    again = Scripted([]).tuner(tmp_path, max_trials=1)
    experiment.track(again)
    again.search(verbose=0)
    parent, _ = experiment.runs()
    assert parent.info.status == "FINISHED"


def test_an_absent_mlflow_does_not_disturb_the_search(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tuner = Scripted([0.1, 0.2]).tuner(tmp_path, max_trials=2)
    experiment.track(tuner)
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr("galaxy_exp.tracking.tuner.PAUSE_SECONDS", 0)
        for call in ("create_run", "log_batch", "set_terminated"):
            broken.setattr(MlflowClient, call, lambda *_, **__: (_ for _ in ()).throw(OSError("connection lost")))
        tuner.search(verbose=0)
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("galaxy_exp")]
    once, at_the_end = warnings
    assert "connection lost; the search continues, and what is missing is written later" in once
    assert "2 trials are not wholly in MLflow" in at_the_end
    assert "a new search on this folder (overwrite=False) closes it" in at_the_end
    assert tuner.oracle.get_best_trials(1)[0].score == 0.2
    caplog.clear()
    tuner.search(verbose=0)
    (back,) = [record.getMessage() for record in caplog.records if record.name.startswith("galaxy_exp")]
    assert back.endswith("is back and has everything")
    parent, children = experiment.runs()
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert [experiment.curve(run, "loss") for run in children] == [[(1, 1.0), (2, 0.0)]] * 2


def test_what_is_no_tuner_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"^found Oracle; expected a keras_tuner\.Tuner"):
        experiment.track(galaxy_exp.Oracle(SCORE, 1))
    tuner = Scripted().tuner(tmp_path)
    experiment.track(tuner)
    with pytest.raises(BadInputError, match="is tracked already"):
        experiment.track(tuner)
