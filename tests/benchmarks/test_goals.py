"""Goal beside measured, from what the benchmarks leave."""

import json
import textwrap

import pytest

from benchmarks import goals
from benchmarks.goals import PARTS, Figure, Part, main, waited_for_first_trial
from benchmarks.process import ROOT

REPORTS = {
    "training": {
        "machine": {"processor_flags": ["avx2", "avx512_bf16"]},
        "rows": [
            {"images_per_second": 200, "times_the_script": 1.0, "share_of_peak": 0.3},
            {"images_per_second": 1200, "times_the_script": 6.0, "share_of_peak": 0.5},
        ],
    },
    "trial": {"contenders": [{"name": "galaxy_exp, same search", "table": {"beyond_fit_median": 0.4}}]},
    "proposals": {"cost": {"gp": {"100": 0.015, "1000": 0.06}}},
    "search": {"replay, 1 workers": {"budget": 600, "reach": {"gp + promote": 0.1}, "default": "gp + promote"}},
    "scale": {"sweep": {"sweep-random": {"settings": {"trials": 2000, "workers": 16}, "excess": 0.04}}},
    "data": {
        "figures": [
            {"what": "size", "measured": 3.0, "unit": "MiB", "goal": None, "at_least": False},
            {"what": "speed", "measured": 0.9, "unit": "", "goal": 0.97, "at_least": True},
        ]
    },
    "chaos": {"n_rounds": 4, "lost": {"runs": 0}, "doubled": {"runs": 1, "trials": 1}, "different": {}},
    "votes": {
        "task": {"images": 2000},
        "gains": {
            "dirichlet_multinomial": {
                "deviance": {"mean": 0.02, "low": 0.01, "high": 0.03},
                "accuracy": {"mean": -0.02, "low": -0.03, "high": -0.01},
                "calibration_error": 0.03,
                "coverage": 0.91,
                "epoch_cost": 1.02,
            }
        },
    },
}
EXPECTED = {
    "training": [(6.0, True), (0.5, False)],
    "trial": [(0.4, True)],
    "proposals": [(15.0, True), (60.0, False)],
    "search": [(0.1, True)],
    "scale": [(0.04, True)],
    "data": [(0.9, False)],
    "chaos": [(0, True), (2, False), (0, True)],
    "votes": [(0.01, True), (-0.01, False), (0.03, False), (pytest.approx(0.01), True), (1.02, True)],
}
LOG = """WARNING: something native
2026-11-23T08:51:29.970+00:00 worker 7 is ready
2026-11-23T08:51:30.000+00:00 worker 8 is ready
2026-11-23T09:51:31.220+01:00 worker 7 begins trial 0, attempt 1
2026-11-23T08:51:39.721+00:00 worker 8 begins trial 1, attempt 1
"""


@pytest.mark.parametrize("name", PARTS)
def test_what_a_benchmark_leaves_becomes_figures(name):
    assert [(figure.measured, figure.met) for figure in PARTS[name].read(REPORTS[name])] == EXPECTED[name]


def test_without_bfloat16_the_goal_is_that_of_float32():
    report = REPORTS["training"] | {"machine": {"processor_flags": ["avx2"]}}
    assert [figure.goal for figure in PARTS["training"].read(report)] == [1.5, 0.6]


def test_the_first_worker_to_be_ready_and_the_first_trial_to_begin_count():
    assert waited_for_first_trial(LOG) == pytest.approx(1.25)


@pytest.mark.parametrize("name", PARTS)
def test_each_command_is_one_of_the_benchmarks_and_its_options_exist(name):
    script, *options = PARTS[name].command
    assert script in goals.BENCHMARKS
    source = (ROOT / script).read_text()
    assert all(f'"{option}"' in source or f'"{option[2:]}"' in source for option in options if option.startswith("--"))


def test_every_script_is_in_the_list(capsys):
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    scripts = [path for path in (ROOT / "benchmarks").glob("*.py") if "add_argument" in path.read_text()]
    parts = {"goals.py", "side_by_side.py", "data_worker.py"}
    assert [path.name for path in scripts if path.name not in listed and path.name not in parts] == []


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "script.py"
    file.write_text(
        textwrap.dedent("""\
        import json, sys
        print("a table")
        if "--fail" in sys.argv:
            sys.exit(3)
        open(sys.argv[sys.argv.index("--json") + 1], "w").write(json.dumps({"value": 7}))
        """)
    )
    return file


def _part(script, *options):
    return Part((str(script), *options), lambda report: iter([Figure("what", report["value"], 5, unit="s")]))


def test_a_part_is_run_and_told(script, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(PARTS, "scale", _part(script))
    assert main(["--only", "scale", "--json", str(tmp_path / "goals.json")]) == 1
    output = capsys.readouterr().out
    assert "at most 5 s" in output
    assert "MISSED" in output
    (figure,) = json.loads((tmp_path / "goals.json").read_text())["figures"]
    assert (figure["measured"], figure["met"]) == (7, False)


def test_a_benchmark_that_failed_ends_it(script, monkeypatch):
    monkeypatch.setitem(PARTS, "scale", _part(script, "--fail"))
    with pytest.raises(SystemExit, match="exit code 3"):
        main(["--only", "scale"])


def test_start_is_measured_with_the_real_commands(tmp_path, monkeypatch):
    asked = []

    def answer(arguments, folder):
        asked.append(arguments)
        log = folder / ".galaxy_exp" / "logs" / "quickstart.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(LOG)
        return 1.0

    monkeypatch.setattr(goals, "_seconds", answer)
    assert [figure.met for figure in goals.measure_start(tmp_path)] == [False, True, False]
    assert asked[-1] == ["sweep", str(ROOT / "sweeps" / "quickstart.yaml")]
