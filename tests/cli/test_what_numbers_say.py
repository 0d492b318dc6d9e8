"""What has to be said beside a number, wherever one is printed: simulated, chance, seeds, times with their zone."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from written_records import started

from galaxy_exp.cli.main import cli
from galaxy_exp.cli.sweep import print_summary
from galaxy_exp.display import describe_event
from galaxy_exp.errors import SweepFailedError
from galaxy_exp.evaluation.held_out_report import build_report
from galaxy_exp.evaluation.selection import Standing, choose_winner
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.journal.events import (
    EpochReported,
    FinalistsChosen,
    SealedTestOpened,
    SweepEnded,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    WinnerChosen,
)
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.records import EpochReport, Gain, TrialResult, TrialState, gain_in
from galaxy_exp.registry.model_card import write_card
from galaxy_exp.report.page import build_page, summarise_sweep
from galaxy_exp.report.paper import latex_table, methods_text
from galaxy_exp.sweep import SweepResult
from galaxy_exp.sweep_report import collect_material
from galaxy_exp.tracking.artifacts import leaderboard_rows
from galaxy_exp.tracking.notes import describe_sweep, describe_trial

GAINS = {"accuracy": (0.2, 0.1, 0.3), "macro_f1": (0.01, -0.02, 0.04), "balanced_accuracy": (0.02, -0.01, 0.05)}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"


def _trial(journal: Journal, number: int, value: float, confirms: int | None = None) -> None:
    journal.append(TrialProposed(number=number, values={"units": number}, seed=number, confirms=confirms))
    journal.append(TrialStarted(number=number, attempt=1))
    journal.append(EpochReported(report=EpochReport(number, 1, 1, {"val_macro_f1": value}), go_on=True))
    result = TrialResult(number, 1, TrialState.COMPLETED, "all epochs", 1, {"val_macro_f1": value}, 1, 1.0)
    journal.append(TrialEnded(result=result))


def _write(path: Path, *, simulated: bool, seeds: int = 1, is_tested: bool = True) -> SweepFolder:
    """A sweep on a user's own file, as an HDF5 file marked as simulated or data given from Python are."""
    folder = ProjectFolder(path / ".galaxy_exp").sweep("s-1")
    begun = started(search={"max_trials": 2}, data_source="galaxies.h5", simulated=simulated, baseline={"units": 0})
    config = begun.config | {"data": {"source": "galaxies.h5"}, "training": {"epochs": 4}}
    report = build_report(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], ("disk", "round"), "digest").to_dict()
    with Journal.create(folder.path, begun.model_copy(update={"config": config})) as journal:
        _trial(journal, 0, 0.4)
        _trial(journal, 1, 0.5)
        if is_tested:
            journal.append(FinalistsChosen(numbers=[1], reason="max_trials reached"))
            for seed in range(seeds):
                _trial(journal, 2 + seed, 0.48 + 0.01 * seed, confirms=1)
            journal.append(WinnerChosen(number=2))
            journal.append(SealedTestOpened(number=2, report=report, opening=3))
            journal.append(SealedTestOpened(number=0, report=report, opening=3, gains=GAINS))
            journal.append(SweepEnded(succeeded=True, reason="max_trials reached"))
    return folder


Output = Callable[[SweepRecord, SweepFolder, Any], str]


def _command(*arguments: str) -> Output:
    def run(*_: Any) -> str:
        done = CliRunner().invoke(cli, arguments, env={"COLUMNS": "300"}, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    return run


def _summary(record: SweepRecord, folder: SweepFolder, _: Any) -> str:
    from click.testing import CliRunner

    with CliRunner().isolation() as (out, *_rest):
        print_summary(SweepResult(record, folder.path))
        return out.getvalue().decode()


def _lines(record: SweepRecord, folder: SweepFolder, _: Any) -> str:
    events = [EpochReported(report=record.trials[1].reports[0], go_on=True), TrialEnded(result=record.trials[1].result)]
    told = [describe_event(event, record) for event in events]
    assert all(re.search(r"val_macro_f1 \d", line) for line in told)
    assert ("SIMULATED" in told[0]) == ("SIMULATED" in told[1])
    return "\n".join(told)


def _page(record: SweepRecord, folder: SweepFolder, _: Any) -> str:
    return build_page(collect_material(record, folder))


OUTPUTS: dict[str, Output] = {
    "list, table": _command("list"),
    "list, json": _command("list", "--format", "json"),
    "list, csv": _command("list", "--format", "csv"),
    "show, table": _command("show"),
    "show, json": _command("show", "--format", "json"),
    "show, csv": _command("show", "--format", "csv"),
    "trials, table": _command("trials"),
    "trials, json": _command("trials", "--format", "json"),
    "trials, csv": _command("trials", "--format", "csv"),
    "end of a sweep": _summary,
    "progress": _lines,
    "report page": _page,
    "LaTeX table": lambda record, folder, _: latex_table(collect_material(record, folder)),
    "methods paragraph": lambda record, folder, _: methods_text(collect_material(record, folder)),
    "model card": lambda record, _, prepared: write_card(record, prepared, record.trials[2]),
    "MLflow note of the sweep": lambda record, _, prepared: describe_sweep(record, prepared, "1", "run"),
    "MLflow note of a trial": lambda record, *_: describe_trial(record.trials[1], record),
    "leaderboard.csv": lambda record, *_: json.dumps(leaderboard_rows(record)),
    "insight page": lambda record, *_: summarise_sweep(record),
}


def _is_marked(output: str, name: str) -> bool:
    if name.endswith("json") or name == "leaderboard.csv":
        return all(row["simulated"] for row in json.loads(output))
    if name.endswith("csv"):
        return all(row["simulated"] == "True" for row in csv.DictReader(io.StringIO(output)))
    return "SIMULATED" in output


@pytest.fixture
def open_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SweepRecord, SweepFolder]]:
    """Writes a sweep into the folder that the commands are run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)

    def write(**settings: Any) -> tuple[SweepRecord, SweepFolder]:
        from galaxy_exp.journal.journal import read_record

        folder = _write(tmp_path, **settings)
        return read_record(folder.path), folder

    return write


@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize("name", OUTPUTS)
def test_simulated_is_said_wherever_a_number_is_whatever_the_source_is_called(
    name: str, simulated: bool, open_sweep: Callable[..., Any], prepared: Any
) -> None:
    from dataclasses import replace

    record, folder = open_sweep(simulated=simulated)
    output = OUTPUTS[name](record, folder, replace(prepared, source="galaxies.h5", simulated=simulated))
    assert re.search(r"\d", output)
    assert _is_marked(output, name) == simulated


@pytest.mark.parametrize("name", ["show, table", "end of a sweep", "model card", "MLflow note of the sweep"])
def test_a_gain_has_its_interval_and_says_when_it_may_be_chance(
    name: str, open_sweep: Callable[..., Any], prepared: Any
) -> None:
    record, folder = open_sweep(simulated=False)
    output = " ".join(OUTPUTS[name](record, folder, prepared).split())
    assert "+0.200 (95% interval +0.100 to +0.300)" in output
    assert "+0.010 (95% interval -0.020 to +0.040; may be chance)" in output


def test_machines_get_the_gain_with_its_interval(open_sweep: Callable[..., Any]) -> None:
    open_sweep(simulated=False)
    (shown,) = json.loads(OUTPUTS["show, json"](None, None, None))  # type: ignore[arg-type]
    expected = {"difference": 0.01, "low": -0.02, "high": 0.04, "may_be_chance": True}
    assert shown["gain_over_baseline"]["macro_f1"] == expected
    assert shown["test_opening"] == 3


@pytest.mark.parametrize(
    ("low", "high", "is_clear"), [(-0.1, 0.1, False), (0.0, 0.1, False), (0.01, 0.1, True), (-0.2, -0.1, True)]
)
def test_a_difference_may_be_chance_if_its_interval_includes_zero(low: float, high: float, is_clear: bool) -> None:
    gain = Gain("accuracy", (low + high) / 2, low, high)
    assert ("may be chance" in str(gain)) != is_clear
    assert gain.to_dict()["may_be_chance"] != is_clear


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "balanced_accuracy", "loss"])
def test_a_gain_is_positive_where_the_model_is_better(metric: str) -> None:
    sign = -1 if metric == "loss" else 1
    ends = sorted((sign * 0.1, sign * 0.3))
    assert str(Gain.of_difference(metric, sign * 0.2, *ends)) == "+0.200 (95% interval +0.100 to +0.300)"
    assert str(Gain.of_difference(metric, 0.0, 0.0, 0.0)).startswith("+0.000 (95% interval +0.000 to +0.000;")
    assert gain_in(metric, 0.5 + sign * 0.2, 0.5) == pytest.approx(0.2)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    "name", [name for name in OUTPUTS if name.split(",")[0] in ("show", "end of a sweep", "model card")]
)
def test_one_seed_has_no_spread(name: str, seeds: int, open_sweep: Callable[..., Any], prepared: Any) -> None:
    record, folder = open_sweep(simulated=False, seeds=seeds)
    output = " ".join(OUTPUTS[name](record, folder, prepared).split())
    assert ("0.4800 with 1 new seed" in output) == (seeds == 1)
    assert ("0.4900 (mean of 3 new seeds, standard deviation 0.0100)" in output) == (seeds == 3)
    assert "1 new seeds" not in output


def test_a_standing_of_one_seed_has_no_spread_in_the_page_either(open_sweep: Callable[..., Any]) -> None:
    record, folder = open_sweep(simulated=False)
    assert collect_material(record, folder).finalists[0].spread is None
    assert "<td>0.000</td>" not in _page(record, folder, None)
    assert str(Standing(1, [], 0.5, None)) == "0.5000 with 1 new seed"
    assert str(Standing(1, [], 0.5, 0.00001)) == "0.5000 with each of 0 new seeds"


@pytest.mark.parametrize("name", ["list, json", "list, csv", "show, json", "show, csv", "report page"])
def test_times_for_machines_and_pages_are_iso_8601_in_utc(name: str, open_sweep: Callable[..., Any]) -> None:
    record, folder = open_sweep(simulated=False)
    output = OUTPUTS[name](record, folder, None)
    assert re.search(TIME, output)
    without = re.sub(TIME, "", re.sub(r"data:image[^\"]*", "", output))
    assert not re.search(r"\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d", without)


@pytest.mark.parametrize("name", ["list, table", "show, table"])
def test_times_on_a_terminal_are_local_with_their_zone(name: str, open_sweep: Callable[..., Any]) -> None:
    record, folder = open_sweep(simulated=False)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", OUTPUTS[name](record, folder, None))


class TestNoWinnerYet:
    def test_is_never_the_baseline(self, open_sweep: Callable[..., Any], prepared: Any) -> None:
        record, folder = open_sweep(simulated=False, is_tested=False)
        assert record.winner is record.winning_trial is record.winner_test is record.baseline_test is None
        with pytest.raises(SweepFailedError, match="sweep s-1 has no winner yet; galaxy-exp resume s-1"):
            _ = SweepResult(record, folder.path).winner
        assert "Winner" not in describe_sweep(record, prepared, "1", "run")
        assert "not opened" in write_card(record, prepared, record.trials[1])
        material = collect_material(record, folder)
        assert (material.winner, material.test, material.baseline_test, material.gains) == (None, None, None, ())
        assert "The winner" not in build_page(material)

    def test_the_baseline_can_still_win(self, open_sweep: Callable[..., Any]) -> None:
        _, folder = open_sweep(simulated=False, is_tested=False)
        with Journal.reopen(folder.path) as journal:
            journal.append(FinalistsChosen(numbers=[], reason="max_trials reached"))
            journal.append(WinnerChosen(number=0))
            assert choose_winner(journal).number == 0
            assert SweepResult(journal.record, folder.path).winner.number == 0
