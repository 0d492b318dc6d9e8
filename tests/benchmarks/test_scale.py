import json

import pytest

from benchmarks import scale
from benchmarks.scale_run import Settings
from benchmarks.scale_simulation import SimulatedEngine
from galaxy_exp.records import Decision, EpochReport, Objective, SplitFiles, TrialResult, TrialSpec, TrialState


class Stopwatch:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def stopwatch():
    return Stopwatch()


@pytest.fixture
def make_spec(tmp_path):
    def make(number, epochs=2):
        files = SplitFiles(tmp_path, tmp_path, tmp_path, tmp_path, ("a", "b"))
        objective = Objective("val_macro_f1", "max")
        return TrialSpec("s", number, {}, {}, "", files, epochs, number, "", False, False, objective, tmp_path)

    return make


class TestSimulatedEngine:
    def test_the_clock_jumps_to_what_is_said_next(self, stopwatch, make_spec):
        engine = SimulatedEngine(workers=2, seconds=60, stopwatch=stopwatch)
        engine.submit(make_spec(0))
        engine.submit(make_spec(1, epochs=1))
        assert engine.free_slots() == 0
        first = engine.next_event(100)
        assert (first.number, first.epoch, engine.clock()) == (0, 1, 30)
        engine.answer(0, Decision.STOP)
        stopped = engine.next_event(100)
        assert isinstance(stopped, TrialResult)
        assert (stopped.state, stopped.epochs, stopped.seconds) == (TrialState.STOPPED, 1, 30)
        assert engine.free_slots() == 1
        assert isinstance(engine.next_event(100), EpochReport)
        assert engine.idle_seconds == engine.clock() == 60

    def test_what_the_driver_takes_keeps_workers_waiting(self, stopwatch, make_spec):
        engine = SimulatedEngine(workers=1, seconds=60, stopwatch=stopwatch)
        engine.submit(make_spec(0))
        engine.next_event(100)
        stopwatch.seconds = 5  # between report and answer
        engine.answer(0, Decision.CONTINUE)
        assert engine.next_event(100).epoch == 2
        assert engine.clock() == 65
        assert engine.idle_seconds == 60

    def test_nothing_is_said_in_time(self, stopwatch, make_spec):
        engine = SimulatedEngine(workers=1, seconds=60, stopwatch=stopwatch)
        engine.submit(make_spec(0))
        assert engine.next_event(0) is None
        assert engine.clock() == 0
        assert engine.next_event(10) is None
        assert engine.clock() == 10


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    measured = []

    def measure(self, name, settings):
        measured.append((name, settings.trials))
        return {"ended": settings.trials}

    monkeypatch.setattr(scale.Runner, "_measure", measure)
    for trials in (5, 5, 6):
        found = scale.Runner(tmp_path, "sqlite").sweep("sweep-random", Settings(trials, 2))
        assert found == {"ended": trials}
    assert measured == [("sweep-random", 5), ("sweep-random", 6)]


@pytest.mark.slow
def test_command_line(tmp_path, capsys):
    """One sweep of sleeping trials on two workers, tracked in a database, and MLflow's UI with it."""
    command = ["--quick", "--only", "sweep", "ui", "--tracking", "sqlite", "--samplers", "random"]
    command += ["--trials", "6", "--seconds", "0.1", "--workers", "2", "--folder", str(tmp_path / "scale")]
    assert scale.main([*command, "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    run = report["sweep"]["random"]
    assert (run["ended"], run["tracked"], run["epochs"]) == (6, 6, 6)
    assert run["wall_seconds"] > run["ideal_seconds"] == pytest.approx(0.3)
    assert (report["ui"]["runs"], report["ui"]["runs_on_a_page"]) == (6, 7)
    assert "driver CPU ms/trial" in capsys.readouterr().out


@pytest.mark.slow
def test_simulation(tmp_path, capsys):
    command = ["--quick", "--only", "simulation", "--samplers", "random", "--simulated", "10", "40"]
    assert scale.main([*command, "--json", str(tmp_path / "out.json")]) == 0
    run = json.loads((tmp_path / "out.json").read_text())["simulation"]["random"]
    assert run["ended"] == 40
    assert run["ideal_seconds"] < run["wall_seconds"]
    assert 0 < run["idle_seconds"] < run["wall_seconds"]
    assert "simulated, 10 workers, sampler random: 40 trials ended" in " ".join(capsys.readouterr().out.split())
