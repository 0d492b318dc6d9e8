"""The worker process itself: replaced when it has grown, ended when nobody needs it. It trains nothing here."""

import re
from datetime import datetime

import psutil
import pytest
from toy_sweeps import MODULE
from toy_worker import specification

from galaxy_exp.execution.worker import WorkerDied, WorkerProcess
from galaxy_exp.records import Decision, EpochReport, TrialResult

pytestmark = pytest.mark.slow


def specify(number, folder):
    return specification(number, 1, {"score": 0.5}, folder)


def train(process, spec):
    process.send(spec)
    event = process.receive(120)
    while isinstance(event, EpochReport):
        process.send(Decision.CONTINUE)
        event = process.receive(120)
    assert isinstance(event, TrialResult)


def test_a_process_that_has_grown_is_replaced_between_trials(tmp_path):
    any_size_is_too_much = -(2**50)
    others = psutil.Process().children()

    def started():
        return [child for child in psutil.Process().children() if child not in others]

    process = WorkerProcess(tmp_path / "worker.log", max_growth=any_size_is_too_much, idle_seconds=20, module=MODULE)
    process.start()
    try:
        before = started()
        train(process, specify(0, tmp_path))
        assert started() == before, "there is nothing to compare the first trial with"
        train(process, specify(1, tmp_path))
        assert len(started()) == 1
        assert started() != before
        train(process, specify(2, tmp_path))
    finally:
        process.end()


def test_says_in_its_log_when_it_is_ready_and_what_it_trains(tmp_path):
    log = tmp_path / "worker.log"
    process = WorkerProcess(log, module=MODULE)
    process.start()
    try:
        train(process, specify(3, tmp_path))
    finally:
        process.end()
    said = re.findall(r"^(\S+) worker (\d+) (.+)$", log.read_text(), re.MULTILINE)
    assert [what for _, _, what in said] == ["is ready", "begins trial 3, attempt 1"]
    assert len({number for _, number, _ in said}) == 1
    assert all(datetime.fromisoformat(moment).tzinfo for moment, _, _ in said)


def test_a_process_without_a_trial_ends_itself_after_a_while(tmp_path):
    process = WorkerProcess(tmp_path / "worker.log", idle_seconds=0.1, module=MODULE)
    process.start()
    with pytest.raises(WorkerDied, match="ended"):
        process.receive(60)
