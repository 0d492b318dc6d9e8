import json
import math
from dataclasses import replace

import keras_tuner
import numpy as np
import pytest
from rich.console import Console

from benchmarks import search
from benchmarks.curves_table import METRICS, read_table, write_table
from benchmarks.i_epoch import IEpoch
from benchmarks.search_contenders import (
    I_EPOCHS,
    OPTIONAL_PEERS,
    PEERS,
    SLOW_PEERS,
    make_searcher,
    missing_package,
)
from benchmarks.search_functions import FUNCTIONS
from benchmarks.search_peers import active_values
from benchmarks.search_replay import Job, TableExhausted, best_of_table, replay, searched_space, snapper
from benchmarks.search_summary import Comparison, Replayed, compare, holm, median_interval, summarise
from galaxy_exp.records import Decision, Objective

EPOCHS = 9

INSTALLED = [name for name in OPTIONAL_PEERS if name not in SLOW_PEERS and missing_package(name) is None]


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
@pytest.mark.parametrize(
    "name", ["random + none", "gp + asha", "tpe + asha, first_rung=1", "tpe + median", I_EPOCHS[0], *PEERS, *INSTALLED]
)
def test_every_contender_spends_the_budget_and_repeats_itself(name, workers, table, space):
    runs = [replay(table, make_searcher(name, space, EPOCHS, 3), space, 60, workers) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    assert 0.5 < runs[0][-1] <= best_of_table(table)


class TestExperts:
    def first_row(self, name, seed, table, space):
        searcher = make_searcher(name, space, EPOCHS, seed, table)
        return searcher.ask(snapper(table, space)).row

    def best_of(self, row):
        return max(row.curves["val_macro_f1"]) if row.state == "completed" else -math.inf

    @pytest.mark.parametrize(("expert", "ranks"), [("good", {38, 39}), ("bad", {0, 1})])
    def test_first_trial_is_one_of_the_best_or_the_worst(self, expert, ranks, table, space):
        ranked = sorted(range(40), key=lambda row: self.best_of(table.rows[row]))
        rows = {self.first_row(f"gp + promote, prior={expert}", seed, table, space) for seed in range(1, 9)}
        assert {ranked.index(row) for row in rows} == ranks

    def test_without_one_the_search_is_the_same_with_or_without_the_table(self, table, space):
        searchers = [make_searcher("gp + promote", space, EPOCHS, 1, given) for given in (None, table)]
        np.testing.assert_array_equal(*(replay(table, searcher, space, 60) for searcher in searchers))

    def test_search_with_a_prior_repeats_itself(self, table, space):
        runs = [
            replay(table, make_searcher("gp + promote, prior=bad", space, EPOCHS, 1, table), space, 60)
            for _ in range(2)
        ]
        np.testing.assert_array_equal(*runs)


class TestSeconds:
    @pytest.fixture
    def uneven(self, table):
        """Rows 0 and 1 take half and three halves of the mean."""
        rows = [
            replace(row, curves=row.curves | {"epoch_seconds": [{0: 1.0, 1: 3.0}.get(row.number, 2.0)] * EPOCHS})
            for row in table.rows
        ]
        return replace(table, rows=tuple(rows))

    def test_an_epoch_costs_what_it_took(self, uneven, space):
        searcher = Scripted([Job("a", 0, 0, EPOCHS), Job("b", 1, 0, EPOCHS)], stop_after=4)
        found = replay(uneven, searcher, space, 8, in_seconds=True)
        first, second = (uneven.rows[row].curves["val_macro_f1"] for row in (0, 1))
        after = [first[1], first[3], first[3], second[0], second[1], second[1], second[2], second[3]]
        np.testing.assert_allclose(found, np.maximum.accumulate(after))

    def test_what_does_not_end_within_the_budget_is_not_found(self, uneven, space):
        found = replay(uneven, Scripted([Job("b", 1, 0, EPOCHS)]), space, 2, in_seconds=True)
        np.testing.assert_allclose(found, [math.nan, uneven.rows[1].curves["val_macro_f1"][0]])

    def test_search_per_second(self, uneven, space):
        searcher = make_searcher("gp + promote, cost=seconds", space, EPOCHS, 1, uneven)
        assert replay(uneven, searcher, space, 60, in_seconds=True)[-1] > 0.5

    def test_several_workers_are_refused(self, table_file, capsys):
        with pytest.raises(SystemExit):
            search.main(["--only", "replay", "--table", str(table_file), "--in-seconds", "--workers", "4"])
        assert "--in-seconds: is for one worker" in capsys.readouterr().err


def test_hyperband_of_keras_tuner_promotes(table, space):
    searcher = make_searcher("KerasTuner Hyperband", space, EPOCHS, 1)
    spans, ask = [], searcher.ask
    searcher.ask = lambda snap: spans.append(ask(snap)) or spans[-1]
    replay(table, searcher, space, 60)
    first = {(job.first, job.last) for job in spans}
    assert {(0, 1), (1, 3), (3, 9)} <= first


@pytest.mark.parametrize("name", ["KerasTuner Hyperband", "tpe + asha", *(n for n in INSTALLED if "Syne" in n)])
def test_promoted_trainings_lose_nothing(name, table, space):
    searcher, trained = make_searcher(name, space, EPOCHS, 1), {}
    ask, report = searcher.ask, searcher.report

    def checked_ask(snap):
        job = ask(snap)
        assert job is None or job.first == trained.get(job.row, 0)
        return job

    def recorded_report(job, epoch, value):
        trained[job.row] = epoch
        return report(job, epoch, value)

    searcher.ask, searcher.report = checked_ask, recorded_report
    replay(table, searcher, space, 60)
    assert sum(trained.values()) > 50 and max(trained.values()) == EPOCHS


class TestIEpoch:
    SCHEDULER = IEpoch(Objective("val_macro_f1", "max"), first_rung=2, epochs=EPOCHS)

    def test_pauses_after_i_epochs_and_not_again(self):
        assert self.SCHEDULER.decide(0, {0: [0.1]}, []) is Decision.CONTINUE
        assert self.SCHEDULER.decide(0, {0: [0.1, 0.2]}, []) is Decision.PAUSE
        assert self.SCHEDULER.decide(0, {0: [0.1, 0.2, 0.3]}, []) is Decision.CONTINUE
        assert self.SCHEDULER.first_decision(0) == 2
        assert IEpoch(self.SCHEDULER.objective, first_rung=2, epochs=2).first_decision(0) is None

    def test_best_of_each_batch_continues(self):
        curves = {number: [0.1, number / 100] for number in range(45)}
        curves[7] = [0.9, math.nan]
        paused = set(curves)
        assert self.SCHEDULER.choose({n: curves[n] for n in range(19)}, set(range(19)), can_start_new=True) is None
        assert self.SCHEDULER.choose(curves, paused, can_start_new=True) == 7
        curves[7] = [0.9, math.nan, 0.3]
        assert self.SCHEDULER.choose(curves, paused - {7}, can_start_new=True) == 39
        curves[39] = [0.1, 0.39, 0.4]
        assert self.SCHEDULER.choose(curves, paused - {7, 39}, can_start_new=True) is None
        assert self.SCHEDULER.choose(curves, paused - {7, 39}, can_start_new=False) == 44

    def test_configuration_that_diverged_early_is_in_no_batch(self):
        curves = {number: [0.5, 0.5] for number in range(19)} | {19: [0.9]}
        assert self.SCHEDULER.choose(curves, set(range(19)), can_start_new=True) is None


class TestOptionalPeers:
    def test_what_is_missing_is_named(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
        assert missing_package("Optuna GP") == "torch"
        assert missing_package("Ray Tune ASHA + OptunaSearch") == "ray"
        assert missing_package("Syne Tune ASHA") == "syne_tune"
        assert missing_package("Optuna TPE") is None
        assert missing_package(search.DEFAULT) is None

    def test_missing_peer_is_printed(self):
        rendered = search.regret_table({"Optuna TPE": np.zeros((2, 8))}, 8, {"Optuna GP": "torch"})
        assert list(rendered.columns[0].cells)[-1] == "Optuna GP"
        assert list(rendered.columns[1].cells)[-1] == "not installed (torch)"

    def test_slow_peers_only_where_asked_for(self, space):
        names = search.all_contenders(space, slow=False)
        assert set(search.all_contenders(space, slow=True)) - set(names) == set(SLOW_PEERS)
        assert set(PEERS) | set(I_EPOCHS) | {search.DEFAULT} < set(names)

    def test_inactive_values_of_a_flat_configuration_are_dropped(self, space):
        flat = {"rate": 0.01, "optimizer": "adam", "decay": 0.5}
        assert active_values(space, flat) == {"rate": 0.01, "optimizer": "adam"}
        assert active_values(space, flat | {"optimizer": "adamw"}) == flat | {"optimizer": "adamw"}


class TestSummary:
    def replayed(self, table, default, peer, reached):
        quarters = {"ours": default, "peer": peer, "equal": default}
        regrets = {name: np.full((12, 4), value) + np.arange(12)[:, None] * 1e-4 for name, value in quarters.items()}
        reached = {name: np.full(12, epochs) for name, epochs in zip(("ours", "peer"), reached, strict=True)}
        return Replayed(table, 100, regrets, reached)

    def test_holm(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        assert holm([0.9, 0.8]) == [1.0, 1.0]
        assert holm([]) == []

    def test_only_the_better_peer_counts_as_better(self):
        better, worse = self.replayed("a", 0.1, 0.05, (10, 20)), self.replayed("a", 0.05, 0.1, (10, 20))
        found = compare(better, "ours", ["peer", "equal", "absent"], [0.25, 0.5, 0.75, 1.0])
        assert [comparison.rival for comparison in found if comparison.is_worse] == ["peer"] * 4
        first = found[0]
        assert first.difference == pytest.approx(0.05) and 0.049 < first.low < first.high < 0.051
        assert not any(comparison.is_worse for comparison in compare(worse, "ours", ["peer", "equal"], [1.0]))

    def test_all_equal_and_nothing_found(self):
        equal = Replayed("a", 100, {"ours": np.zeros((3, 1)), "peer": np.zeros((3, 1))}, {})
        (comparison,) = compare(equal, "ours", ["peer"], [1.0])
        assert comparison == Comparison("a", 1.0, "peer", 1.0, 0.0, 0.0, 0.0, tends_higher=False)

    def test_interval_of_the_median(self):
        assert median_interval(np.full(9, 5.0)) == (5.0, 5.0)
        low, high = median_interval(np.array([1.0, 2.0, 3.0, 4.0, math.inf]))
        assert low < 3 < high

    def test_over_tables(self):
        tables = [
            self.replayed("a", 0.1, 0.05, (10, 20)),
            self.replayed("b", 0.0, 0.3, (20, 10)),
            self.replayed("c", 0.0, 0.3, (math.inf, math.inf)),
        ]
        tables[2].regrets["ours"][:] = 0
        summary = summarise(tables, "ours", {"peers": ["peer"], "absent": ["nobody"]}, [0.25, 0.5, 0.75, 1.0])
        assert summary["median_reach"] == 0.2 and summary["worst_reach"] is None
        assert summary["reach"]["a"] == [0.1, 0.1, 0.1]
        assert summary["end_regret_0"] == 1
        peers = summary["rivals"]["peers"]
        assert list(summary["rivals"]) == ["peers"]
        assert peers["before_the_best"] == 1 and peers["tables_worse"] == 1
        assert [row["share"] for row in peers["worse"]] == [0.25, 0.5, 0.75, 1.0]
        assert json.loads(json.dumps(summary, allow_nan=False)) == summary


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


class InProcess:
    """Does the runs of a `Runner` in this process."""

    map = staticmethod(map)


def test_several_tables(tmp_path, table_file, capsys):
    other = tmp_path / "other.parquet"
    other.write_bytes(table_file.read_bytes())
    contenders = ["random + none", search.DEFAULT, "Optuna TPE", I_EPOCHS[3]]
    command = ["--quick", "--trainings", "4", "--table", str(table_file), str(other), "--contenders", *contenders]
    parsed = search.parse_arguments(command)
    found = search.replay_tables(parsed, search.Runner(InProcess(), None), Console(width=200), workers=1)
    assert set(found["tables"]) == {"table.parquet", "other.parquet"}
    assert set(found["tables"]["other.parquet"]["regret"]) == set(contenders)
    assert set(found["summary"]["rivals"]) == {"peers", "i-Epochs"}
    printed = capsys.readouterr().out
    assert "other.parquet" in printed and "median end regret 0 on" in printed and "peers: on 0 of 2 tables" in printed


@pytest.mark.parametrize("first", [1, 5])
def test_seeds_count_from_the_first(first, tmp_path, table_file):
    command = ["--quick", "--trainings", "2", "--table", str(table_file), "--contenders", "random + none"]
    runs = tmp_path / "runs.jsonl"
    parsed = search.parse_arguments([*command, "--first-seed", str(first)])
    search.replay_tables(parsed, search.Runner(InProcess(), runs), Console(width=200), workers=1)
    keys = [json.loads(line)["key"] for line in runs.read_text().splitlines()]
    assert [key[3] for key in keys] == [first, first + 1]


def test_tables_of_one_name(table_file, capsys):
    with pytest.raises(SystemExit):
        search.main(["--only", "replay", "--table", str(table_file), str(table_file)])
    assert "told apart by their names" in capsys.readouterr().err
