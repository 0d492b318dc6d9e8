"""The report page's sections on the search: tables and figures of what was asked, how it went, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from galaxy_exp.records import TrialState
from galaxy_exp.report.canvas import draw_panel, new_axes, to_svg
from galaxy_exp.report.html import Cell, Table
from galaxy_exp.report.hyperparameters import (
    Parallel,
    Slice,
    collect_parallel,
    collect_slices,
    draw_slice,
    plot_parallel,
)
from galaxy_exp.report.importance import Importances, draw_importances, measure_importances
from galaxy_exp.report.material import Material
from galaxy_exp.report.rungs import Rungs, collect_rungs, draw_curves, draw_survivors
from galaxy_exp.report.scores import ParetoTrials, collect_history, collect_pareto, draw_history, draw_pareto
from galaxy_exp.report.words import count, duration, plain_value, quantity, validation_name
from galaxy_exp.space.search_space import Hyperparameter, Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import TrialRecord

__all__ = ["Asked", "Searched", "Spent"]

_MOST_COLUMNS = 8
"""Hyperparameters that parallel coordinates show at most: more become too small to read."""
_MOST_ROWS = 20
"""Trials on the Pareto front that its table shows."""

_SPLITS = {"train": "training", "validation": "validation", "test": "held-out test"}
_SCALES = {"log": ", logarithmic", "reverse_log": ", logarithmic from the upper end"}
_STATES = {
    TrialState.COMPLETED: "completed: trained all epochs",
    TrialState.STOPPED: "stopped early or paused",
    TrialState.FAILED: "failed",
    TrialState.INFEASIBLE: "broke a constraint",
    TrialState.LOST: "lost their worker",
    TrialState.RUNNING: "not ended",
}
_ALWAYS = frozenset({TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED})
"""States with a row even without a trial."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: classes, space and budget."""

    classes: Table | None
    limits: Sequence[str]
    enqueued: Sequence[str]
    """Configurations and evidence that the search started with."""
    orders: Sequence[str]
    """Orders that were carried out, with the answers."""
    space: Table | None
    fixed: Mapping[str, str]
    """Values by name."""

    @classmethod
    def of(cls, material: Material) -> Asked:
        """Collects the tables."""
        searched = material.space
        active = searched.possible
        fixed = {each.name: plain_value(each.default) for each in active if each.kind is Kind.FIXED}
        baseline = material.record.started.baseline
        rows: list[list[str | Cell]] = [
            [Cell(each.name, is_code=True), _domain(each), each.describe_conditions(plain_value),
             plain_value(baseline.get(each.name))]
            for each in active if each.kind is not Kind.FIXED
        ]  # fmt: skip
        header = ["hyperparameter", "searched", "only if", "baseline"]
        space = Table("Hyperparameters that were searched", header, rows, text=range(4)) if rows else None
        classes = _class_table(material) if material.data.counts else None
        orders = [f"{taken.order} ({taken.answer})" for taken in material.record.orders if taken.accepted]
        return cls(classes, list(_limits(material)), list(_enqueued(material)), orders, space, fixed)


def _class_table(material: Material) -> Table:
    counts = material.data.counts
    splits = [split for split in _SPLITS if split in counts]
    numbers = {name: [counts[split].get(name, 0) for split in splits] for name in material.data.class_names}
    numbers["all classes"] = [sum(counts[split].values()) for split in splits]
    rows = [[name, *(f"{number:,}" for number in [*each, sum(each)])] for name, each in numbers.items()]
    header = ["class", *(_SPLITS[split] for split in splits), "in all"]
    return Table("Galaxies by class and split", header, rows, style="totals")


def _limits(material: Material) -> Iterator[str]:
    search = material.record.config.search
    yield f"at most {count(search.max_trials, 'trial')}"
    if search.max_epochs is not None:
        yield f"{search.max_epochs:,} epochs in all"
    if search.max_hours is not None:
        yield f"{duration(3600 * search.max_hours)} of running"
    if search.max_trials_without_gain is not None:
        yield f"{search.max_trials_without_gain} trials in a row without gain"
    if search.min_expected_gain is not None:
        yield f"until ten more trials are expected to gain less than {search.min_expected_gain:g}"


def _enqueued(material: Material) -> Iterator[str]:
    record = material.record
    if record.config.search.baseline:
        yield "the baseline as trial 0"
    if n_enqueued := len(record.started.enqueued):
        yield count(n_enqueued, "configuration")
    for sweep_id, n_trials in Counter(known.sweep_id for known in record.started.evidence).items():
        yield f"{count(n_trials, 'trial')} of {sweep_id or 'an earlier sweep'} as evidence"


def _domain(hyperparameter: Hyperparameter) -> str:
    is_boolean = hyperparameter.kind is Kind.BOOLEAN
    values = "yes, no" if is_boolean else hyperparameter.describe_values(plain_value)
    prior = hyperparameter.describe_prior(plain_value)
    return f"{values}{_SCALES.get(hyperparameter.scale, '')}" + (f"; {prior}" if prior else "")


@dataclass(frozen=True, slots=True)
class Searched:
    """How the search went, its finalists' further trainings left out."""

    history: Markup
    rungs: Rungs
    survival: Sequence[Markup]
    """Survivors and curves; empty without an epoch, as every figure without its data."""
    pareto: ParetoTrials
    fronts: Sequence[Markup]
    front: Table | None
    importances: Importances
    bars: Markup | None
    parallel: Parallel
    n_varied: int
    """Hyperparameters that varied; `parallel` may have fewer."""
    lines: Markup | None
    slices: Sequence[Markup]

    @classmethod
    def of(cls, material: Material) -> Searched | None:
        """Draws the figures; None before a trial has ended."""
        record = material.record
        if not any(trial.result for trial in record.searched):
            return None
        history, rungs, pareto = collect_history(record), collect_rungs(record), collect_pareto(record)
        found = measure_importances(record)
        names = list(found.shares)
        varied = collect_parallel(record)
        parallel = varied.select(names, _MOST_COLUMNS)
        slices = collect_slices(record, names)
        has_lines = bool(parallel.columns) and len(parallel.trials) > 1
        has_front = len(pareto.objectives) > 1 and bool(pareto.values)
        return cls(
            draw_panel("history", history.description, new_axes(5.6, 4.0), draw_history, history),
            rungs,
            list(_survival(rungs)) if rungs.curves else [],
            pareto,
            list(_fronts(pareto)) if has_front else [],
            _front_table(pareto) if has_front else None,
            found,
            draw_panel("importance", found.description, _bar_axes(found), draw_importances, found) if names else None,
            parallel,
            len(varied.columns),
            to_svg(plot_parallel(parallel), "parallel", parallel.description) if has_lines else None,
            list(_slices(slices)),
        )


def _bar_axes(found: Importances) -> Axes:
    return new_axes(5.4, 0.6 + 0.3 * len(found.shares), left=1.9, top=0.1)


def _survival(rungs: Rungs) -> Iterator[Markup]:
    yield draw_panel("survival", rungs.survival_description, new_axes(5.2, 3.8), draw_survivors, rungs)
    yield draw_panel("curves", rungs.curves_description, new_axes(5.2, 3.8), draw_curves, rungs)


def _fronts(pareto: ParetoTrials) -> Iterator[Markup]:
    for other in range(1, len(pareto.objectives)):
        yield draw_panel(f"pareto-{other}", pareto.describe(other), new_axes(5.2, 3.9), draw_pareto, pareto, other)


def _slices(slices: Sequence[Slice]) -> Iterator[Markup]:
    for place, each in enumerate(slices):
        axes = new_axes(3.6, 2.7, left=0.5, top=0.35)
        yield draw_panel(f"slice-{place}", each.description, axes, draw_slice, each, slices)


def _front_table(pareto: ParetoTrials) -> Table:
    rows = [[f"trial {number}", *map(quantity, pareto.values[number])] for number in pareto.front[:_MOST_ROWS]]
    caption = "Trials on the Pareto front, the best in the first objective first"
    return Table(caption, ["trial", *(validation_name(each.name) for each in pareto.objectives)], rows)


@dataclass(frozen=True, slots=True)
class Spent:
    """What the sweep cost."""

    n_losses: int
    """How often a worker died during a trial."""
    ledger: Table

    @classmethod
    def of(cls, material: Material) -> Spent:
        """Adds up epochs and time by the state of the trials."""
        record = material.record
        by_state = {state: [trial for trial in record.searched if trial.state is state] for state in _STATES}
        groups = {_STATES[state]: trials for state, trials in by_state.items() if trials or state in _ALWAYS}
        again = [trial for trial in record.trials.values() if trial.retrains is not None]
        groups |= {"finalists, trained again": again} if again else {}
        everything = list(record.trials.values())
        seconds = _seconds(everything)
        rows = [_ledger_row(name, trials, seconds) for name, trials in groups.items()]
        rows.append([*_ledger_row("in all", everything, seconds)[:-1], "100%" if seconds else ""])
        header = ["trials", "number", "epochs", "time of workers", "share of the time"]
        table = Table("Where epochs and time went", header, rows, style="bars totals")
        return cls(sum(len(trial.losses) for trial in everything), table)


def _ledger_row(name: str, trials: Sequence[TrialRecord], total: float) -> list[str | Cell]:
    seconds = _seconds(trials)
    share = seconds / total if total else 0.0
    epochs = sum(trial.epochs for trial in trials)
    return [name, f"{len(trials):,}", f"{epochs:,}", duration(seconds), Cell(f"{share:.0%}", share=share)]


def _seconds(trials: Sequence[TrialRecord]) -> float:
    return sum(trial.seconds for trial in trials)
