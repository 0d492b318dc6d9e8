"""The report page's sections on the search: tables and figures of what was asked, how it went, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from galaxy_exp.records import TrialState
from galaxy_exp.report.canvas import draw_panel, new_axes, to_svg
from galaxy_exp.report.html import Cell, Table
from galaxy_exp.report.hyperparameters import collect_parallel, collect_slices, draw_slice, plot_parallel
from galaxy_exp.report.importance import Importances, draw_importances, measure_importances
from galaxy_exp.report.learning_curves import collect_rungs, draw_curves, draw_survivors
from galaxy_exp.report.material import Material
from galaxy_exp.report.scores import ParetoTrials, collect_history, collect_pareto, draw_history, draw_pareto
from galaxy_exp.report.words import count, duration, plain_value, quantity, validation_name
from galaxy_exp.space.search_space import Hyperparameter, Kind

if TYPE_CHECKING:
    from galaxy_exp.journal.record import TrialRecord

__all__ = ["collect_asked", "collect_searched", "collect_spent"]

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


def collect_asked(material: Material) -> dict[str, Any]:
    """What was asked.

    Returns:
        The tables `classes` and `space`, None if these are not known or empty; as texts the `limits` of the budget,
        what was `enqueued` (configurations and evidence that the search started with) and the `orders` that were
        carried out, with the answers; and the values that are `fixed`, by name.
    """
    active, fixed = material.space.possible, material.space.fixed
    baseline = material.record.started.baseline
    rows: list[list[str | Cell]] = [
        [Cell(each.name, is_code=True), _domain(each), each.describe_conditions(plain_value),
         plain_value(baseline.get(each.name))]
        for each in active if each.name not in fixed
    ]  # fmt: skip
    header = ["hyperparameter", "searched", "only if", "baseline"]
    return {
        "classes": _class_table(material) if material.data.counts else None,
        "space": Table("Hyperparameters that were searched", header, rows, text=range(4)) if rows else None,
        "limits": list(_limits(material)),
        "enqueued": list(_enqueued(material)),
        "orders": [f"{taken.order} ({taken.answer})" for taken in material.record.orders if taken.accepted],
        "fixed": {name: plain_value(value) for name, value in fixed.items()},
    }


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
    if record.has_baseline:
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


def collect_searched(material: Material) -> dict[str, Any] | None:
    """How the search went, its finalists' further trainings left out; None before a trial has ended.

    Returns:
        The records `rungs`, `pareto`, `importances` and `parallel` (which may have fewer hyperparameters than the
        `n_varied` that varied), the table `front`, and the figures `history`, `survival` (survivors and curves),
        `fronts`, `bars` (of the importances), `lines` and `slices`; None or empty for those without data.
    """
    record = material.record
    if not any(trial.result for trial in record.searched):
        return None
    history, rungs, pareto = collect_history(record), collect_rungs(record), collect_pareto(record)
    found, varied = measure_importances(record), collect_parallel(record)
    names = list(found.shares)
    parallel, slices = varied.select(names, _MOST_COLUMNS), collect_slices(record, names)
    has_lines = bool(parallel.columns) and len(parallel.trials) > 1
    others = range(1, len(pareto.objectives)) if pareto.values else ()
    return {
        "history": draw_panel("history", history.description, new_axes(5.6, 4.0), draw_history, history),
        "rungs": rungs,
        "survival": [
            draw_panel("survival", rungs.survival_description, new_axes(5.2, 3.8), draw_survivors, rungs),
            draw_panel("curves", rungs.curves_description, new_axes(5.2, 3.8), draw_curves, rungs),
        ]
        if rungs.curves
        else [],
        "pareto": pareto,
        "fronts": [
            draw_panel(f"pareto-{other}", pareto.describe(other), new_axes(5.2, 3.9), draw_pareto, pareto, other)
            for other in others
        ],
        "front": _front_table(pareto) if others else None,
        "importances": found,
        "bars": _importance_bars(found) if names else None,
        "parallel": parallel,
        "n_varied": len(varied.columns),
        "lines": to_svg(plot_parallel(parallel), "parallel", parallel.description) if has_lines else None,
        "slices": [
            draw_panel(
                f"slice-{place}", each.description, new_axes(3.6, 2.7, left=0.5, top=0.35), draw_slice, each, slices
            )
            for place, each in enumerate(slices)
        ],
    }


def _importance_bars(found: Importances) -> Markup:
    axes = new_axes(5.4, 0.6 + 0.3 * len(found.shares), left=1.9, top=0.1)
    return draw_panel("importance", found.description, axes, draw_importances, found)


def _front_table(pareto: ParetoTrials) -> Table:
    rows = [[f"trial {number}", *map(quantity, pareto.values[number])] for number in pareto.front[:_MOST_ROWS]]
    caption = "Trials on the Pareto front, the best in the first objective first"
    return Table(caption, ["trial", *(validation_name(each.name) for each in pareto.objectives)], rows)


def collect_spent(material: Material) -> dict[str, Any]:
    """What the sweep cost: `n_losses`, how often a worker died, and the table `ledger`, epochs and time by state."""
    record = material.record
    by_state = {state: [trial for trial in record.searched if trial.state is state] for state in _STATES}
    groups = {_STATES[state]: trials for state, trials in by_state.items() if trials or state in _ALWAYS}
    everything = list(record.trials.values())
    again = [trial for trial in everything if trial.retrains is not None]
    groups |= {"finalists, trained again": again} if again else {}
    seconds = _seconds(everything)
    rows = [_ledger_row(name, trials, seconds) for name, trials in groups.items()]
    rows.append([*_ledger_row("in all", everything, seconds)[:-1], "100%" if seconds else ""])
    header = ["trials", "number", "epochs", "time of workers", "share of the time"]
    table = Table("Where epochs and time went", header, rows, style="bars totals")
    return {"n_losses": sum(len(trial.losses) for trial in everything), "ledger": table}


def _ledger_row(name: str, trials: Sequence[TrialRecord], total: float) -> list[str | Cell]:
    seconds = _seconds(trials)
    share = seconds / total if total else 0.0
    epochs = sum(trial.epochs for trial in trials)
    return [name, f"{len(trials):,}", f"{epochs:,}", duration(seconds), Cell(f"{share:.0%}", share=share)]


def _seconds(trials: Sequence[TrialRecord]) -> float:
    return sum(trial.seconds for trial in trials)
