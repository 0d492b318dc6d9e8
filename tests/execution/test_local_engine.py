"""The local engine with several workers, and that it needs no Dask."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from dask_clusters import workers_below
from engine_events import follow, wait
from toy_sweeps import MODULE
from toy_worker import EPOCHS, specification

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.execution.engine import LocalEngine, LostWorker
from galaxy_exp.execution.resources import available_cores, threads_each
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.execution.worker_pool import build_engine
from galaxy_exp.records import Decision, EpochReport, TrialResult

pytestmark = pytest.mark.slow


@pytest.fixture
def engine(tmp_path):
    engine = LocalEngine([WorkerProcess(tmp_path / "worker.log", module=MODULE) for _ in range(3)])
    yield engine
    engine.close()


def toy_workers():
    return [each for each in psutil.Process().children() if MODULE in each.cmdline()]


def test_one_of_three_workers_is_killed_and_the_others_continue(tmp_path, make_spec):
    engine = build_engine(ExecutionConfig(workers=3), tmp_path / "logs" / "worker.log")
    try:
        assert engine.free_slots() == 3
        assert not [each for each in psutil.Process().net_connections("inet") if each.status == psutil.CONN_LISTEN]
        for number in range(3):
            engine.submit(make_spec(number, epochs=3))
        assert engine.free_slots() == 0
        first = wait(engine)
        workers = workers_below(os.getpid())
        threads = str(threads_each(available_cores(), 3))
        assert [worker.environ()["TF_NUM_INTRAOP_THREADS"] for worker in workers] == [threads] * 3
        workers[0].kill()
        events = [first]
        unanswered = {first.number}
        while len([event for event in events if not isinstance(event, EpochReport)]) < 3:
            for number in unanswered:
                engine.answer(number, Decision.CONTINUE)
            events.append(wait(engine))
            unanswered = {events[-1].number} if isinstance(events[-1], EpochReport) else set()
        (lost,) = [event for event in events if isinstance(event, LostWorker)]
        assert "SIGKILL" in lost.reason
        finished = {event.number: event.epochs for event in events if isinstance(event, TrialResult)}
        assert finished == {number: 3 for number in range(3) if number != lost.number}
        engine.submit(make_spec(lost.number, attempt=2))
        assert follow(engine, lost.number)[-1].attempt == 2
    finally:
        engine.close()


def test_a_worker_that_died_while_it_was_free_is_replaced_when_it_gets_a_trial(engine, tmp_path):
    engine.start()
    workers = toy_workers()
    assert len(workers) == 3
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers, timeout=10)
    assert engine.next_event(0) is None
    engine.submit(specification(0, 1, {"score": 0.5}, tmp_path))
    assert isinstance(follow(engine, 0)[-1], TrialResult)


def test_each_worker_is_read_once_before_any_is_read_again(engine, tmp_path):
    """So a worker with short epochs does not keep the others waiting."""
    for number in range(3):
        engine.submit(specification(number, 1, {"score": 0.5, "seconds": 0.0}, tmp_path))
    numbers = []
    time.sleep(2)  # by now all have reported
    for _ in range(3):
        event = wait(engine)
        engine.answer(event.number, Decision.CONTINUE)
        numbers.append(event.number)
        time.sleep(0.2)  # the next report of this worker is there
    assert sorted(numbers) == [0, 1, 2]


def test_the_timeout_is_waited_for_without_a_trial_too(engine):
    began = time.monotonic()
    assert engine.next_event(0.3) is None
    assert time.monotonic() - began >= 0.3


def test_all_workers_end_at_once(engine, tmp_path):
    for number in range(3):
        engine.submit(specification(number, 1, {"score": 0.5, "seconds": 60}, tmp_path))
    workers = toy_workers()
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 2
    assert not any(worker.is_running() for worker in workers)
    assert engine.free_slots() == 3


WITHOUT_DASK = """
import sys
sys.modules["dask"] = sys.modules["distributed"] = None
from pathlib import Path
from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.worker_pool import build_engine
for settings in ({"workers": 3}, {"engine": "dask", "workers": 2}):
    print(type(build_engine(ExecutionConfig(**settings), Path("log"))).__name__)
for settings in ({"scheduler": "tcp://host:8786"}, {"cluster": "slurm", "workers": 1}):
    try:
        build_engine(ExecutionConfig(**settings), Path("log"))
    except ConfigError as error:
        print(error)
"""


def test_dask_is_needed_for_clusters_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DASK], check=True, capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    message = "execution: a cluster needs dask; install it with: pip install 'galaxy-exp[dask]'"
    assert done.stdout.splitlines() == ["LocalEngine", "LocalEngine", message, message]


class TestScale:
    @pytest.fixture
    def engine(self, tmp_path):
        """Two workers with one thread each, which has three threads as a single one."""

        def make(workers):
            threads = {1: "3", 2: "1"}.get(workers, "1")
            environment = {"OMP_NUM_THREADS": threads}
            return [WorkerProcess(tmp_path / "log", environment=environment, module=MODULE) for _ in range(workers)]

        engine = LocalEngine(make(2), make)
        engine.start()
        yield engine
        engine.close()

    def submit(self, engine, number, folder, **values):
        engine.submit(specification(number, 1, {"score": 0.5, **values}, folder))

    def test_free_workers_too_many_end_at_once_and_one_that_trains_stays(self, engine, tmp_path):
        self.submit(engine, 0, tmp_path)
        (before,) = [worker.process for worker in engine._workers if worker.spec]
        engine.scale(1)
        assert len(toy_workers()) == 1
        assert engine.free_slots() == 0
        assert follow(engine, 0)[-1].epochs == EPOCHS
        assert engine.free_slots() == 1
        assert engine._workers[0].process is not before
        assert [worker.environ()["OMP_NUM_THREADS"] for worker in toy_workers()] == ["3"]
        self.submit(engine, 1, tmp_path)
        assert follow(engine, 1)[-1].epochs == EPOCHS

    def test_more_workers_train_at_the_same_time_and_those_with_the_same_threads_stay(self, engine, tmp_path):
        before = {worker.pid for worker in toy_workers()}
        engine.scale(3)
        assert engine.free_slots() == 3
        assert before < {worker.pid for worker in toy_workers()}
        for number in range(3):
            self.submit(engine, number, tmp_path)
        assert engine.free_slots() == 0

    def test_a_worker_that_dies_after_it_became_too_many_is_not_replaced(self, engine, tmp_path):
        for number in range(2):
            self.submit(engine, number, tmp_path, fate="kill" if number else None)
        engine.scale(1)
        ended = []
        while len(ended) < 2:
            event = wait(engine)
            if isinstance(event, EpochReport):
                engine.answer(event.number, Decision.CONTINUE)
            else:
                ended.append(type(event))
        assert sorted(kind.__name__ for kind in ended) == ["LostWorker", "TrialResult"]
        assert engine.free_slots() == len(toy_workers()) == 1

    def test_changed_again_before_a_trial_has_ended(self, engine, tmp_path):
        self.submit(engine, 0, tmp_path)
        self.submit(engine, 1, tmp_path)
        engine.scale(1)
        engine.scale(2)
        for _ in range(2 * EPOCHS + 2):
            event = wait(engine)
            if isinstance(event, EpochReport):
                engine.answer(event.number, Decision.CONTINUE)
        assert engine.free_slots() == len(toy_workers()) == 2
        assert [worker.environ()["OMP_NUM_THREADS"] for worker in toy_workers()] == ["1", "1"]

    def test_an_engine_without_a_factory_says_so(self, tmp_path):
        with pytest.raises(RuntimeError, match="the number of workers is fixed"):
            LocalEngine([WorkerProcess(tmp_path / "log", module=MODULE)]).scale(2)
