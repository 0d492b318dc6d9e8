"""The worker process itself: replaced when it has grown, ended when nobody needs it."""

import re
from datetime import datetime

import psutil
import pytest

from galaxy_exp.execution.worker import WorkerDied, WorkerProcess
from galaxy_exp.records import Decision, EpochReport, TrialResult

pytestmark = pytest.mark.slow


def train(process, spec):
    process.send(spec)
    event = process.receive(120)
    while isinstance(event, EpochReport):
        process.send(Decision.CONTINUE)
        event = process.receive(120)
    assert isinstance(event, TrialResult)


def test_a_process_that_has_grown_is_replaced_between_trials(tmp_path, make_spec):
    any_size_is_too_much = -(2**50)
    others = psutil.Process().children()

    def started():
        return [child for child in psutil.Process().children() if child not in others]

    process = WorkerProcess(tmp_path / "worker.log", max_growth=any_size_is_too_much, idle_seconds=20)
    process.start()
    try:
        before = started()
        train(process, make_spec(0))
        assert started() == before, "there is nothing to compare the first trial with"
        train(process, make_spec(1))
        assert len(started()) == 1
        assert started() != before
        train(process, make_spec(2))
    finally:
        process.end()


def test_says_in_its_log_when_it_is_ready_and_what_it_trains(tmp_path, make_spec):
    log = tmp_path / "worker.log"
    process = WorkerProcess(log)
    process.start()
    try:
        train(process, make_spec(3))
    finally:
        process.end()
    said = re.findall(r"^(\S+) worker (\d+) (.+)$", log.read_text(), re.MULTILINE)
    assert [what for _, _, what in said] == ["is ready", "begins trial 3, attempt 1"]
    assert len({number for _, number, _ in said}) == 1
    assert all(datetime.fromisoformat(moment).tzinfo for moment, _, _ in said)


def test_a_process_without_a_trial_ends_itself_after_a_while(tmp_path):
    process = WorkerProcess(tmp_path / "worker.log", idle_seconds=0.1)
    process.start()
    with pytest.raises(WorkerDied, match="ended"):
        process.receive(60)
