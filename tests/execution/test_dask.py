"""The Dask engine on a cluster that somebody else started: real processes, really killed."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from dask_clusters import Cluster, InProcessCluster, workers_below
from dask_clusters import dask_engine as build_dask_engine
from distributed import Client
from engine_events import TIMEOUT_SECONDS, follow, wait
from toy_sweeps import MODULE
from toy_worker import specification

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import ConfigError, EngineError
from galaxy_exp.execution import dask_engine
from galaxy_exp.execution.clusters import RunningCluster
from galaxy_exp.execution.dask_protocol import DaskConnection
from galaxy_exp.execution.engine import SlotFreed
from galaxy_exp.execution.worker_pool import build_engine
from galaxy_exp.records import EpochReport, TrialResult

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def wait_for_slots(engine, number):
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while engine.free_slots() < number:
        assert time.monotonic() < deadline
        assert engine.next_event(0.2) in (None, SlotFreed())


def test_on_a_running_cluster(cluster, tmp_path, make_spec):
    """A worker that joins late, one that is killed, and at the end the scheduler itself."""
    said = []
    config = ExecutionConfig(scheduler=cluster.address)
    engine = build_engine(config, tmp_path / "logs" / "worker.log", said.append)
    try:
        engine.start()
        assert engine.free_slots() == 0
        assert said == ["no Dask worker is there; waiting for one"]
        first = cluster.add_worker()
        wait_for_slots(engine, 1)
        engine.submit(make_spec(0, epochs=50))
        assert isinstance(wait(engine), EpochReport)

        second = cluster.add_worker()
        wait_for_slots(engine, 1)
        engine.submit(make_spec(1))
        assert isinstance(follow(engine, 1)[-1], TrialResult)

        trained_in = workers_below(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        lost = wait(engine)
        assert (lost.number, lost.attempt) == (0, 1)
        assert "has left the cluster" in lost.reason
        psutil.wait_procs(trained_in, timeout=30)
        assert not any(process.is_running() for process in trained_in), "a worker process outlived its Dask worker"

        engine.submit(make_spec(0, attempt=2, epochs=50))
        assert wait(engine).attempt == 2
        trained_in = workers_below(second.pid)
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="the connection to the Dask scheduler was lost"):
            wait(engine)
        engine.close()
        psutil.wait_procs(trained_in, timeout=30)
        assert not any(process.is_running() for process in trained_in), "a trial outlived its scheduler"
    finally:
        engine.close()


def test_a_worker_that_comes_later_and_cannot_run_trials_is_reported_and_tried_again(
    cluster, tmp_path, make_spec, monkeypatch
):
    said, logs = [], tmp_path / "logs"
    monkeypatch.setattr(dask_engine, "RENEW_SECONDS", 3.0)
    engine = build_engine(ExecutionConfig(scheduler=cluster.address), logs / "worker.log", said.append)
    try:
        engine.start()
        logs.rmdir()
        cluster.add_worker()
        until = time.monotonic() + 60
        while len(said) < 2 and time.monotonic() < until:
            engine.next_event(0.1)
        assert engine.free_slots() == 0
        assert said[0] == "no Dask worker is there; waiting for one"
        assert re.fullmatch(
            rf"left out: the Dask worker at tcp://\S+ has no {logs}; expected the project on .*", said[1]
        )
        logs.mkdir()
        wait_for_slots(engine, 1)
        engine.submit(make_spec(0))
        assert isinstance(follow(engine, 0)[-1], TrialResult)
        assert len(said) == 2
    finally:
        engine.close()


DRIVER = """
import pickle, sys, time
from pathlib import Path
from galaxy_exp.records import EpochReport
from galaxy_exp.execution.clusters import RunningCluster
from galaxy_exp.execution.dask_engine import DaskEngine
from galaxy_exp.execution.dask_protocol import DaskConnection
engine = DaskEngine(DaskConnection(RunningCluster(None, Path(sys.argv[1])), Path(sys.argv[2]), module=sys.argv[4]))
while not engine.free_slots():
    engine.next_event(0.2)
engine.submit(pickle.loads(Path(sys.argv[3]).read_bytes()))
while not isinstance(engine.next_event(0.2), EpochReport):
    pass
print("training", flush=True)
time.sleep(600)
"""


def test_a_killed_driver_ends_its_trials_and_leaves_the_cluster_to_others(cluster, tmp_path):
    worker = cluster.add_worker()
    spec, log = tmp_path / "spec", tmp_path / "worker.log"
    spec.write_bytes(pickle.dumps(replace(specification(0, 1, {"score": 0.5}, tmp_path), epochs=600)))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(cluster.file), str(log), str(spec), MODULE],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert driver.stdout.readline() == b"training\n"
    trained_in = workers_below(worker.pid, MODULE)
    assert trained_in
    driver.kill()
    driver.communicate()
    psutil.wait_procs(trained_in, timeout=30)
    assert not any(process.is_running() for process in trained_in)
    engine = build_dask_engine(RunningCluster(cluster.address), log, module=MODULE)
    try:
        engine.submit(specification(1, 1, {"score": 0.5}, tmp_path))
        assert isinstance(follow(engine, 1)[-1], TrialResult)
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"scheduler": "tcp://127.0.0.1:1"},
            r"execution.scheduler: tcp://127.0.0.1:1: no Dask scheduler answers: Connection refused",
        ),
        (
            {"scheduler": "tls://127.0.0.1:1"},
            r"execution.scheduler: tls://127.0.0.1:1: tls:// needs distributed.comm.tls.ca-file in Dask",
        ),
        ({"scheduler_file": "none.json"}, r"execution.scheduler_file: \S*none.json does not exist"),
        ({"cluster": "slurm", "workers": 1}, r"execution.cluster(_options)?: "),
    ],
)
def test_a_cluster_that_cannot_be_had_is_one_line(tmp_path, settings, message):
    engine = build_engine(ExecutionConfig(**settings), tmp_path / "worker.log")
    with pytest.raises(ConfigError, match=message) as caught:
        engine.start()
    assert len(str(caught.value).splitlines()) == 1
    engine.close()


def test_a_worker_that_stands_still_at_the_start_is_left_out(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_engine, "START_SECONDS", 15.0)
    said = []
    connection = DaskConnection(RunningCluster(cluster.address), tmp_path / "worker.log", module=MODULE)
    engine = dask_engine.DaskEngine(connection, said.append)
    cluster.add_worker()
    stopped = cluster.add_worker()
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2)
    stopped.send_signal(signal.SIGSTOP)
    try:
        assert engine.free_slots() == 1
        assert len(said) == 1
        assert re.fullmatch(r"left out: the Dask worker at tcp://\S+ does not answer within 15 s", said[0])
        engine.submit(specification(0, 1, {"score": 0.5}, tmp_path))
        assert isinstance(follow(engine, 0)[-1], TrialResult)
    finally:
        stopped.send_signal(signal.SIGCONT)
        engine.close()


def test_a_worker_that_leaves_just_before_it_gets_a_trial_is_a_loss(tmp_path):
    workers = InProcessCluster(1)
    engine = build_dask_engine(workers, tmp_path / "worker.log", module=MODULE)
    try:
        engine.start()
        assert engine.free_slots() == 1
        workers.cluster.scale(0)
        time.sleep(2)  # long enough for the engine to look for workers again
        engine.submit(specification(0, 1, {"score": 0.5}, tmp_path))
        lost = wait(engine)
        assert (lost.number, lost.attempt) == (0, 1)
        assert "has left the cluster" in lost.reason
    finally:
        engine.close()


def test_an_order_changes_how_many_workers_of_the_cluster_are_used(tmp_path):
    engine = build_dask_engine(InProcessCluster(2), tmp_path / "worker.log", module=MODULE)
    try:
        engine.start()
        assert engine.free_slots() == 2
        engine.scale(1)
        assert engine.free_slots() == 1
        engine.scale(5)
        wait_for_slots(engine, 2)
        assert engine.free_slots() == 2
    finally:
        engine.close()
