"""The contract of `Engine`, over every implementation, with workers that train networks.

What an engine does with its workers, whatever these train, is in test_engine_workers.py.
"""

import psutil
import pytest
from dask_clusters import InProcessCluster, dask_engine
from engine_events import assert_no_port_is_open_to_other_machines, follow, wait

from galaxy_exp.execution.engine import LocalEngine, LostWorker
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialState

pytestmark = pytest.mark.slow


ENGINES = {
    "local": lambda log_file: LocalEngine([WorkerProcess(log_file)]),
    "dask": lambda log_file: dask_engine(InProcessCluster(1), log_file),
}


@pytest.fixture(scope="module", params=list(ENGINES))
def shared(request, tmp_path_factory):
    """One engine, which the tests leave idle until the last closes it, and the log of its worker."""
    log_file = tmp_path_factory.mktemp(request.param) / "worker.log"
    engine = ENGINES[request.param](log_file)
    engine.start()
    yield engine, log_file
    engine.close()


@pytest.fixture
def engine(shared):
    return shared[0]


def test_a_trial_reports_each_epoch_and_then_its_result(engine, make_spec):
    engine.submit(make_spec(7))
    *reports, result = follow(engine, 7)
    assert [(report.number, report.attempt, report.epoch) for report in reports] == [(7, 1, 1), (7, 1, 2)]
    assert isinstance(result, TrialResult)
    assert (result.number, result.state, result.epochs) == (7, TrialState.COMPLETED, 2)


def test_no_port_is_open_to_other_machines_while_it_trains(engine, make_spec):
    engine.submit(make_spec(epochs=2))
    assert isinstance(wait(engine), EpochReport)
    here = psutil.Process()
    assert_no_port_is_open_to_other_machines((here, *here.children(recursive=True)))
    engine.answer(0, Decision.STOP)
    assert wait(engine).state is TrialState.STOPPED


def test_a_worker_waits_for_the_answer_and_stops_when_told(engine, make_spec):
    engine.submit(make_spec(epochs=50))
    assert isinstance(wait(engine), EpochReport)
    assert engine.next_event(0.5) is None
    engine.answer(0, Decision.STOP)
    result = wait(engine)
    assert (result.state, result.epochs) == (TrialState.STOPPED, 1)


def test_a_trial_that_raises_fails_with_its_traceback_and_the_worker_continues(engine, make_spec):
    engine.submit(make_spec(0, mood="raise"))
    failed = follow(engine, 0)[-1]
    assert failed.state is TrialState.FAILED
    assert "a bad day" in failed.reason
    assert "RuntimeError: a bad day" in failed.traceback
    engine.submit(make_spec(1))
    assert follow(engine, 1)[-1].state is TrialState.COMPLETED


def test_a_trial_that_diverges_fails_with_the_epoch(engine, make_spec):
    engine.submit(make_spec(mood="diverge"))
    failed = follow(engine, 0)[-1]
    assert failed.state is TrialState.FAILED
    assert "diverged" in failed.reason
    assert "epoch 1" in failed.reason


def test_a_worker_that_crashes_is_one_event_and_the_next_trial_runs(engine, make_spec):
    engine.submit(make_spec(3, mood="segfault"))
    lost = wait(engine)
    assert isinstance(lost, LostWorker)
    assert (lost.number, lost.attempt) == (3, 1)
    assert "SIGSEGV" in lost.reason
    assert engine.free_slots() >= 1
    engine.submit(make_spec(3, attempt=2))
    assert follow(engine, 3)[-1].attempt == 2


def test_what_a_worker_prints_goes_to_the_log_and_not_to_the_terminal(engine, shared, make_spec, capfd):
    spec = make_spec(model="TalkativeHyperModel")
    capfd.readouterr()  # making the specification builds the model here as well
    engine.submit(spec)
    assert follow(engine, 0)[-1].state is TrialState.COMPLETED
    engine.close()
    log = shared[1].read_text()
    for words in ("said on stdout", "said on stderr", "written to descriptor 1"):
        assert words in log
    assert capfd.readouterr() == ("", "")
