"""A real sweep that finds out how many workers it should have, is interrupted and goes on."""

import os
import signal

import psutil
import pytest

from galaxy_exp.execution.resources import available_cores

from .test_faults import journal_has, wait_for, workers_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_store")]


def test_the_number_is_measured_told_and_kept(project):
    process = project.start("sweep", "sweep.yaml", "--workers", "auto", "--epochs", "1", "--max-trials", "2")
    wait_for(journal_has(project, "trial_started", 1), process, seconds=300)
    wait_for(lambda: len(workers_of(process)) == project.record().workers_chosen.workers, process)
    workers = workers_of(process)
    os.kill(process.pid, signal.SIGKILL)
    _, log = process.communicate()
    psutil.wait_procs(workers, timeout=10)

    chosen = project.record().workers_chosen
    assert f"workers: {chosen.why}\n" in log
    assert chosen.workers <= available_cores()
    assert all(each.images_per_second > 0 for each in chosen.measured)
    assert len(chosen.measured) != 1
    resumed = project.call("resume", "--workers", "auto")
    record = project.record()
    assert "measuring" not in resumed.stderr
    assert record.workers_chosen == chosen
    assert record.changed == []
    assert record.execution.workers == chosen.workers
    assert record.ended.succeeded
    assert chosen.why in project.call("show").stdout.replace("\n", " ")
