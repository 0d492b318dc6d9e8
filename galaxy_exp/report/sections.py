"""The report page's sections as records: what its templates cannot reckon, with tables and figures made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from galaxy_exp.metrics import METRIC_LABELS
from galaxy_exp.records import TrialState, gain_in
from galaxy_exp.report.calibration import Calibration, describe_reliability, draw_reliability
from galaxy_exp.report.canvas import new_axes, to_svg
from galaxy_exp.report.comparison import describe_finalists, describe_gains, draw_finalists, draw_gains
from galaxy_exp.report.coverage import TOLD, describe_coverage, draw_coverage
from galaxy_exp.report.html import Cell, Table, gain_cell
from galaxy_exp.report.hyperparameters import Parallel, collect_parallel, collect_slices, draw_slice, plot_parallel
from galaxy_exp.report.importance import Importances, draw_importances, measure_importances
from galaxy_exp.report.learning_curves import collect_curves, draw_curve
from galaxy_exp.report.material import Gain, Material
from galaxy_exp.report.rungs import Rungs, collect_rungs, draw_curves, draw_survivors
from galaxy_exp.report.scores import ParetoTrials, collect_history, collect_pareto, draw_history, draw_pareto
from galaxy_exp.report.words import (
    METRIC_NAMES,
    UNKNOWN,
    duration,
    metric_name,
    plain_value,
    quantity,
    score,
    signed,
    validation_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import TrialRecord

__all__ = ["Asked", "Found", "Searched", "Spent", "Tested"]

_MOST_TRIALS = 12
"""Trials that the table of all trials shows."""

_MOST_LINES = 300
"""Trials that parallel coordinates show at most, the best ones."""
_MOST_COLUMNS = 8
"""Hyperparameters that they show at most: more become too small to read."""
_MOST_ROWS = 20
"""Trials on the Pareto front that its table shows."""

_SPLITS = {"train": "training", "validation": "validation", "test": "sealed test"}
_SCALES = {"log": ", logarithmic", "reverse_log": ", logarithmic from the upper end"}
_SCORES = ("accuracy", "top2", "balanced_accuracy", "macro_f1", "macro_f1_without_rare")
_STATES = {
    TrialState.COMPLETED: "completed: trained all epochs",
    TrialState.STOPPED: "stopped early",
    TrialState.FAILED: "failed",
    TrialState.INFEASIBLE: "broke a constraint",
    TrialState.LOST: "lost their worker",
    TrialState.RUNNING: "not ended",
}
_ALWAYS = frozenset({TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED})
"""States with a row even without a trial."""


def _panel(name: str, description: str, axes: Axes, draw: Callable[..., None], *arguments: Any) -> Markup:
    """One picture: what `draw(axes, *arguments)` draws."""
    draw(axes, *arguments)
    return to_svg(axes.figure, name, description)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: the winner, its scores on the held-out test set, and the finalists."""

    leader: TrialRecord | None
    """The winner; before it is chosen, the best trial so far."""
    trials: Table
    n_more: int
    """Trials that the table leaves out."""
    scores: Table | None = None
    gains: Markup | None = None
    values: Table | None = None
    curves: Sequence[Markup] = ()
    finalists: Table | None = None
    seeds: Markup | None = None

    @classmethod
    def of(cls, material: Material) -> Found:
        """Collects the tables and draws the figures."""
        leader, finalists = material.leader, material.finalists
        trials = _trials_by_rank(material)
        table, n_more = _trial_table(material, trials[:_MOST_TRIALS]), max(0, len(trials) - _MOST_TRIALS)
        if leader is None:
            return cls(None, table, n_more)
        gains, name = material.gains, f"validation {metric_name(material.record.objective.name)}"
        return cls(
            leader,
            table,
            n_more,
            scores=_winner_scores(material) if material.test else None,
            gains=_panel("gains", describe_gains(gains), new_axes(6.0, 2.5, left=1.5), draw_gains, gains)
            if gains
            else None,
            values=_values_table(material, leader),
            curves=list(_learning_curves(leader)),
            finalists=_finalists_table(material, name) if finalists else None,
            seeds=_panel("finalists", describe_finalists(finalists, name), new_axes(6.0, 1.2 + 0.45 * len(finalists)),
                         draw_finalists, finalists, name) if finalists else None,
        )  # fmt: skip


def _winner_scores(material: Material) -> Table:
    report, baseline = material.test or {}, material.baseline_test
    rows: list[list[str | Cell]] = []
    for name in METRIC_NAMES:
        rows.append([metric_name(name), score(report[name])])
        if baseline is not None:
            gain = material.gain(name)
            difference = signed(gain_in(name, report[name], baseline[name]))
            rows[-1] += [score(baseline[name]), _gain(gain) if gain else difference]
    header = ["score", f"winner, {material.tested_name}"]
    header += ["baseline, trial 0", "gain, 95% interval"] if baseline is not None else []
    return Table(f"Scores on {report['n_images']:,} {material.data.galaxies} that no trial ever saw", header, rows)


def _gain(gain: Gain) -> Cell:
    return gain_cell(gain.difference, gain.low, gain.high)


def _values_table(material: Material, leader: TrialRecord) -> Table:
    baseline = material.record.started.baseline
    if not baseline:
        named = [[Cell(name, is_code=True), plain_value(value)] for name, value in leader.values.items()]
        return Table("Its hyperparameters", ["hyperparameter", "value"], named, text=(0, 1))
    rows = []
    for name in dict.fromkeys([*leader.values, *baseline]):
        value, other = leader.values.get(name), baseline.get(name)
        shown = Cell(plain_value(value), is_strong=value != other)
        rows.append([Cell(name, is_code=True), shown, plain_value(other)])
    caption = "Its hyperparameters; bold where they differ from the baseline"
    return Table(caption, ["hyperparameter", f"trial {leader.number}", "baseline"], rows, text=range(3))


def _learning_curves(leader: TrialRecord) -> Iterator[Markup]:
    best = leader.result.best_epoch if leader.result else 0
    for curve in collect_curves([report.metrics for report in leader.reports]) if leader.result else ():
        yield _panel(f"curve-{curve.metric}", curve.describe(best), new_axes(4.4, 3.1), _draw_titled_curve, curve, best)


def _draw_titled_curve(axes: Axes, curve: Any, best_epoch: int) -> None:
    draw_curve(axes, curve, best_epoch)
    axes.set_ylabel(curve.title)


def _finalists_table(material: Material, name: str) -> Table:
    rows = [
        [f"trial {each.number}", score(each.searched), ", ".join(map(score, each.values)), score(each.mean),
         score(each.spread)]
        for each in material.finalists
    ]  # fmt: skip
    header = ["configuration", "in the search", "trained again", "mean", "standard deviation"]
    return Table(f"{name[0].upper()}{name[1:]} of the finalists", header, rows)


def _trials_by_rank(material: Material) -> list[TrialRecord]:
    """All trials of the search, the best first and those without a rank last."""
    ranked = material.record.leaderboard()
    numbers = {trial.number for trial in ranked}
    return [*ranked, *(trial for trial in material.record.searched if trial.number not in numbers)]


def _trial_table(material: Material, trials: Sequence[TrialRecord]) -> Table:
    objective = material.record.objective
    rows = [
        [
            str(trial.number),
            score(trial.objective_value(objective)),
            str(trial.epochs),
            duration(trial.result.seconds) if trial.result else "",
            str(trial.state),
            _difference(material, trial),
        ]
        for trial in trials
    ]
    name = metric_name(objective.name)
    header = ["trial", name, "epochs", "time", "state", "what differs from the baseline"]
    return Table(f"Trials of the search by validation {name}", header, rows, text=(0, 4, 5), style="trials")


def _difference(material: Material, trial: TrialRecord) -> str:
    if material.baseline is trial:
        return "the baseline"
    if not trial.state.has_model and trial.result and trial.result.reason:
        return trial.result.reason
    started = material.record.started
    fixed = {config["name"] for kind, config in _space(material) if kind == "Fixed"}
    changed = {
        name: value for name, value in trial.values.items() if name not in fixed and started.baseline.get(name) != value
    }
    return ", ".join(f"{name} {plain_value(value)}" for name, value in changed.items()) or "as the baseline"


def _space(material: Material) -> list[tuple[str, Mapping[str, Any]]]:
    """Class and configuration of each entry of the KerasTuner space."""
    return [(entry["class_name"], entry["config"]) for entry in material.record.started.space.get("space", [])]


@dataclass(frozen=True, slots=True)
class Tested:
    """How the winner classifies."""

    scores: Table | None = None
    """With intervals; None before the held-out test set was opened, as all others but the calibration."""
    compared: Table | None = None
    """The registered model against itself without an option, such as the mean over flips and turns."""
    per_class: Table | None = None
    reliability: Markup | None = None
    scaled: Calibration | None = None
    """At the temperature; None in reports of earlier releases."""
    scaled_reliability: Markup | None = None
    coverage: Table | None = None
    coverage_curve: Markup | None = None

    @classmethod
    def of(cls, material: Material) -> Tested:
        """Collects the tables and draws the figures; a report of an earlier release lacks some."""
        report, calibration = material.test or {}, material.calibration
        scaled = report.get("calibrated") if report.get("temperature") is not None and calibration else None
        rows = report.get("coverage")
        return cls(
            scores=_interval_scores(material, report) if report else None,
            compared=_compared(material, report) if report.get("compared") else None,
            per_class=_per_class(material, report) if report else None,
            reliability=_reliability("calibration", calibration) if calibration else None,
            scaled=Calibration.from_dict(scaled) if scaled else None,
            scaled_reliability=_reliability("calibrated", Calibration.from_dict(scaled)) if scaled else None,
            coverage=_coverage(material, rows) if rows else None,
            coverage_curve=_panel("coverage", describe_coverage(rows), new_axes(5.6, 4.0), draw_coverage, rows)
            if rows
            else None,
        )


def _reliability(name: str, found: Calibration) -> Markup:
    return _panel(name, describe_reliability(found), new_axes(5.0, 5.0), draw_reliability, found)


def _interval_scores(material: Material, report: Mapping[str, Any]) -> Table:
    baseline, intervals = material.baseline_test, report.get("intervals", {})
    rows = []
    for name in _SCORES:
        if report.get(name) is not None:
            row = [METRIC_LABELS[name], score(report[name]), *([_interval(intervals.get(name))] if intervals else [])]
            rows.append(row + ([score(baseline.get(name))] if baseline else []))
    header = ["score", "winner", *(["95% interval"] if intervals else []), *(["baseline"] if baseline else [])]
    caption = f"On {report['n_images']:,} sealed {material.data.galaxies}"
    return Table(f"{caption}{'; intervals of the bootstrap over images' if intervals else ''}", header, rows)


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{score(ends[0])} to {score(ends[1])}"


def _compared(material: Material, report: Mapping[str, Any]) -> Table:
    rows = [
        [other["name"], metric_name(name), score(report[name]), score(other[name]),
         _gain(Gain.of_difference(name, *other["differences"][name]))]
        for other in report["compared"] for name in METRIC_NAMES
    ]  # fmt: skip
    header = ["compared with", "score", "as registered", "that one", "gain, 95% interval"]
    caption = f"On the same {report['n_images']:,} {material.data.galaxies}, paired bootstrap"
    return Table(caption, header, rows, text=(0, 1))


def _per_class(material: Material, report: Mapping[str, Any]) -> Table:
    baseline = {entry["class"]: entry for entry in (material.baseline_test or {}).get("per_class", [])}
    rows = []
    for entry in report["per_class"]:
        ratios = [_ratio(entry[name], entry.get(f"{name}_interval")) for name in ("completeness", "purity", "f1")]
        other = baseline.get(entry["class"])
        rows.append([entry["class"], f"{entry['images']:,}", *ratios, *([score(other["f1"])] if other else [])])
    header = ["class", "galaxies", "completeness", "purity", "F1", *(["F1 of the baseline"] if baseline else [])]
    caption = f"The winner on {report['n_images']:,} sealed {material.data.galaxies}"
    caption += ", with 95% intervals" if "f1_interval" in report["per_class"][0] else ""
    return Table(caption, header, rows, style="bars")


def _ratio(value: float | None, ends: Sequence[float] | None) -> str | Cell:
    return UNKNOWN if value is None else Cell(score(value), _interval(ends), share=value)


def _coverage(material: Material, coverage: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [f"{row['coverage']:.0%}", f"{row['n_images']:,}", score(row["confidence"]), score(row["accuracy"]),
         _interval(row["interval"])]
        for row in coverage if row["coverage"] in TOLD
    ]  # fmt: skip
    header = ["images kept", "galaxies", "least probability", "accuracy", "95% interval"]
    return Table(f"Sealed {material.data.galaxies}, the most confident first", header, rows)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: classes, space and budget."""

    classes: Table | None
    limits: Sequence[str]
    enqueued: Sequence[str]
    """What the search was given beforehand."""
    space: Table | None
    fixed: Mapping[str, str]
    """Values by name."""

    @classmethod
    def of(cls, material: Material) -> Asked:
        """Collects the tables."""
        searched = [(kind, config) for kind, config in _space(material) if kind != "Fixed"]
        fixed = {config["name"]: plain_value(config["value"]) for kind, config in _space(material) if kind == "Fixed"}
        baseline = material.record.started.baseline
        rows = [
            [Cell(config["name"], is_code=True), _domain(kind, config), _condition(config),
             plain_value(baseline.get(config["name"]))]
            for kind, config in searched
        ]  # fmt: skip
        header = ["hyperparameter", "searched", "only if", "baseline"]
        space = Table("Hyperparameters that were searched", header, rows, text=range(4)) if rows else None
        classes = _class_table(material) if material.data.counts else None
        return cls(classes, list(_limits(material)), list(_enqueued(material)), space, fixed)


def _class_table(material: Material) -> Table:
    counts = material.data.counts
    splits = [split for split in _SPLITS if split in counts]
    numbers = {name: [counts[split].get(name, 0) for split in splits] for name in material.data.class_names}
    numbers["all classes"] = [sum(counts[split].values()) for split in splits]
    rows = [[name, *(f"{number:,}" for number in [*each, sum(each)])] for name, each in numbers.items()]
    header = ["class", *(_SPLITS[split] for split in splits), "in all"]
    return Table("Galaxies by class and part", header, rows, style="totals")


def _limits(material: Material) -> Iterator[str]:
    search = material.record.config.search
    yield f"at most {search.max_trials:,} trial{'' if search.max_trials == 1 else 's'}"
    if search.max_epochs is not None:
        yield f"{search.max_epochs:,} epochs in all"
    if search.max_hours is not None:
        yield f"{search.max_hours:g} hours"
    if search.max_trials_without_gain is not None:
        yield f"{search.max_trials_without_gain} trials in a row without gain"
    if search.min_expected_gain is not None:
        yield f"until ten more trials are expected to gain less than {search.min_expected_gain:g}"


def _enqueued(material: Material) -> Iterator[str]:
    record = material.record
    if record.config.search.baseline:
        yield "the baseline as trial 0"
    if n_enqueued := len(record.started.enqueued):
        yield f"{n_enqueued} configuration{'' if n_enqueued == 1 else 's'}"
    for sweep_id, n_trials in Counter(known.sweep_id for known in record.started.evidence).items():
        yield f"{n_trials:,} trial{'' if n_trials == 1 else 's'} of {sweep_id or 'an earlier sweep'} as evidence"


def _domain(kind: str, config: Mapping[str, Any]) -> str:
    if kind == "Boolean":
        return "yes, no"
    if kind == "Choice":
        return ", ".join(map(plain_value, config["values"]))
    step = config.get("step")
    steps = "" if step is None or (kind == "Int" and step == 1) else f", step {step:g}"
    scale = _SCALES.get(config.get("sampling", ""), "")
    return f"{plain_value(config['min_value'])} to {plain_value(config['max_value'])}{steps}{scale}"


def _condition(config: Mapping[str, Any]) -> str:
    conditions = [each["config"] for each in config.get("conditions", [])]
    return " and ".join(f"{each['name']} is {_alternatives(each['values'])}" for each in conditions)


def _alternatives(values: list[Any]) -> str:
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    if whole and len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return " or ".join(map(plain_value, values))


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
        varied = collect_parallel(record, at_most=_MOST_LINES)
        parallel = varied.select(names, _MOST_COLUMNS)
        slices = collect_slices(record, names)
        has_lines = bool(parallel.columns) and len(parallel.trials) > 1
        has_front = len(pareto.objectives) > 1 and bool(pareto.values)
        return cls(
            _panel("history", history.description, new_axes(6.4, 4.2), draw_history, history),
            rungs,
            list(_survival(rungs)) if rungs.curves else [],
            pareto,
            list(_fronts(pareto)) if has_front else [],
            _front_table(pareto) if has_front else None,
            found,
            _panel("importance", found.description, _bar_axes(found), draw_importances, found) if names else None,
            parallel,
            len(varied.columns),
            to_svg(plot_parallel(parallel), "parallel", parallel.description) if has_lines else None,
            [
                _panel(f"slice-{place}", each.description, new_axes(3.6, 2.9, left=0.5), draw_slice, each, slices)
                for place, each in enumerate(slices)
            ],
        )


def _bar_axes(found: Importances) -> Axes:
    return new_axes(6.0, 1.0 + 0.3 * len(found.shares), left=2.0)


def _survival(rungs: Rungs) -> Iterator[Markup]:
    yield _panel("survival", rungs.survival_description, new_axes(6.0, 4.0), draw_survivors, rungs)
    yield _panel("curves", rungs.curves_description, new_axes(6.0, 4.0), draw_curves, rungs)


def _fronts(pareto: ParetoTrials) -> Iterator[Markup]:
    for other in range(1, len(pareto.objectives)):
        yield _panel(f"pareto-{other}", pareto.describe(other), new_axes(6.0, 4.2), draw_pareto, pareto, other)


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
        """Adds up epochs and hours by the state of the trials."""
        record = material.record
        by_state = {state: [trial for trial in record.searched if trial.state is state] for state in _STATES}
        groups = {_STATES[state]: trials for state, trials in by_state.items() if trials or state in _ALWAYS}
        again = [trial for trial in record.trials.values() if trial.confirms is not None]
        groups |= {"finalists, trained again": again} if again else {}
        everything = list(record.trials.values())
        seconds = _seconds(everything)
        rows = [_ledger_row(name, trials, seconds) for name, trials in groups.items()]
        rows.append([*_ledger_row("in all", everything, seconds)[:-1], "100%" if seconds else ""])
        header = ["trials", "number", "epochs", "hours of a worker", "share of the hours"]
        table = Table("Where epochs and hours went", header, rows, style="bars totals")
        return cls(sum(len(trial.losses) for trial in everything), table)


def _ledger_row(name: str, trials: Sequence[TrialRecord], total: float) -> list[str | Cell]:
    seconds = _seconds(trials)
    share = seconds / total if total else 0.0
    epochs = sum(trial.epochs for trial in trials)
    return [name, f"{len(trials):,}", f"{epochs:,}", f"{seconds / 3600:.2f}", Cell(f"{share:.0%}", share=share)]


def _seconds(trials: Sequence[TrialRecord]) -> float:
    return sum(trial.result.seconds for trial in trials if trial.result)
