"""The race: its arithmetic with made-up runs, its processes with real ones, and itself in small."""

import json
import subprocess
import sys

import psutil
import pytest
from rich.console import Console

from benchmarks import race
from benchmarks.race_run import Epoch, Limit, ProcessTree, Run, _watch, read_journal_epochs

LIMIT = Limit("cpu", 100.0)


def _run(name, *scores, seed=1, limit=LIMIT, every=20.0):
    """A run of two trials whose epochs end every 20 processor seconds, and in twice the wall time."""
    epochs = [Epoch(2 * every * n, every * n, score, 15.0, n in (1, 3)) for n, score in enumerate(scores, start=1)]
    return Run(name, seed, limit, tuple(epochs), wall_seconds=200.0, cpu_seconds=100.0, other_cpu_seconds=9.0)


OURS = _run("galaxy-exp", 0.5, 0.75, 0.6, 0.8)
HYPERBAND = _run("keras-tuner-hyperband", 0.4, 0.5, 0.6, 0.7)
OPTUNA = _run("optuna", 0.6, 0.5)
MISSING = Run("ray", 1, LIMIT, problem="cannot be installed: no such package")


def _printed(table, capsys):
    Console(width=200).print(table)
    return capsys.readouterr().out


class TestRun:
    def test_best_score_grows_with_time_on_the_clock_of_the_limit(self):
        assert [OURS.best_at(seconds) for seconds in (10, 25, 50, 100)] == [None, 0.5, 0.75, 0.8]
        assert _run("optuna", 0.5, 0.6, limit=Limit("wall", 60.0)).best == 0.5

    def test_time_to_a_score_is_that_of_the_first_epoch_that_reached_it(self):
        assert (OURS.time_to(0.75), OURS.time_to(0.9)) == (40.0, None)

    def test_counts(self):
        assert (OURS.trials, len(OURS.epochs), OURS.training_share) == (2, 4, 0.3)


class TestTable:
    def test_everyone_is_compared_with_the_best_peer_at_its_end(self, capsys):
        printed = _printed(race.build_table([HYPERBAND, OPTUNA, MISSING, OURS]), capsys)
        assert "s to 0.7000" in printed
        assert "80 (80%)" in printed
        assert "40 (40%)" in printed
        assert "never" in printed

    def test_a_missing_peer_is_named_with_its_reason(self, capsys):
        assert "ray: cannot be installed: no such package" in _printed(race.build_table([MISSING, OURS]), capsys)

    def test_gain_is_the_time_over_that_of_the_best_peer(self):
        lines = list(race.describe_gain([HYPERBAND, OPTUNA, MISSING, OURS]))
        assert lines == [
            "seed 1: best peer keras-tuner-hyperband, 0.7000 after 80 s; galaxy-exp after 40 s, 0.50 of that"
        ]

    def test_of_several_seeds_the_median_counts(self):
        second = [_run("optuna", 0.9, seed=2), _run("galaxy-exp", 0.1, seed=2)]
        third = [_run("optuna", 0.9, seed=3), _run("galaxy-exp", 0.9, seed=3)]
        lines = list(race.describe_gain([HYPERBAND, OURS, *second, *third]))
        assert lines[1].endswith("galaxy-exp never")
        assert lines[-1].startswith("median: 1.00 ")

    def test_there_is_no_gain_without_peers(self):
        assert list(race.describe_gain([OURS, MISSING])) == []


class TestArguments:
    def test_quick_fills_in_only_what_was_not_given(self):
        parsed = race.parse_arguments(["--quick", "--epochs", "7"])
        assert (parsed.epochs, parsed.images) == (7, 120)
        assert parsed.only == race.CONTENDERS

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--only", "nobody"], "invalid choice: 'nobody'"),
            (["--minutes", "0"], "--minutes is 0.0; expected more than 0"),
            (["--python", "ray=/nowhere/python"], "--python ray=/nowhere/python: expected NAME=FILE"),
        ],
    )
    def test_bad_options_are_refused(self, arguments, message, capsys):
        with pytest.raises(SystemExit):
            race.parse_arguments(arguments)
        assert message in capsys.readouterr().err


class TestPython:
    def test_quick_installs_nothing(self, tmp_path):
        parsed = race.parse_arguments(["--quick", "--environments", str(tmp_path)])
        with pytest.raises(race.NotInstalledError, match="--python ray="):
            race._find_python("ray", parsed)
        assert list(tmp_path.iterdir()) == []

    def test_a_named_interpreter_is_taken(self):
        parsed = race.parse_arguments(["--python", f"ray={sys.executable}"])
        assert race._find_python("ray", parsed) == sys.executable
        assert race._find_python("optuna", parsed) == sys.executable

    @pytest.mark.slow
    def test_what_cannot_be_installed_is_told_in_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setitem(race.PACKAGES, "ray", (str(tmp_path / "missing.whl"),))
        parsed = race.parse_arguments(["--environments", str(tmp_path / "made")])
        for _ in range(2):  # what is left of the first time is not taken for an installation
            with pytest.raises(race.NotInstalledError, match=r"cannot be installed: .*missing\.whl"):
                race._find_python("ray", parsed)


BUSY = "import time\nwhile True: time.process_time()\n"
PARENT = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BUSY!r}], start_new_session=True)\n"


def _busy_children(folder):
    return [one for one in psutil.process_iter() if one.status() != "zombie" and _is_in(one, folder)]


def _is_in(process, folder):
    try:
        return process.cwd() == str(folder)
    except psutil.Error:
        return False


class TestWatch:
    def test_the_limit_counts_the_processor_of_all_processes_and_ends_them(self, tmp_path):
        command = [sys.executable, "-c", PARENT + "import time\ntime.sleep(600)"]
        watched = _watch(command, tmp_path, Limit("cpu", 0.5))
        assert watched.exit_code is None
        assert 0.5 <= watched.cpu_at(1e9) < 60
        assert _busy_children(tmp_path) == []

    def test_wall_clock_ends_what_does_nothing(self, tmp_path):
        watched = _watch([sys.executable, "-c", "import time\ntime.sleep(600)"], tmp_path, Limit("wall", 0.5))
        assert watched.exit_code is None
        assert 0.5 <= watched.samples[-1][0] < 300

    def test_what_ends_by_itself_is_noticed(self, tmp_path):
        watched = _watch([sys.executable, "-c", "print('why')\nraise SystemExit(3)"], tmp_path, Limit("wall", 600.0))
        assert watched.exit_code == 3
        assert (tmp_path / "log").read_text() == "why\n"

    def test_children_without_a_parent_still_count(self, tmp_path):
        process = subprocess.Popen([sys.executable, "-c", PARENT + "sys.stdin.read()"], cwd=tmp_path, stdin=-1)
        tree = ProcessTree(process.pid)
        while not any(child.cpu_times().user > 0 for child in psutil.Process(process.pid).children()):
            pass
        tree.cpu_seconds()
        process.communicate()
        before = tree.cpu_seconds()
        while tree.cpu_seconds() <= before:
            pass
        tree.kill()
        assert _busy_children(tmp_path) == []


def test_epochs_of_a_journal():
    metrics = {"val_macro_f1": 0.5, "epoch_seconds": 3.0}
    reports = [
        {"epoch": 1, "precision": "float32", "metrics": metrics},
        {"epoch": 2, "precision": "", "metrics": metrics},
    ]
    events = [{"event": "epoch_reported", "time": 10.0 + n, "report": report} for n, report in enumerate(reports)]
    rows = read_journal_epochs([{"event": "sweep_started", "time": 9.0}, *events])
    assert [(row["time"], row["new"], row["score"]) for row in rows] == [(10.0, True, 0.5), (11.0, False, 0.5)]


@pytest.mark.slow
def test_a_small_race(tmp_path, capsys):
    only = ["--only", "ray", "optuna", "galaxy-exp"]
    environments = ["--environments", str(tmp_path / "none")]
    files = ["--json", str(tmp_path / "race.json"), "--keep", str(tmp_path / "kept")]
    before = psutil.Process().children()
    settings = ["--set", "search.sampler=random", "--set", "search.cost=epochs"]
    assert race.main(["--quick", *only, *environments, *files, *settings]) == 1
    ray, optuna, ours = json.loads((tmp_path / "race.json").read_text())["runs"]
    assert "not installed" in ray["problem"]
    assert "ray: not installed" in capsys.readouterr().out
    for run in (optuna, ours):
        assert run["problem"] == ""
        assert run["cpu_seconds"] >= 30
        assert run["trials"] >= 1
        assert all(0 < epoch["cpu"] <= run["cpu_seconds"] for epoch in run["epochs"])
        assert 0 <= run["test_macro_f1"] <= 1
        assert 0 < run["training_share"] < 1
    assert optuna["precision"] == ours["precision"] != ""
    assert psutil.Process().children() == before
