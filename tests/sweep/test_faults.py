"""Real sweeps, really killed: nothing lost, nothing doubled, the same proposals and results."""

import json
import os
import re
import signal
import subprocess
import time

import psutil
import pytest

from galaxy_exp.records import TrialState
from galaxy_exp.tracking import names

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_store")]


def wait_for(condition, process=None, seconds=120):
    """Until the condition holds; a sweep that ends before is a failed test."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def count_events(project, event):
    folders = project.sweep_folders()
    journal = folders[-1] / "journal.jsonl" if folders else None
    return journal.read_text().count(f'"{event}"') if journal is not None and journal.exists() else 0


def journal_has(project, event, count):
    return lambda: count_events(project, event) >= count


def results(record):
    """All that should not depend on interruptions."""
    return [
        (t.number, t.values, t.seed, str(t.state), t.epochs, t.curve("val_macro_f1"), t.curve("loss"))
        for t in record.trials.values()
    ]


def assert_nothing_lost_or_doubled(project, reference):
    record = project.record()
    assert results(record) == results(reference.record())
    assert record.ended.succeeded
    client = project.client()
    experiment = client.get_experiment_by_name("tiny").experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    kinds = [run.data.tags[names.KIND] for run in runs]
    assert kinds.count("sweep") == 1
    assert sorted(int(run.data.tags[names.TRIAL]) for run in runs if names.TRIAL in run.data.tags) == [0, 1, 2, 3, 4]
    assert all(run.info.status == "FINISHED" for run in runs)
    for trial in record.trials.values():
        history = client.get_metric_history(trial.run_id, "val_macro_f1")
        assert [metric.value for metric in history] == trial.curve("val_macro_f1")
    assert len(client.search_model_versions("name='tiny-model'")) == 1


def workers_of(process):
    return [
        child for child in psutil.Process(process.pid).children(recursive=True) if "worker" in " ".join(child.cmdline())
    ]


def attempts(project):
    """The number of attempts of all trials; a paused trial continues in another one."""
    return sum(trial.attempt for trial in project.record().trials.values())


def test_a_driver_killed_twice_is_resumed_to_the_same_end(project, finished):
    """In a trial, and between two."""
    for command, event, count in ((("sweep", "sweep.yaml"), "epoch_reported", 3), (("resume",), "trial_ended", 3)):
        process = project.start(*command)
        wait_for(journal_has(project, event, count), process)
        workers = workers_of(process)
        assert workers
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        psutil.wait_procs(workers, timeout=10)
        assert not any(worker.is_running() for worker in workers), "a worker outlived its driver"
    refused = project.call("resume", "--set", "execution.scheduler=tcp://127.0.0.1:1", exit_code=2)
    assert "no Dask scheduler answers" in refused.stderr
    project.call("resume")  # as before: what cannot be used does not hold
    assert_nothing_lost_or_doubled(project, finished)


def test_a_killed_worker_costs_only_its_attempt(project, finished):
    def kill():
        wait_for(journal_has(project, "epoch_reported", 2))
        os.kill(workers_of(psutil.Process())[0].pid, signal.SIGKILL)

    assert "SIGKILL" in project.call_while(kill, "sweep", "sweep.yaml").stderr
    assert attempts(project) == attempts(finished) + 1
    assert_nothing_lost_or_doubled(project, finished)


def test_an_interrupted_sweep_says_how_to_go_on_and_does(project, finished):
    """By SIGTERM and, when it was resumed, by Ctrl-C."""
    command = ["sweep", "sweep.yaml"]
    for signal_number, trials in ((signal.SIGTERM, 0), (signal.SIGINT, 2)):
        process = project.start(*command)
        wait_for(journal_has(project, "trial_ended", trials), process)
        reported = count_events(project, "epoch_reported")
        wait_for(journal_has(project, "epoch_reported", reported + 2), process)
        os.kill(process.pid, signal_number)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 130
        sweep_id = project.record().sweep_id
        assert log.rstrip().splitlines()[-1].endswith(f"galaxy-exp resume {sweep_id}")
        command = ["resume", sweep_id]
    project.call(*command)
    assert_nothing_lost_or_doubled(project, finished)


def test_ctrl_c_waits_for_the_running_epoch_and_a_second_one_does_not(project):
    process = project.start("sweep", "sweep.yaml")
    wait_for(journal_has(project, "epoch_reported", 2), process)
    workers_of(process)[0].suspend()  # its epoch will never end
    os.kill(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    os.kill(process.pid, signal.SIGINT)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Ctrl-C again stops at once" in log


def test_a_sweep_on_two_workers_is_interrupted_and_goes_on_with_one_and_more_trials(project):
    """Its scheduler is replaced by one that pauses no trial, which is no change of the file."""
    file = project.path / "sweep.yaml"
    file.write_text(file.read_text().replace("seed: 3,", "seed: 3, scheduler: asha,"))
    process = project.start("sweep", "sweep.yaml", "--workers", "2", "--set", "execution.checkpoint_gib=0")
    wait_for(journal_has(project, "trial_ended", 1), process)
    os.kill(process.pid, signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 130, log
    assert "search.scheduler is asha-stop instead of asha" in log
    file.write_text(file.read_text().replace("max_trials: 5, seed: 3", "max_trials: 6, seed: 4"))
    assert "sweep.yaml: search.seed: was 3, is 4 now" in project.call("resume", exit_code=2).stderr
    file.write_text(file.read_text().replace("seed: 4", "seed: 3"))
    assert "sweep.yaml: search.max_trials: was 5, is 6 now" in project.call("resume", "--workers", "1").stderr
    record = project.record()
    assert record.ended.succeeded
    assert [number for number, trial in record.trials.items() if trial.retrains is None] == [0, 1, 2, 3, 4, 5]
    assert all(trial.state.has_model for trial in record.trials.values())
    parent = project.client().get_run(record.parent_run_id)
    assert (parent.info.status, parent.data.params["max_trials"]) == ("FINISHED", "5")


def test_a_finished_sweep_is_not_resumed(finished, tmp_path):
    project = finished.copy_to(tmp_path)
    assert "no unfinished sweep here" in project.call("resume", exit_code=2).stderr
    sweep_id = project.record().sweep_id
    assert f"sweep {sweep_id} is finished" in project.call("resume", sweep_id, exit_code=2).stderr


def test_failing_trials_are_told_and_do_not_stop_the_others(project):
    moods = ["space.mood={values: [fine, raise, diverge]}", "search.enqueue=[{mood: raise}, {mood: diverge}]"]
    project.call("sweep", "sweep.yaml", "--set", "hypermodel=toys:MoodyHyperModel", "--set", moods[0],
                 "--set", moods[1], "--max-trials", "3", "--set", "search.max_failures=8",
                 "--scheduler", "none")  # fmt: skip
    record = project.record()
    states = {trial.values["mood"]: trial.state for trial in record.trials.values()}
    assert states == {"fine": TrialState.COMPLETED, "raise": TrialState.FAILED, "diverge": TrialState.FAILED}
    failed = next(trial for trial in record.trials.values() if trial.values["mood"] == "raise")
    run = project.client().get_run(failed.run_id)
    assert run.info.status == "FAILED"
    assert "a bad day" in run.data.tags[names.REASON]
    artifacts = {artifact.path for artifact in project.client().list_artifacts(failed.run_id)}
    assert "traceback.txt" in artifacts


def test_too_many_failures_in_a_row_end_the_sweep_until_the_cause_is_mended(project):
    done = project.call("sweep", "sweep.yaml", "--set", "hypermodel=toys:MoodyHyperModel", "--set",
                        "space.mood=raise_until_mended", "--set", "search.baseline=false", exit_code=1)  # fmt: skip
    assert "3 trials in a row failed" in done.stderr
    assert "not mended yet" in done.stderr
    assert "Traceback" not in done.stderr
    rows = json.loads(project.call("list", "--format", "json").stdout)
    assert rows[0]["state"] == "failed"
    assert rows[0]["reason"].startswith("3 trials in a row failed")
    assert [run.info.status for run in sweep_runs(project)] == ["FAILED"] * 4

    (project.path / "mended").touch()
    project.call("resume")
    states = [trial.state for trial in project.record().trials.values()]
    assert states[:3] == [TrialState.FAILED] * 3
    assert all(state.has_model for state in states[3:])
    assert project.record().registered is not None


def sweep_runs(project):
    client = project.client()
    return client.search_runs([client.get_experiment_by_name("tiny").experiment_id])


def test_a_trial_that_kills_every_worker_is_lost_and_the_sweep_goes_on(project):
    project.call("sweep", "sweep.yaml", "--set", "hypermodel=toys:MoodyHyperModel",
                 "--set", "space.mood={values: [suicide, fine]}", "--set", "search.enqueue=[{mood: suicide}]",
                 "--max-trials", "2")  # fmt: skip
    record = project.record()
    lost = [trial for trial in record.trials.values() if trial.state is TrialState.LOST]
    assert all(trial.attempt == 4 and len(trial.losses) == 4 for trial in lost)
    assert {trial.values["mood"] for trial in lost} == {"suicide"}
    assert record.winner is not None


def test_a_sweep_with_known_points_is_killed_while_it_trains_finalists(finished, tmp_path):
    """Warm start, an enqueued configuration and a constraint on the way; the finalists' trials are resumed too."""
    project = finished.copy_to(tmp_path)
    search = "{warm_start: [tiny], enqueue: [{units: 4}], constraints: {parameters: '<= 1e5'}, max_trials: 3, seed: 3}"
    process = project.start(
        "sweep", "sweep.yaml", "--set", "name=again", "--set", "tracking.experiment=again",
        "--set", f"search={search}", "--set", "registry={model: again, finalists: 1, seeds: 2}",
    )  # fmt: skip
    wait_for(lambda: len(list(project.path.glob(".galaxy_exp/sweeps/again-*/journal.jsonl"))) == 1, process)
    wait_for(journal_has(project, "trial_ended", 4), process)
    os.kill(process.pid, signal.SIGKILL)
    _, log = process.communicate()
    assert re.search(r"warm start: 5 trials of tiny-\S+ are evidence; its scores count as this sweep's own", log)
    project.call("resume")
    record = project.record()
    assert [trial.predetermined for trial in record.trials.values()] == [True, True, False, False, False]
    assert record.trials[1].values["units"] == 4
    finalist = record.leaderboard()[0].number
    assert record.finalists == [finalist]
    assert [trial.retrains for trial in record.trials.values()] == [None, None, None, finalist, finalist]
    assert record.trials[3].values == record.trials[finalist].values
    assert record.trials[3].curve("loss") != record.trials[4].curve("loss")
    assert record.trials[record.winner].retrains == finalist
    client = project.client()
    runs = client.search_runs([client.get_experiment_by_name("again").experiment_id])
    assert sorted(run.data.tags.get(names.RETRAINS, "") for run in runs) == ["", "", "", "", *[str(finalist)] * 2]
    assert len(client.search_model_versions("name='again'")) == 1


def test_a_hypermodel_that_was_broken_meanwhile_fails_no_trial_and_one_that_was_changed_is_told(project):
    code, file = project.path / "mine.py", project.path / "sweep.yaml"
    code.write_text(source := "import toys\nclass TinyHyperModel(toys.TinyHyperModel): pass\n")
    file.write_text(file.read_text().replace("toys:", "mine:"))
    process = project.start("sweep", "sweep.yaml")
    wait_for(journal_has(project, "trial_ended", 1), process)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    proposed = count_events(project, "trial_proposed")
    code.write_text("from toys import TinyHyperModel, Nothing\n")
    failed = project.call("resume", exit_code=2).stderr
    assert "error: hypermodel: mine:TinyHyperModel: cannot import mine: ImportError: " in failed
    assert count_events(project, "trial_proposed") == proposed
    code.write_text(f"{source}print('changed')\n")
    said = "hypermodel: the file of mine:TinyHyperModel has changed since sweep"
    assert said in project.call("resume").stderr
    reproduced = project.call("reproduce", "0", "--format", "json")
    assert said in reproduced.stderr
    assert json.loads(reproduced.stdout), "what the module prints is not among the results"
    code.write_text(source)
    assert said not in project.call("reproduce", "0").stderr
    assert {trial.state for trial in project.record().trials.values()} <= {TrialState.COMPLETED, TrialState.STOPPED}
