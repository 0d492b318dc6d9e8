"""What is said about the hyperparameters of a sweep, on records made by hand."""

from __future__ import annotations

import math
import random
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text
from PIL import Image

from galaxy_exp.config import parse_sweep
from galaxy_exp.evaluation.conclusion import describe_progress
from galaxy_exp.journal.events import EpochReported, Event, SweepStarted, TrialEnded, TrialProposed, TrialStarted
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.journal.replay import apply_event, replay
from galaxy_exp.journal.resume_changes import find_change
from galaxy_exp.records import Decision, EpochReport, Objective, TrialResult, TrialState
from galaxy_exp.report.axes import Axis, axes_of, comparable_trials, tick_values
from galaxy_exp.report.hyperparameters import NOT_ACTIVE, collect_parallel, collect_slices
from galaxy_exp.report.importance import NO_TEST, measure_importances, plot_importances
from galaxy_exp.report.learning_curves import collect_rungs
from galaxy_exp.report.material import DataFacts, Material
from galaxy_exp.report.page import build_page, write_insight
from galaxy_exp.report.scores import collect_history, collect_pareto
from galaxy_exp.report.words import axis_value
from galaxy_exp.space.search_space import SearchSpace
from galaxy_exp.tracking.parent_run import sweep_metrics
from galaxy_exp.tracking.views import save_view

SPACE: list[dict[str, Any]] = [
    {"class_name": "Choice", "config": {"name": "optimizer", "conditions": [], "values": ["adam", "adamw"]}},
    {
        "class_name": "Float",
        "config": {"name": "decay", "min_value": 1e-5, "max_value": 1e-1, "step": None, "sampling": "log"},
    },
    {"class_name": "Float", "config": {"name": "rate", "min_value": 0.0, "max_value": 1.0, "step": None}},
    {"class_name": "Int", "config": {"name": "units", "min_value": 1, "max_value": 9, "step": 1}},
    {"class_name": "Fixed", "config": {"name": "norm", "value": True}},
]

EPOCHS = 4


def chosen(number: int) -> dict[str, Any]:
    drawn = random.Random(number)
    values: dict[str, Any] = {"optimizer": drawn.choice(["adam", "adamw"]), "rate": drawn.random()}
    values |= {"units": drawn.randint(1, 9), "norm": True}
    return values | ({"decay": 10 ** drawn.uniform(-5, -1)} if values["optimizer"] == "adamw" else {})


def rate_decides(values: dict[str, Any]) -> float:
    return 1.0 - (values["rate"] - 0.7) ** 2


def make_sweep(
    n_trials: int,
    score: Callable[[dict[str, Any]], float] = rate_decides,
    choose: Callable[[int], dict[str, Any]] = chosen,
    states: Callable[[int], TrialState] = lambda _: TrialState.COMPLETED,
    space: list[dict[str, Any]] = SPACE,
    **search: Any,
) -> SweepRecord:
    config = parse_sweep({"training": {"epochs": EPOCHS}, "search": {"baseline": False, **search}})
    events: list[Event] = [
        SweepStarted(
            sweep_id="sweep-1",
            config=config.model_dump(mode="json"),
            space={"space": space, "values": {}},
            baseline={},
            data_folder="data",
            data_digest="d",
            split_digest="s",
            data_source="<galaxies>.h5",
            tracking_uri="sqlite:///mlflow.db",
            software={},
        )
    ]
    name = config.search.objective_record.name
    for number in range(n_trials):
        values, state = choose(number), states(number)
        events += [TrialProposed(number=number, values=values, seed=1), TrialStarted(number=number, attempt=1)]
        epochs = {TrialState.COMPLETED: EPOCHS, TrialState.STOPPED: 2}.get(state, 0)
        curve = [score(values) * epoch / EPOCHS for epoch in range(1, epochs + 1)]
        for epoch, value in enumerate(curve, start=1):
            events.append(EpochReported(report=EpochReport(number, 1, epoch, {name: value}), go_on=True))
        best = {name: curve[-1]} if curve else {}
        result = TrialResult(number, 1, state, "", epochs, best, epochs, parameters=10 ** (2 + number % 4), flops=5)
        events.append(TrialEnded(result=result))
    return replay(events, "journal")


class Continuing(TrialRecord):
    """A trial that another thread continues after its score was read once: it then has none."""

    is_read = False

    def objective_value(self, objective: Objective) -> float | None:
        value = None if self.is_read else super().objective_value(objective)
        self.is_read = True
        return value


@pytest.mark.parametrize("collect", [measure_importances, collect_parallel, collect_slices])
def test_a_trial_that_continues_while_figures_are_made_keeps_the_score_it_had(
    collect: Callable[[SweepRecord], Any],
) -> None:
    record = make_sweep(20)
    expected = collect(record)
    for number, trial in record.trials.items():
        record.trials[number] = Continuing(**{each.name: getattr(trial, each.name) for each in fields(trial)})
    assert collect(record) == expected


class TestAxes:
    def test_what_varied_among_trials_within_the_space(self) -> None:
        record = make_sweep(6)
        assert [axis.name for axis in axes_of(record, comparable_trials(record))] == [
            "optimizer",
            "decay",
            "rate",
            "units",
        ]

    def test_a_configuration_outside_the_space_is_not_compared(self) -> None:
        def choose(number: int) -> dict[str, Any]:
            return chosen(number) | ({"norm": False} if number == 0 else {"rate": 7.0} if number == 1 else {})

        assert [trial.number for trial in comparable_trials(make_sweep(4, choose=choose))] == [2, 3]

    def test_a_name_whose_declarations_do_not_join_is_left_out(self) -> None:
        """A range under one condition, a number outside it under another."""

        def only_if(optimizer: str) -> list[dict[str, Any]]:
            return [{"class_name": "Parent", "config": {"name": "optimizer", "values": [optimizer]}}]

        def choose(number: int) -> dict[str, Any]:
            return {"optimizer": "sgd", "momentum": 0.5 + number / 50} if number % 2 else {
                "optimizer": "adam", "momentum": 0.0
            }  # fmt: skip

        momentum = {"name": "momentum", "min_value": 0.5, "max_value": 0.99, "step": None}
        space = [
            {"class_name": "Choice", "config": {"name": "optimizer", "values": ["sgd", "adam"]}},
            {"class_name": "Float", "config": {**momentum, "conditions": only_if("sgd")}},
            {"class_name": "Fixed", "config": {"name": "momentum", "value": 0.0, "conditions": only_if("adam")}},
        ]
        record = make_sweep(12, lambda values: values["momentum"], choose, space=space)
        assert len(comparable_trials(record)) == 12
        assert measure_importances(record).shares.keys() == {"optimizer"}

    @pytest.mark.parametrize("sampling", ["log", "reverse_log"])
    def test_a_value_that_rounds_beyond_the_end_of_its_range_is_compared(self, sampling: str) -> None:
        config = {"name": "rate", "min_value": 3e-5, "max_value": 3e-2, "step": 10, "sampling": sampling}
        space = [{"class_name": "Float", "config": config}]
        values = list(SearchSpace.from_config({"space": space}).hyperparameters[0].domain.values())
        record = make_sweep(8, choose=lambda number: {"rate": values[number % len(values)]}, space=space)
        assert len(comparable_trials(record)) == 8
        assert measure_importances(record).shares.keys() == {"rate"}

    @pytest.mark.parametrize(
        ("axis", "value", "position"),
        [
            (Axis("a", ("x", "y", "z")), "y", 0.5),
            (Axis("a", ("x",)), "x", 0.0),
            (Axis("a", low=2, high=4), 3, 0.5),
            (Axis("a", low=1e-4, high=1e-2, is_log=True), 1e-3, 0.5),
            (Axis("a", low=2, high=2), 2, 0.0),
        ],
    )
    def test_a_value_has_its_place(self, axis: Axis, value: Any, position: float) -> None:
        assert axis.position(value) == pytest.approx(position)

    @pytest.mark.parametrize(
        ("axis", "ticks"),
        [
            (Axis("a", (True, False)), [True, False]),
            (Axis("a", low=0.0, high=0.6), [0.0, 0.2, 0.4, 0.6]),
            (Axis("a", low=3, high=5, is_whole=True), [3, 4, 5]),
            (Axis("a", low=1e-4, high=3e-3, is_log=True), [1e-4, 2e-4, 5e-4, 1e-3, 2e-3]),
            (Axis("a", low=1e-5, high=1e-1, is_log=True), [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        ],
    )
    def test_ticks_are_round(self, axis: Axis, ticks: list[Any]) -> None:
        assert tick_values(axis) == pytest.approx(ticks)

    def test_values_are_short(self) -> None:
        values: list[Any] = [True, 0.00123456, "flips+rotations+shift+zoom"]
        assert [axis_value(value) for value in values] == ["true", "0.00123", "flips+rotations…"]


class TestImportance:
    def test_what_decides_the_score_has_the_largest_share(self) -> None:
        found = measure_importances(make_sweep(60))
        assert next(iter(found.shares)) == "rate"
        assert sum(found.shares.values()) == pytest.approx(1.0)
        assert set(found.shares) == {"optimizer", "decay", "rate", "units"}
        assert (found.n_trials, found.n_best) == (60, 6)

    def test_nothing_that_is_shown_claims_a_significance(self, tmp_path: Path) -> None:
        """Shuffled scores are no null distribution for a sampler that learns from scores."""
        record = make_sweep(60)
        figure = plot_importances(measure_importances(record))
        page = write_insight(record, tmp_path).joinpath("insight.html").read_text(encoding="utf-8")
        report = build_page(Material(record, DataFacts("a.h5", False, "d", "s"), ""))
        shown = {
            "figure": " ".join(text.get_text() for text in figure.findobj(Text)),
            "page": page[page.index("<body>") :],
            "report": report[report.index('id="importance"') : report.index('id="parallel"')],
        }
        for where, text in shown.items():
            plain = " ".join(text.split())
            assert NO_TEST in plain, where
            claims = re.findall(
                r"\bchance\b|stands? out|significan|1 (?:in|of) 20|95 of 100", plain.replace(NO_TEST, "")
            )
            assert not claims, where

    def test_a_branch_that_wins_lends_its_hyperparameters_no_share(self) -> None:
        """`decay` has no effect, but `optimizer: adamw`, with which alone it is active, is among most of the best."""

        def seldom_adamw(number: int) -> dict[str, Any]:
            others = {name: value for name, value in chosen(number).items() if name not in ("optimizer", "decay")}
            drawn = random.Random(1000 + number)
            if number % 6:
                return others | {"optimizer": "adam"}
            return others | {"optimizer": "adamw", "decay": 10 ** drawn.uniform(-5, -1)}

        def score(values: dict[str, Any]) -> float:
            return rate_decides(values) + 0.3 * (values["optimizer"] == "adamw")

        shares = measure_importances(make_sweep(72, score, seldom_adamw)).shares
        assert shares["decay"] < shares["optimizer"]

    def test_the_direction_of_the_objective_makes_no_difference(self) -> None:
        more, less = make_sweep(40), make_sweep(40, lambda values: -rate_decides(values), objective="val_loss")
        assert measure_importances(more).shares == measure_importances(less).shares

    def test_a_few_trials_say_nothing(self) -> None:
        found = measure_importances(make_sweep(7))
        assert (found.shares, found.n_trials) == ({}, 7)
        assert measure_importances(make_sweep(8)).shares.keys() == {"optimizer", "decay", "rate", "units"}

    def test_the_same_record_gives_the_same(self) -> None:
        assert measure_importances(make_sweep(20)) == measure_importances(make_sweep(20))


class GrowingTrial(TrialRecord):
    """Adds a trial to its record whenever it is looked at, as the loop may do in another thread."""

    __slots__ = ("record",)

    def __getattribute__(self, name: str) -> Any:
        trials = object.__getattribute__(self, "record").trials
        if len(trials) < 500:
            trials[len(trials)] = TrialRecord(len(trials), trials[1].values, seed=1, proposed_at=0.0)
        return object.__getattribute__(self, name)


def test_trials_may_be_added_while_a_record_is_shown() -> None:
    def grown() -> SweepRecord:
        record = make_sweep(12)
        record.finalists = [1]
        growing = GrowingTrial.__new__(GrowingTrial)
        object.__setattr__(growing, "record", record)
        for field in fields(TrialRecord):
            object.__setattr__(growing, field.name, getattr(record.trials[0], field.name))
        record.trials[0] = growing
        return record

    for show in (save_view, sweep_metrics, describe_progress):
        record = grown()
        show(record)
        assert len(record.trials) > 12
    assert "No trial" not in build_page(Material(grown(), DataFacts("a.h5", False, "d", "s"), ""))


class TestFigures:
    def test_history_tells_the_best_so_far_and_what_failed(self) -> None:
        states = [TrialState.FAILED, TrialState.COMPLETED, TrialState.STOPPED, TrialState.COMPLETED]
        record = make_sweep(4, lambda values: values["rate"], lambda n: {"rate": 1 - n / 10}, states.__getitem__)
        history = collect_history(record)
        assert history.failed == [0]
        assert history.completed == {1: pytest.approx(0.9), 3: pytest.approx(0.7)}
        assert history.stopped == {2: pytest.approx(0.4)}
        assert history.best == dict.fromkeys((1, 2, 3), pytest.approx(0.9))
        assert history.description == (
            "validation macro-F1 of 4 trials in the order they began: 2 trained all epochs, 1 ended early, "
            "1 have no model; the best so far was 0.900 at trial 1."
        )

    def test_rungs_tell_how_many_trials_came_how_far(self) -> None:
        record = make_sweep(6, states=lambda n: TrialState.STOPPED if n % 2 else TrialState.COMPLETED)
        rungs = collect_rungs(record)
        assert (rungs.survivors, rungs.rungs, rungs.trained) == ([6, 6, 3, 3], [2], 18)
        assert rungs.stopped == {1, 3, 5}
        assert rungs.saved == 0.25
        assert rungs.survival_description == "Of 6 trials, 6 trained 2 epochs, 3 trained 4 epochs."
        assert rungs.curves_description.startswith("validation macro-F1 after each epoch of 6 trials; the best, trial ")
        assert len(rungs.curves[1]) == 2
        assert rungs.winner == record.leaderboard()[0].number

    def test_more_epochs_later_are_not_saved_in_trials_that_had_ended(self) -> None:
        record = make_sweep(6, states=lambda n: TrialState.STOPPED if n % 2 else TrialState.COMPLETED)
        before = collect_rungs(record).saved
        change = find_change(record, overrides=["training.epochs=80"]).model_copy(update={"time": 1e9})
        apply_event(change, record)
        rungs = collect_rungs(record)
        assert (rungs.epochs, rungs.saved) == (80, before)
        record.trials[1].decision = Decision.PAUSE
        assert collect_rungs(record).planned == rungs.planned + 76

    def test_parallel_lines_go_below_an_axis_that_is_not_active(self) -> None:
        parallel = collect_parallel(make_sweep(10))
        assert parallel.score.positions == sorted(parallel.score.positions)
        decay = next(column for column in parallel.columns if column.name == "decay")
        inactive = [number for number, at in zip(parallel.trials, decay.positions, strict=True) if at == NOT_ACTIVE]
        assert sorted(inactive) == [number for number in range(10) if "decay" not in chosen(number)]
        assert decay.ticks[NOT_ACTIVE] == "not active"
        assert parallel.n_compared == len(parallel.trials) == 10
        selected = parallel.select(["units"], 2)
        assert [column.name for column in selected.columns] == ["units", "optimizer"]
        best = parallel.trials[-1]
        assert selected.description == (
            "10 trials as lines across units, optimizer and validation macro-F1. "
            f"The best, trial {best}: units {chosen(best)['units']}, optimizer {chosen(best)['optimizer']}."
        )

    def test_slices_hold_the_trials_in_which_the_hyperparameter_was_active(self) -> None:
        slices = collect_slices(make_sweep(10), ["units"])
        assert [each.axis.name for each in slices] == ["units", "optimizer", "decay", "rate"]
        assert slices[2].trials == [number for number in range(10) if "decay" in chosen(number)]
        best = max(rate_decides(chosen(number)) for number in range(10))
        assert slices[3].description.startswith("validation macro-F1 of 10 trials against rate. The best, ")
        assert f"{best:.3f}, is at " in slices[3].description
        assert slices[1].description.startswith(
            "validation macro-F1 of 10 trials against optimizer. The best with each:"
        )

    def test_the_pareto_front_is_the_record_s(self) -> None:
        record = make_sweep(8, objective=["val_macro_f1", "-parameters"])
        pareto = collect_pareto(record)
        assert pareto.front == [trial.number for trial in record.pareto_front()]
        assert pareto.describe(1).startswith("validation macro-F1 against parameters; on the front: trials ")
        assert pareto.values[3] == (record.trials[3].result.metrics["val_macro_f1"], 100_000.0)


ALWAYS = {"history.png", "importance.png", "rungs.png", "insight.html"}
OF_HYPERPARAMETERS = {"parallel_coordinates.png", "slices.png"}


@pytest.mark.parametrize(
    ("record", "files"),
    [
        pytest.param(lambda: make_sweep(1), ALWAYS, id="one trial"),
        pytest.param(lambda: make_sweep(0), ALWAYS, id="none"),
        pytest.param(lambda: make_sweep(5, states=lambda _: TrialState.FAILED), ALWAYS, id="only failed ones"),
        pytest.param(lambda: make_sweep(12, choose=lambda _: chosen(1)), ALWAYS, id="nothing varied"),
        pytest.param(lambda: make_sweep(12, lambda _: 0.0), ALWAYS | OF_HYPERPARAMETERS, id="all the same score"),
        pytest.param(
            lambda: make_sweep(12, objective=["val_macro_f1", "-parameters", "-flops"]),
            ALWAYS | OF_HYPERPARAMETERS | {"pareto_front.png"},
            id="several objectives",
        ),
        pytest.param(
            lambda: make_sweep(12, lambda values: 10 ** (6 * values["rate"]), objective="val_loss"),
            ALWAYS | OF_HYPERPARAMETERS,
            id="a wide range of losses",
        ),
        pytest.param(
            lambda: make_sweep(3, states=[TrialState.COMPLETED, TrialState.FAILED, TrialState.INFEASIBLE].__getitem__),
            ALWAYS,
            id="one of three has a score",
        ),
    ],
)
def test_every_sweep_can_be_drawn(tmp_path: Path, record: Callable[[], SweepRecord], files: set[str]) -> None:
    folder = write_insight(record(), tmp_path / "insight")
    assert {path.name for path in folder.iterdir()} == files
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert math.prod(image.size) > 0


def test_the_page_holds_everything_and_asks_no_server(tmp_path: Path) -> None:
    page = (write_insight(make_sweep(12), tmp_path) / "insight.html").read_text(encoding="utf-8")
    assert len(page) < 300_000
    assert not re.search(r"<(script|link|img|iframe)|https?:|url\(|@import", page)
    assert page.count("<svg") == 5
    assert "&lt;galaxies&gt;.h5" in page
    for title in ("Optimisation history", "What matters for val_macro_f1", "Parallel coordinates", "Slices", "Rung"):
        assert title in page


def test_the_page_is_well_formed_and_every_figure_has_its_description(tmp_path: Path) -> None:
    page = (write_insight(make_sweep(12), tmp_path) / "insight.html").read_text(encoding="utf-8")
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    assert all(len(each.get("aria-label", "")) > 40 for each in root.iter("svg"))
    trials = {title.text.split(":")[0] for title in root.iter("title") if title.text and ":" in title.text}
    assert trials == {f"trial {number}" for number in range(12)}


def test_drawn_again_it_is_the_same(tmp_path: Path) -> None:
    first, again = (write_insight(make_sweep(9), tmp_path / name) for name in ("a", "b"))
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
