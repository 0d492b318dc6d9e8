"""A worker that wakes up when its trial has long been ended by another attempt changes no file of the trial."""

from dataclasses import replace
from functools import partial

import psutil
import pytest
from toy_sweeps import MODULE, run_sweep, specify

from galaxy_exp.execution.engine import LocalEngine
from galaxy_exp.execution.trials import keep_files
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.folders import SweepFolder
from galaxy_exp.records import Decision, TrialResult, TrialState


class OutOfReach:
    """A worker that cannot be reached when it is to be killed: it stays as it is, and another one dies in its place."""

    def __init__(self, log_file):
        self.log_file = log_file
        self.lost = []
        self.reached = WorkerProcess(log_file, module=MODULE)

    def __getattr__(self, name):
        return getattr(self.reached, name)

    def kill(self):
        self.lost.append(self.reached)
        self.reached = WorkerProcess(self.log_file, module=MODULE)
        self.reached.start()
        self.reached.kill()


@pytest.mark.slow
def test_a_worker_that_was_stopped_and_continues_after_the_next_attempt_ended_changes_nothing(tmp_path, hasty):
    folder = SweepFolder(tmp_path / "s-1")
    worker = OutOfReach(tmp_path / "worker.log")
    record = run_sweep(
        tmp_path,
        LocalEngine([worker]),
        [{"score": 0.5, "fate": "stop"}],
        make_spec=lambda trial, attempt: replace(
            specify(trial, attempt, tmp_path), folder=folder.attempt(trial.number, attempt)
        ),
        keep_files=partial(keep_files, folder),
    )
    assert record.trials[0].result.attempt == 2
    assert (folder.model(0).read_text(), folder.attempts()) == ("2", [])

    (stalled,) = worker.lost
    (stopped,) = [each for each in psutil.Process().children() if each.status() == psutil.STATUS_STOPPED]
    stopped.resume()
    for _ in range(2):  # it reports its second and third epoch, and does not know that nobody wants it
        assert stalled.receive(60) is not None
        stalled.send(Decision.CONTINUE)
    late = stalled.receive(60)
    stalled.end()
    assert isinstance(late, TrialResult) and late.attempt == 1
    assert folder.model(0).read_text() == "2"
    assert folder.attempts() == [folder.attempt(0, 1)]


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "s-1")
    for attempt in (1, 2, 11):
        folder.attempt(3, attempt).mkdir(parents=True)
        (folder.attempt(3, attempt) / "model.keras").write_text(str(attempt))
    folder.attempt(30, 1).mkdir()
    return folder


def result(state, attempt=2):
    return TrialResult(3, attempt, state, "")


def test_the_files_of_the_attempt_that_ended_are_the_trials(folder):
    folder.trial(3).mkdir()  # left there by a version that had one folder for all attempts
    (folder.trial(3) / "history.csv").touch()
    keep_files(folder, result(TrialState.STOPPED))
    assert [(file.name, file.read_text()) for file in folder.trial(3).iterdir()] == [("model.keras", "2")]
    assert folder.attempts() == [folder.attempt(30, 1)]


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.LOST, TrialState.INFEASIBLE])
def test_a_trial_without_a_model_leaves_nothing(folder, state):
    keep_files(folder, result(state))
    assert not folder.trial(3).exists()
    assert folder.attempts() == [folder.attempt(30, 1)]


def test_an_attempt_without_files_leaves_the_trials_as_they_are(folder):
    keep_files(folder, result(TrialState.COMPLETED))
    keep_files(folder, result(TrialState.COMPLETED, attempt=5))
    assert folder.model(3).read_text() == "2"
