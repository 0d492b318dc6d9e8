"""A store that went for good is replaced when a sweep is resumed, and everything is written to the new one."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_servers import free_port

import galaxy_exp
from galaxy_exp.errors import UnusableStoreError

pytestmark = pytest.mark.slow


def test_a_trained_sweep_is_registered_in_the_store_that_resume_names(project):
    away = f"http://127.0.0.1:{free_port()}"
    project.environment |= {"MLFLOW_TRACKING_URI": away, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    failed = project.call("sweep", "sweep.yaml", "--set", "search.max_trials=2", exit_code=1)
    assert "what was trained is safe in the journal" in failed.stderr
    before = project.record()
    assert before.winner is not None
    del project.environment["MLFLOW_TRACKING_URI"]

    refused = project.call("resume", "--set", "tracking.uri=./mlruns", exit_code=2)
    assert "is a folder of files" in refused.stderr
    assert f"galaxy-exp resume {before.sweep_id} --set tracking.uri=sqlite:///mlflow.db" in refused.stderr
    assert project.record().tracking_uri == away

    done = project.call("resume", "--set", "tracking.uri=sqlite:///mlflow.db")
    uri = f"sqlite:///{project.path / 'mlflow.db'}"
    assert f"the whole sweep is written anew into the MLflow store {uri}" in done.stderr
    record = project.record()
    assert record.tracking_uri == uri
    assert record.test_reports == before.test_reports, "the held-out test set is opened once"
    (changed,) = (
        event
        for event in map(json.loads, (project.sweep_folders()[-1] / "journal.jsonl").read_text().splitlines())
        if event["event"] == "sweep_changed"
    )
    assert changed["tracking_uri"] == uri
    client = MlflowClient(uri)
    assert client.get_model_version_by_alias("tiny-model", "champion").run_id == record.trials[record.winner].run_id
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_id for run in runs} == {
        record.parent_run_id,
        *(trial.run_id for trial in record.trials.values()),
    }
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_store_that_can_never_work_is_refused_before_anything_is_trained(project):
    (project.path / "mlruns" / "0").mkdir(parents=True)
    (project.path / "mlruns" / "0" / "meta.yaml").write_text("name: Default\n")
    for command in ("check", "sweep"):
        done = project.call(command, "sweep.yaml", exit_code=2)
        (line,) = (line for line in done.stderr.splitlines() if "error" in line)
        assert "is a folder of files" in line
        assert "--set tracking.uri=sqlite:///mlflow.db" in line
    assert project.sweep_folders() == []
    done = project.call("models", "list", exit_code=2)
    assert "is a folder of files" in done.stderr


def test_a_finished_sweep_is_not_told_to_take_another_store(finished, tmp_path):
    project = finished.copy_to(tmp_path)
    uri = f"sqlite:///{project.path / 'mlflow.db'}"
    (project.path / "mlflow.db").write_text("not a database, but long enough to be read as one")
    journal = project.sweep_folders()[-1] / "journal.jsonl"
    journal.write_text(journal.read_text().replace(project.record().tracking_uri, uri))
    (line,) = project.call("sync", exit_code=2).stderr.splitlines()
    assert f"MLflow store {uri}" in line
    assert line.endswith("the sweep is finished and stays in this store: repair it, or put a backup in its place")


class Spoiler:
    """Writes over the store with each event of a sweep."""

    def on_event(self, event, record):
        Path("mlflow.db").write_text("not a database, but long enough to be read as one")


def test_a_store_that_is_spoiled_after_the_check_is_bad_input_too(project, monkeypatch):
    monkeypatch.chdir(project.path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UnusableStoreError, match=r"^MLflow store sqlite:") as caught:
        galaxy_exp.run_sweep("sweep.yaml", overrides=["search.max_trials=1"], observers=[Spoiler()])
    assert caught.value.exit_code == 2
    assert str(caught.value).endswith(f"continue with: galaxy-exp resume {project.record().sweep_id}")
