import json
import math

import keras_tuner
import numpy as np
import pytest

from benchmarks import search
from benchmarks.curves_table import METRICS, read_table, write_table
from benchmarks.search_contenders import PEERS, make_searcher
from benchmarks.search_functions import FUNCTIONS
from benchmarks.search_replay import Job, TableExhausted, best_of_table, replay, searched_space, snapper

EPOCHS = 9


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    """Forty configurations whose curves rise towards what the learning rate is good for; every tenth diverges."""
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Choice("optimizer", ["adam", "adamw"])
    with hp.conditional_scope("optimizer", ["adamw"]):
        hp.Float("decay", 0.0, 1.0)
    hp.Fixed("width", 8)
    rng = np.random.default_rng(1)
    lines = []
    for number in range(40):
        values = {"rate": float(10 ** rng.uniform(-4, -1)), "optimizer": "adam", "width": 8}
        if number % 2:
            values |= {"optimizer": "adamw", "decay": float(rng.random())}
        final = 0.9 - 0.2 * abs(math.log10(values["rate"]) + 2.5)
        curve = [final * (1 - 0.6**epoch) for epoch in range(1, EPOCHS + 1)]
        diverges = number % 10 == 9
        lines.append(
            {
                "number": number,
                "values": values,
                "state": "failed" if diverges else "completed",
                "reason": "",
                "parameters": 1,
                **dict.fromkeys(METRICS, curve[:4] if diverges else curve),
            }
        )
    file = tmp_path_factory.mktemp("curves") / "table.parquet"
    write_table(file, {"epochs": EPOCHS, "space": hp.get_config()}, lines)
    return file


@pytest.fixture(scope="module")
def table(table_file):
    return read_table(table_file)


@pytest.fixture(scope="module")
def space(table):
    return searched_space(table)


class TestSnapping:
    def test_fixed_ones_are_not_searched(self, space):
        assert [entry.name for entry in space.space] == ["rate", "optimizer", "decay"]

    def test_itself_is_nearest_and_is_given_once(self, table, space):
        snap = snapper(table, space)
        values = {name: table.rows[7].values[name] for name in ("rate", "optimizer", "decay")}
        assert snap(values) == (7, values)
        assert snap(values)[0] != 7

    def test_rates_are_compared_on_their_scale_and_words_count_most(self, table, space):
        row, snapped = snapper(table, space)({"rate": 1e-3, "optimizer": "adam"})
        rates = {row.number: row.values["rate"] for row in table.rows if row.values["optimizer"] == "adam"}
        assert row == min(rates, key=lambda number: abs(math.log(rates[number] / 1e-3)))
        assert "decay" not in snapped

    def test_end_of_the_table(self, table, space):
        snap = snapper(table, space)
        assert {snap({"rate": 1e-3, "optimizer": "adam"})[0] for _ in table.rows} == set(range(40))
        with pytest.raises(TableExhausted):
            snap({"rate": 1e-3, "optimizer": "adam"})


class Scripted:
    """Trains the given jobs in turn and stops them after the given epoch."""

    def __init__(self, jobs, stop_after=EPOCHS):
        self.jobs = list(jobs)
        self.stop_after = stop_after
        self.log = []

    def ask(self, snap):
        return self.jobs.pop(0) if self.jobs else None

    def report(self, job, epoch, value):
        self.log.append((job.key, epoch))
        return epoch < self.stop_after

    def end(self, job, curve, failed):
        self.log.append((job.key, len(curve), failed))


class TestReplay:
    def test_curve_is_revealed_and_the_best_is_kept(self, table, space):
        searcher = Scripted([Job("a", 0, 0, EPOCHS), Job("b", 1, 0, EPOCHS)], stop_after=3)
        found = replay(table, searcher, space, 6)
        first, second = (table.rows[row].curves["val_macro_f1"][:3] for row in (0, 1))
        np.testing.assert_allclose(found, np.maximum.accumulate([*first, *second]))
        assert searcher.log[-2:] == [("b", 3), ("b", 3, False)]

    def test_promoted_job_goes_on_where_it_was(self, table, space):
        searcher = Scripted([Job("a", 0, 0, 3), Job("b", 0, 3, EPOCHS)])
        found = replay(table, searcher, space, EPOCHS)
        np.testing.assert_allclose(found, table.rows[0].curves["val_macro_f1"])
        assert searcher.log[-1] == ("b", EPOCHS - 3, False)

    def test_what_diverges_costs_epochs_and_finds_nothing(self, table, space):
        searcher = Scripted([Job("a", 9, 0, EPOCHS), Job("b", 0, 0, EPOCHS)])
        found = replay(table, searcher, space, 6)
        assert np.isnan(found).tolist() == [True] * 5 + [False]
        assert ("a", 4, True) in searcher.log

    def test_nothing_left_to_try(self, table, space):
        found = replay(table, Scripted([Job("a", 0, 0, EPOCHS)]), space, 20)
        assert found[8] == found[19]

    def test_workers_take_turns(self, table, space):
        searcher = Scripted([Job("a", 0, 0, EPOCHS), Job("b", 1, 0, EPOCHS)])
        replay(table, searcher, space, 4, workers=2)
        assert searcher.log == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["random + none", "gp + asha", "tpe + asha, first_rung=1", "tpe + median", *PEERS])
def test_every_contender_spends_the_budget_and_repeats_itself(name, workers, table, space):
    runs = [replay(table, make_searcher(name, space, EPOCHS, 3), space, 60, workers) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    assert 0.5 < runs[0][-1] <= best_of_table(table)


def test_hyperband_of_keras_tuner_promotes(table, space):
    searcher = make_searcher("KerasTuner Hyperband", space, EPOCHS, 1)
    spans, ask = [], searcher.ask
    searcher.ask = lambda snap: spans.append(ask(snap)) or spans[-1]
    replay(table, searcher, space, 60)
    first = {(job.first, job.last) for job in spans}
    assert {(0, 1), (1, 3), (3, 9)} <= first


class TestFunctions:
    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("Branin", {"x1": math.pi, "x2": 2.275}),
            ("Hartmann6", dict(zip(("x1", "x2", "x3", "x4", "x5", "x6"),
                                   (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573), strict=True))),
            ("mixed", {"kind": "network", "rate": 1e-3, "normalise": True, "layers": 4, "width": 128,
                       "activation": "gelu", "dropout": 0.3}),
        ],
    )  # fmt: skip
    def test_minimum(self, name, values):
        function = FUNCTIONS[name]
        assert {entry.name for entry in function.space.space} >= set(values)
        assert function.evaluate(values) == pytest.approx(function.minimum, abs=1e-4)


class TestFigures:
    FOUND = {
        "random + none": np.array([[0.1, 0.2, 0.2, 0.4], [0.1, 0.1, 0.3, 0.4]]),
        "tpe + asha": np.array([[0.4, 0.4, 0.4, 0.5], [0.1, 0.4, 0.4, 0.4]]),
        "worse": np.array([[0.1, 0.1, 0.1, 0.1], [np.nan, 0.1, 0.1, 0.1]]),
    }

    def test_epochs_to_reach(self):
        reached = search.epochs_to_reach(self.FOUND, "random + none")
        assert reached == {"random + none": 4, "tpe + asha": 1.5, "worse": math.inf}

    def test_quartiles(self):
        medians = search.quartiles_at_quarters(0.5 - self.FOUND["random + none"])[:, 0]
        np.testing.assert_allclose(medians, [0.4, 0.35, 0.25, 0.1])


@pytest.mark.slow
def test_command_line(tmp_path, table_file, capsys):
    command = ["--quick", "--table", str(table_file), "--keep", str(tmp_path / "runs.jsonl"), "--processes", "1"]
    command += ["--json", str(tmp_path / "out.json"), "--figure", str(tmp_path / "figure.png")]
    contenders = ["--contenders", "random + none", search.DEFAULT, "Optuna TPE"]
    assert search.main([*command, *contenders, "--workers", "1", "2"]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert set(report["replay, 1 workers"]["regret"]) == {"random + none", search.DEFAULT, "Optuna TPE"}
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert f"**{search.DEFAULT}**" in printed and "4 of them diverge" in printed

    kept = (tmp_path / "runs.jsonl").read_text()
    assert search.main([*command, *contenders, "--only", "replay"]) == 0
    assert (tmp_path / "runs.jsonl").read_text() == kept
    assert search.main(["--quick", "--only", "cost", "--contenders", "tpe", "KerasTuner RandomSearch"]) == 0
    assert "KerasTuner RandomSearch" in capsys.readouterr().out
