"""What a finished sweep looks like in MLflow, and that writing it again changes nothing."""

import json
import shutil

import pytest
from mlflow import MlflowClient
from mlflow_servers import free_port, mlflow_server

from galaxy_exp.journal.journal import Journal
from galaxy_exp.records import TrialState
from galaxy_exp.tracking import names

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(finished):
    client = finished.client()
    experiment = client.get_experiment_by_name("tiny")
    found = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get(names.TRIAL, "sweep"): run for run in found}


def artifacts(client, run_id, folder=None):
    return {artifact.path for artifact in client.list_artifacts(run_id, folder)}


def test_one_parent_and_a_nested_child_for_each_trial(runs, finished):
    assert set(runs) == {"sweep", "0", "1", "2", "3", "4"}
    parent = runs["sweep"]
    assert all(run.data.tags[names.PARENT] == parent.info.run_id for key, run in runs.items() if key != "sweep")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["0"].info.run_name == "trial 000 (baseline)"
    stopped = {trial.number for trial in finished.record().trials.values() if trial.state is TrialState.STOPPED}
    named = {key: run.info.run_name for key, run in runs.items() if key not in ("sweep", "0")}
    assert named == {str(n): f"trial {n:03d}{' (stopped)' * (n in stopped)}" for n in range(1, 5)}


def test_a_trial_has_its_active_hyperparameters_seed_and_outcome_as_params(runs, finished):
    for trial in finished.record().trials.values():
        params = runs[str(trial.number)].data.params
        expected = {name: str(value) for name, value in trial.values.items()}
        assert params.items() >= (expected | {"seed": str(trial.seed)}).items()
        assert params["precision"] == "float32"
        assert params["backend"] == "tensorflow"
        assert int(params["parameters"]) > 0


def test_a_trial_has_a_curve_for_each_metric(runs, finished):
    client, record = finished.client(), finished.record()
    for trial in record.trials.values():
        for metric in (
            "loss",
            "val_loss",
            "accuracy",
            "val_accuracy",
            "val_macro_f1",
            "learning_rate",
            "epoch_seconds",
        ):
            history = client.get_metric_history(runs[str(trial.number)].info.run_id, metric)
            assert [point.step for point in history] == list(range(1, trial.epochs + 1))
            assert [point.value for point in history] == pytest.approx(trial.curve(metric))


def test_sorting_one_column_finds_the_best_trial(runs, finished):
    best = max(range(5), key=lambda number: runs[str(number)].data.metrics["best_val_macro_f1"])
    assert best == finished.record().leaderboard()[0].number


def test_a_trial_leaves_its_figures_and_tables(runs, finished):
    found = artifacts(finished.client(), runs["0"].info.run_id)
    assert found >= {
        "confusion_matrix.json",
        "confusion_matrix.png",
        "history.csv",
        "learning_curves.png",
        "mistakes.png",
        "per_class.json",
        "per_class.txt",
    }


def test_the_best_trials_keep_their_model(runs, finished):
    client, record = finished.client(), finished.record()
    with_model = {n for n in range(5) if "model" in artifacts(client, runs[str(n)].info.run_id)}
    assert with_model == {trial.number for trial in record.leaderboard()[:3]}


def test_every_run_names_its_data_with_the_digest(runs, finished):
    for run in runs.values():
        (entry,) = run.inputs.dataset_inputs
        assert entry.dataset.name == "simulated galaxies"
        assert finished.record().started.data_digest.startswith(entry.dataset.digest)
        assert json.loads(entry.dataset.source)["simulated"] is True
        assert "test" in json.loads(entry.dataset.profile)["counts"]


def test_the_parent_has_the_sweep_file_the_leaderboard_and_the_held_out_test(runs, finished):
    client, parent = finished.client(), runs["sweep"]
    found = artifacts(client, parent.info.run_id)
    assert found >= {"sweep.yaml", "search_space.json", "leaderboard.csv", "data.json", "software.json"}
    assert parent.data.metrics["sweep/trials_completed"] + parent.data.metrics["sweep/trials_stopped"] == 5
    assert parent.data.metrics["test/winner_accuracy"] >= 0
    assert {"test/winner_top2", "test/winner_calibrated_error", "test/winner_temperature"} <= set(parent.data.metrics)
    tested = f"sealed_test_trial_{finished.record().winner:03d}"
    assert {f"{tested}_{name}.png" for name in ("confusion", "reliability", "coverage")} <= found
    assert "SIMULATED" in parent.data.tags[names.NOTE].upper()


def test_the_parent_has_the_figures_of_the_hyperparameters(runs, finished):
    found = artifacts(finished.client(), runs["sweep"].info.run_id, "insight")
    names_ = {"history", "importance", "parallel_coordinates", "rungs", "slices"}
    assert found == {"insight/insight.html", *(f"insight/{name}.png" for name in names_)}


def test_projecting_everything_again_changes_nothing(runs, finished, tmp_path):
    from galaxy_exp.folders import SweepFolder
    from galaxy_exp.sweep_images import restore_data
    from galaxy_exp.tracking.projection import MlflowProjection

    project = finished.copy_to(tmp_path)
    folder, client = project.sweep_folders()[-1], project.client()
    with Journal.reopen(folder) as journal:
        for trial in journal.record.trials.values():
            trial.projected = False  # as if the note had been lost
        data = restore_data(journal.record, SweepFolder(folder), pytest.fail)
        MlflowProjection(lambda: client, journal, SweepFolder(folder), data, pytest.fail).close_sweep("FINISHED")
    experiment = client.get_experiment_by_name("tiny")
    assert len(client.search_runs([experiment.experiment_id])) == len(runs)
    for key, run in runs.items():
        again = client.get_run(run.info.run_id)
        assert (again.data.params, again.data.metrics) == (run.data.params, run.data.metrics), key
        n_reports = 0 if key == "sweep" else len(finished.record().trials[int(key)].reports)
        assert len(client.get_metric_history(run.info.run_id, "val_loss")) == n_reports
    for metric in runs["sweep"].data.metrics:
        assert len(client.get_metric_history(runs["sweep"].info.run_id, metric)) == 1, metric


def test_a_sweep_goes_on_without_its_server_and_is_registered_once_it_is_back(project, finished, empty_store, tmp_path):
    project.environment |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    done = project.call("sweep", "sweep.yaml", "--set", f"tracking.uri={uri}", exit_code=1)
    record = project.record()
    assert done.stderr.count("cannot be written to") == 2  # once when it happened, once at the end
    assert f"galaxy-exp resume {record.sweep_id}" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(record.end_order) == 5
    assert record.registered is None

    shutil.copy(empty_store, tmp_path / "server.db")
    with mlflow_server(tmp_path, port):
        project.call("resume")
        record = project.record()
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("tiny")
        assert len(client.search_runs([experiment.experiment_id])) == 6
        assert int(client.get_model_version_by_alias("tiny-model", "champion").version) == record.registered.version
        history = client.get_metric_history(record.trials[0].run_id, "val_macro_f1")
        assert [point.value for point in history] == pytest.approx(finished.record().trials[0].curve("val_macro_f1"))
