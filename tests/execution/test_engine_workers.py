"""The contract of `Engine`, over every implementation: what it does with worker processes, which only sleep here."""

import os
import signal
import time
from dataclasses import replace

import psutil
import pytest
from dask_clusters import InProcessCluster, dask_engine
from engine_events import TIMEOUT_SECONDS, assert_no_port_is_open_to_other_machines, follow, wait
from toy_sweeps import MODULE
from toy_worker import EPOCHS, specification

from galaxy_exp.execution.engine import LocalEngine, LostWorker, SlotFreed
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialState

pytestmark = pytest.mark.slow


def local_engine(log_file):
    def make(workers):
        return [WorkerProcess(log_file, module=MODULE) for _ in range(workers)]

    return LocalEngine(make(2), make)


ENGINES = {
    "local": local_engine,
    "dask": lambda log_file: dask_engine(InProcessCluster(1), log_file, module=MODULE),
}


@pytest.fixture(scope="module")
def children():
    """The processes below this one that were not there before the engines, such as Python's resource tracker."""
    others = psutil.Process().children(recursive=True)
    return lambda: [child for child in psutil.Process().children(recursive=True) if child not in others]


@pytest.fixture(scope="module", params=list(ENGINES))
def shared(request, tmp_path_factory, children):
    """A list with one engine, which several tests use as long as they leave it idle; and a function that makes one."""
    log_file = tmp_path_factory.mktemp(request.param) / "worker.log"
    engines = [ENGINES[request.param](log_file)]
    engines[0].start()
    yield engines, lambda: ENGINES[request.param](log_file)
    engines[0].close()


@pytest.fixture
def engine(shared):
    engines, make = shared
    slots = engines[0].free_slots()
    yield engines[0]
    if engines[0].free_slots() != slots or not slots:
        engines[0].close()
        engines[0] = make()


@pytest.fixture
def specify(tmp_path):
    def make(number=0, epochs=EPOCHS, attempt=1, **values):
        return replace(specification(number, attempt, {"score": 0.5, **values}, tmp_path), epochs=epochs)

    return make


def test_slots_are_taken_and_given_back(engine, specify):
    slots = engine.free_slots()
    assert slots >= 1
    engine.submit(specify())
    assert engine.free_slots() == slots - 1
    follow(engine, 0)
    assert engine.free_slots() == slots


def test_submitting_without_a_free_slot_is_an_error(engine, specify):
    for number in range(engine.free_slots()):
        engine.submit(specify(number))
    with pytest.raises(RuntimeError, match="busy with trial 0"):
        engine.submit(specify(99))


def test_fewer_workers_lose_no_trial_and_more_are_used_when_they_are_there(engine, specify):
    slots = engine.free_slots()
    for number in range(slots):
        engine.submit(specify(number))
    engine.scale(1)
    ended = []
    while len(ended) < slots:
        event = wait(engine)
        assert not isinstance(event, LostWorker)
        if isinstance(event, EpochReport):
            engine.answer(event.number, Decision.CONTINUE)
        elif isinstance(event, TrialResult):
            ended.append(event.state)
            assert engine.free_slots() <= 1
    assert ended == [TrialState.COMPLETED] * slots
    assert engine.free_slots() == 1
    engine.scale(slots)
    assert engine.free_slots() == slots


@pytest.mark.parametrize(("fate", "name"), [("kill", "SIGKILL"), ("segfault", "SIGSEGV")])
def test_a_killed_worker_is_one_event_and_the_next_trial_runs(engine, specify, fate, name):
    engine.submit(specify(3, fate=fate))
    *reports, lost = follow(engine, 3)
    assert [report.epoch for report in reports] == [1]
    assert isinstance(lost, LostWorker)
    assert (lost.number, lost.attempt) == (3, 1)
    assert name in lost.reason
    assert engine.free_slots() >= 1
    engine.submit(specify(3, attempt=2))
    assert follow(engine, 3)[-1].attempt == 2


def test_a_trial_that_is_killed_is_one_event_with_the_reason_given(engine, specify):
    engine.submit(specify(3, epochs=50))
    wait(engine)
    engine.kill(3, "takes for ever")
    assert wait(engine) == LostWorker(3, 1, "takes for ever")
    while not engine.free_slots():
        assert engine.next_event(TIMEOUT_SECONDS) == SlotFreed()
    engine.submit(specify(3, attempt=2))
    assert {event.attempt for event in follow(engine, 3)} == {2}


def test_answering_a_dead_worker_does_no_harm(engine, specify, children):
    engine.submit(specify(epochs=50))
    assert isinstance(wait(engine), EpochReport)
    for process in children():
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.2)
    engine.answer(0, Decision.CONTINUE)
    assert isinstance(wait(engine), LostWorker)


def test_close_leaves_no_process_even_in_the_middle_of_a_trial(engine, specify, children):
    engine.submit(specify(epochs=50))
    assert isinstance(wait(engine), EpochReport)
    workers = children()
    assert workers
    engine.close()
    engine.close()
    psutil.wait_procs(workers, timeout=5)
    assert not any(worker.is_running() for worker in workers)


def test_no_port_is_open_to_other_machines(engine, specify, children):
    engine.submit(specify(epochs=50))
    assert isinstance(wait(engine), EpochReport)
    assert_no_port_is_open_to_other_machines((psutil.Process(), *children()))


def test_without_a_trial_there_is_no_event(engine):
    engine.start()
    assert engine.next_event(0) is None
