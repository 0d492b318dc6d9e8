"""Worker processes that are really stopped, killed and out of memory, under the real loop, on every engine."""

import os
import time
from pathlib import Path

import pytest
from dask_clusters import InProcessCluster, dask_engine
from toy_sweeps import MODULE, results, run_sweep, undisturbed

from galaxy_exp.execution.engine import LocalEngine
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.records import TrialState

pytestmark = pytest.mark.slow

ENGINES = {
    "inline": lambda log_file: LocalEngine([WorkerProcess(log_file, module=MODULE)]),
    "local": lambda log_file: LocalEngine([WorkerProcess(log_file, module=MODULE) for _ in range(2)]),
    "dask": lambda log_file: dask_engine(InProcessCluster(2), log_file, module=MODULE),
}


@pytest.fixture(params=list(ENGINES))
def engine(request, tmp_path):
    return ENGINES[request.param](tmp_path / "logs" / "worker.log")


@pytest.fixture
def small_group():
    """A control group of 100 MB; the kernel kills what grows beyond."""
    root = Path("/sys/fs/cgroup")
    one, two = root / "memory", root
    limits = {one: "memory.limit_in_bytes", two: "memory.max"}
    for parent, limit in limits.items():
        group = parent / f"galaxy-exp-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text("100000000")
        except OSError:
            group.rmdir()
            continue
        yield group
        deadline = time.monotonic() + 10
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        group.rmdir()
        return
    pytest.skip("no control group with a memory limit can be made here (needs root and the memory controller)")


def test_stopped_segfaulted_and_killed_workers_lose_the_trial_once_and_results_are_the_same(engine, tmp_path, hasty):
    fates = ["none", "stop", "segfault", "kill", "none"]
    proposals = [{"score": 0.5 + number / 10, "fate": fate} for number, fate in enumerate(fates)]
    record = run_sweep(tmp_path, engine, proposals)
    peaceful = [proposal | {"fate": "none"} for proposal in proposals]
    assert results(record) == undisturbed(tmp_path / "undisturbed", peaceful)
    losses = {number: trial.losses for number, trial in record.trials.items() if trial.losses}
    assert {number: len(reasons) for number, reasons in losses.items()} == {1: 1, 2: 1, 3: 1}
    assert losses[1][0].startswith("hung: no report for ")
    assert "SIGSEGV" in losses[2][0]
    assert "SIGKILL" in losses[3][0]


def test_a_trial_whose_worker_always_hangs_is_recorded_as_lost_and_the_sweep_continues(engine, tmp_path, hasty):
    proposals = [{"score": 0.5, "fate": "stop", "until": 9}, {"score": 0.6}]
    record = run_sweep(tmp_path, engine, proposals)
    lost = record.trials[0].result
    assert (lost.state, lost.attempt) == (TrialState.LOST, 4)
    assert lost.reason.startswith("lost 4 workers; the last: hung: no report for ")
    assert record.trials[1].result.state is TrialState.COMPLETED


def test_a_worker_that_the_kernel_kills_for_its_memory_is_lost_with_that_reason(engine, tmp_path, small_group):
    proposals = [{"score": 0.5, "fate": "memory", "group": str(small_group)}]
    record = run_sweep(tmp_path, engine, proposals)
    assert record.trials[0].result.state is TrialState.COMPLETED
    (reason,) = record.trials[0].losses
    assert "SIGKILL (the system may have run out of memory)" in reason
