"""Hyperparameters that a hypermodel declares in its `fit`, and a `build` that raises, from the command line."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_store")]

OWN_FIT = ("--set", "hypermodel=toys:OwnFitHyperModel", "--set", "training.epochs=2")


def test_what_a_fit_declares_is_searched_recorded_logged_and_shown(project):
    budget = ("--max-trials", "4", "--set", "search.scheduler=none", "--set", "search.sampler=random")
    done = project.call("sweep", "sweep.yaml", *OWN_FIT, *budget, "--set", "space.quick=false")
    record = project.record()
    values = [trial.values for trial in record.searched]
    assert {type(each["batch_size"]) for each in values} == {int}
    assert len({each["batch_size"] for each in values}) > 1
    assert all(("buffer" in each) == (each["order"] == "random") for each in values)
    assert record.started.baseline["batch_size"] == 32
    assert "note: with quick=True: hypermodel: toys:OwnFitHyperModel: its fit trains 1 epoch" in done.stderr

    client = project.client()
    experiments = [each.experiment_id for each in client.search_experiments()]
    logged = [run.data.params for run in client.search_runs(experiments) if "batch_size" in run.data.params]
    assert {each["batch_size"] for each in logged} >= {str(each["batch_size"]) for each in values}
    (page,) = project.sweep_folders()[-1].glob("artifacts/report.html")
    assert "batch_size" in page.read_text()


def test_check_knows_what_a_fit_declares(project):
    done = project.call("check", "sweep.yaml", "--no-timing", *OWN_FIT, "--format", "json")
    names = [each["hyperparameter"] for each in json.loads(done.stdout)[0]["space"]]
    assert names == ["quick", "hidden", "units", "learning_rate", "batch_size", "order", "buffer"]


def test_trials_that_could_not_continue_are_stopped_instead_of_paused(project):
    looping = ("--set", "hypermodel=continuing_hypermodels:Looping")
    done = project.call("check", "sweep.yaml", "--no-timing", *looping, "--scheduler", "promote")
    why = "(hypermodel continuing_hypermodels:Looping: its fit does not train through model.fit)"
    assert f"scheduler is asha-stop instead of promote: paused trials cannot continue {why}" in done.stderr


def test_a_trial_that_trains_another_number_of_epochs_fails_by_name(project):
    values = ("--set", "space.quick=true", "--set", "search.max_failures=1", "--max-trials", "3", "--scheduler", "none")
    project.call("sweep", "sweep.yaml", *OWN_FIT, *values, exit_code=1)
    reasons = [trial.result.reason for trial in project.record().searched if trial.values["quick"]]
    assert reasons[0].startswith("WrongLengthError: its fit trains 1 epoch; a trial has training.epochs, 2")


@pytest.mark.parametrize("command", [("sweep",), ("check", "--no-timing")])
def test_what_build_raises_is_one_line_and_its_traceback_is_kept(project, command):
    done = project.call(*command, "sweep.yaml", "--set", "hypermodel=toys:UnbuildableHyperModel", exit_code=2)
    (line,) = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    found = "hypermodel: toys:UnbuildableHyperModel cannot be built with its defaults (size=huge): "
    assert line.startswith(f"error: sweep.yaml: {found}FailedTrialError: network too large (traceback: ")
    (log,) = (project.path / ".galaxy_exp" / "logs").iterdir()
    assert line.endswith(f"{log})")
    assert "Traceback (most recent call last)" in log.read_text()
    assert not project.sweep_folders()
