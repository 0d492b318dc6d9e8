"""The contract of `Engine`, over every implementation, with real processes."""

import os
import signal
import time

import psutil
import pytest

from galaxy_exp.execution.engine import LostWorker
from galaxy_exp.execution.inline import InlineEngine
from galaxy_exp.hypermodel.loading import load_hypermodel
from galaxy_exp.hypermodel.search_space import build_space
from galaxy_exp.records import EpochReport, Objective, TrialResult, TrialSpec, TrialState

pytestmark = pytest.mark.slow

TIMEOUT_SECONDS = 60


@pytest.fixture(params=[InlineEngine])
def engine(request, tmp_path):
    engine = request.param(tmp_path / "worker.log")
    yield engine
    engine.close()


@pytest.fixture
def make_spec(prepared, tmp_path):
    def make(number=0, epochs=2, model="MoodyHyperModel", attempt=1, **values):
        reference = f"toys:{model}"
        space = build_space(load_hypermodel(reference, prepared.image_shape, len(prepared.class_names)), {})
        return TrialSpec(
            sweep_id="s",
            number=number,
            values=space.values | values,
            space=space.get_config(),
            hypermodel=reference,
            data=prepared.files,
            epochs=epochs,
            seed=1,
            precision="float32",
            deterministic=False,
            jit_compile=False,
            objective=Objective("val_accuracy", "max"),
            folder=tmp_path / str(number),
            attempt=attempt,
        )

    return make


def wait(engine):
    event = engine.next_event(TIMEOUT_SECONDS)
    assert event is not None
    return event


def follow(engine, number, go_on=True):
    """Answers every report until the trial ends; returns all events."""
    events = [wait(engine)]
    while isinstance(events[-1], EpochReport):
        engine.answer(number, go_on)
        events.append(wait(engine))
    return events


def children():
    return psutil.Process().children(recursive=True)


def test_a_trial_reports_each_epoch_and_then_its_result(engine, make_spec):
    engine.submit(make_spec(7))
    *reports, result = follow(engine, 7)
    assert [(report.number, report.attempt, report.epoch) for report in reports] == [(7, 1, 1), (7, 1, 2)]
    assert isinstance(result, TrialResult)
    assert (result.number, result.state, result.epochs) == (7, TrialState.COMPLETED, 2)


def test_a_worker_waits_for_the_answer_and_stops_when_told(engine, make_spec):
    engine.submit(make_spec(epochs=50))
    assert isinstance(wait(engine), EpochReport)
    assert engine.next_event(0.5) is None
    engine.answer(0, False)
    result = wait(engine)
    assert (result.state, result.epochs) == (TrialState.STOPPED, 1)


def test_slots_are_taken_and_given_back(engine, make_spec):
    slots = engine.free_slots()
    assert slots >= 1
    engine.submit(make_spec())
    assert engine.free_slots() == slots - 1
    follow(engine, 0)
    assert engine.free_slots() == slots


def test_submitting_without_a_free_slot_is_an_error(engine, make_spec):
    for number in range(engine.free_slots()):
        engine.submit(make_spec(number))
    with pytest.raises(RuntimeError, match="busy with trial 0"):
        engine.submit(make_spec(99))


def test_a_trial_that_raises_fails_with_its_traceback_and_the_worker_goes_on(engine, make_spec):
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


def test_a_killed_worker_is_one_event_and_the_next_trial_runs(engine, make_spec):
    engine.submit(make_spec(3, mood="suicide"))
    lost = wait(engine)
    assert isinstance(lost, LostWorker)
    assert (lost.number, lost.attempt) == (3, 1)
    assert "SIGKILL" in lost.reason
    assert engine.free_slots() >= 1
    engine.submit(make_spec(3, attempt=2))
    assert follow(engine, 3)[-1].attempt == 2


def test_answering_a_dead_worker_does_no_harm(engine, make_spec):
    engine.submit(make_spec(epochs=50))
    wait(engine)
    for process in children():
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.2)
    engine.answer(0, True)
    assert isinstance(wait(engine), LostWorker)


def test_close_leaves_no_process_even_in_the_middle_of_a_trial(engine, make_spec):
    engine.submit(make_spec(epochs=50))
    wait(engine)
    workers = children()
    assert workers
    engine.close()
    engine.close()
    psutil.wait_procs(workers, timeout=5)
    assert not any(worker.is_running() for worker in workers)


def test_without_a_trial_there_is_no_event(engine):
    engine.start()
    assert engine.next_event(0) is None


def test_what_a_worker_prints_goes_to_the_log_and_not_to_the_terminal(engine, make_spec, tmp_path, capfd):
    spec = make_spec(model="TalkativeHyperModel")
    capfd.readouterr()  # making the specification builds the model here as well
    engine.submit(spec)
    assert follow(engine, 0)[-1].state is TrialState.COMPLETED
    engine.close()
    log = (tmp_path / "worker.log").read_text()
    for words in ("said on stdout", "said on stderr", "written to descriptor 1"):
        assert words in log
    assert capfd.readouterr() == ("", "")
