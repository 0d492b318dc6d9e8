"""The worker process itself: replaced when it has grown, ended when nobody needs it. It trains nothing here."""

import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

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


@pytest.mark.parametrize("how", ["ended", "killed", "died"])
@pytest.mark.parametrize("fate", ["helped", "forked"])
def test_what_user_code_has_started_ends_with_the_process(tmp_path, how, fate):
    process = WorkerProcess(tmp_path / "worker.log", module=MODULE)
    process.start()
    worker = psutil.Process(process._process.pid)
    try:
        train(process, specification(0, 1, {"score": 0.5, "fate": fate}, tmp_path))
        (helper,) = worker.children()
        if how == "killed":
            process.kill()
        elif how == "died":
            worker.kill()
        if how != "ended":
            with pytest.raises(WorkerDied):
                process.receive(60)
    finally:
        process.end()
    psutil.wait_procs([helper], timeout=10)
    assert not helper.is_running()


DRIVER = """
import pathlib, sys, time
import psutil
from test_worker import specification, train
from galaxy_exp.execution.worker import WorkerProcess

folder = pathlib.Path(sys.argv[1])
process = WorkerProcess(folder / "worker.log", module="toy_worker")
process.start()
train(process, specification(0, 1, {"score": 0.5, "fate": "helped"}, folder))
print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
time.sleep(600)
"""


def test_all_of_it_ends_when_the_driver_is_killed(tmp_path):
    path = os.pathsep.join(filter(None, [*sys.path, str(Path(__file__).parent)]))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    worker, helper = (psutil.Process(int(pid)) for pid in driver.stdout.readline().split())
    driver.kill()
    driver.communicate()
    assert psutil.wait_procs([worker, helper], timeout=10)[1] == []
