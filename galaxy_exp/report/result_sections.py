"""The report page's sections on the result: tables and figures of what was found and how the winner classifies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from galaxy_exp.evaluation.conclusion import name_configuration
from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN, Calibration
from galaxy_exp.evaluation.held_out_report import compared_names, label_of, shown_names
from galaxy_exp.evaluation.metrics import METRIC_LABELS
from galaxy_exp.report.canvas import draw_panel, new_axes
from galaxy_exp.report.classification import describe_coverage, describe_reliability, draw_coverage, draw_reliability
from galaxy_exp.report.comparison import (
    describe_finalists,
    describe_gains,
    draw_finalists,
    draw_gains,
    gain_cell,
    score_table,
)
from galaxy_exp.report.html import Cell, Table
from galaxy_exp.report.learning_curves import collect_curves, draw_curve
from galaxy_exp.report.material import Finalist, Gain, Material
from galaxy_exp.report.words import METRIC_NAMES, UNKNOWN, duration, interval, metric_name, plain_value, score

if TYPE_CHECKING:
    from galaxy_exp.journal.record import TrialRecord

__all__ = ["collect_found", "collect_tested"]

_MOST_TRIALS = 200
"""Trials that the table of all trials shows."""

_SCORES = ("accuracy", "top2", "balanced_accuracy", "macro_f1", "macro_f1_without_rare")


def collect_found(material: Material) -> dict[str, Any]:
    """What was found: the winner, its scores on the held-out test set, and the finalists.

    Returns:
        `leader` (the winner; before it is chosen, the best trial so far), its `name`, the tables `trials` (and how many
        it leaves out, `n_more`), `scores`, `hyperparameters`, `finalists`, and the figures `gains`, `curves`, `seeds`;
        None for what is not known yet.
    """
    leader, finalists, gains = material.leader, material.finalists, material.gains
    ranked = material.record.leaderboard()
    numbers = {trial.number for trial in ranked}
    trials = [*ranked, *(trial for trial in material.record.searched if trial.number not in numbers)]
    table, n_more = _trial_table(material, trials[:_MOST_TRIALS]), max(0, len(trials) - _MOST_TRIALS)
    if leader is None:
        return {"leader": None, "trials": table, "n_more": n_more}
    objective = f"validation {metric_name(material.record.objective.name)}"
    return {
        "leader": leader,
        "trials": table,
        "n_more": n_more,
        "name": name_configuration(leader, material.record),
        "scores": _winner_scores(material, material.test) if material.test else None,
        "gains": _gain_bars(gains) if gains and material.votes is None else None,
        "hyperparameters": _values_table(material, leader),
        "curves": list(_learning_curves(leader)),
        "finalists": _finalists_table(finalists, objective) if finalists else None,
        "seeds": _finalists_figure(finalists, objective) if finalists else None,
    }


def _winner_scores(material: Material, report: Mapping[str, Any]) -> Table:
    caption = f"Scores on {report['n_images']:,} {material.data.galaxies} that no trial ever saw"
    if report.get("votes"):
        return score_table(material, caption, shown_names(report), report.get("intervals", {}))
    return score_table(material, caption, list(METRIC_NAMES), {})  # a table of its own has the intervals


def _gain_bars(gains: Sequence[Gain]) -> Markup:
    axes = new_axes(5.4, 2.0, left=1.4, top=0.1)
    return draw_panel("gains", describe_gains(gains), axes, draw_gains, gains)


def _values_table(material: Material, leader: TrialRecord) -> Table:
    baseline = material.record.started.baseline
    if not baseline:
        named: list[list[str | Cell]] = [
            [Cell(name, is_code=True), plain_value(value)] for name, value in leader.values.items()
        ]
        return Table("Its hyperparameters", ["hyperparameter", "value"], named, text=(0, 1))
    rows: list[list[str | Cell]] = []
    for name in dict.fromkeys([*leader.values, *baseline]):
        value, other = leader.values.get(name), baseline.get(name)
        shown = Cell(plain_value(value), is_strong=value != other)
        rows.append([Cell(name, is_code=True), shown, plain_value(other)])
    caption = "Its hyperparameters; bold where they differ from the baseline"
    return Table(caption, ["hyperparameter", f"trial {leader.number}", "baseline"], rows, text=range(3))


def _learning_curves(leader: TrialRecord) -> Iterator[Markup]:
    best = leader.result.best_epoch if leader.result else 0
    for curve in collect_curves([report.metrics for report in leader.reports]) if leader.result else ():
        axes = new_axes(4.4, 3.3, top=0.75)
        yield draw_panel(f"curve-{curve.metric}", curve.describe(best), axes, draw_curve, curve, best)


def _finalists_table(finalists: Sequence[Finalist], name: str) -> Table:
    rows = [
        [f"trial {each.number}", score(each.searched), ", ".join(map(score, each.values)), score(each.mean),
         score(each.spread)]
        for each in finalists
    ]  # fmt: skip
    header = ["configuration", "in the search", "trained again", "mean", "standard deviation"]
    return Table(f"{name[0].upper()}{name[1:]} of the finalists", header, rows)


def _finalists_figure(finalists: Sequence[Finalist], name: str) -> Markup:
    axes = new_axes(5.4, 1.2 + 0.45 * len(finalists))
    return draw_panel("finalists", describe_finalists(finalists, name), axes, draw_finalists, finalists, name)


def _trial_table(material: Material, trials: Sequence[TrialRecord]) -> Table:
    objective = material.record.objective
    fixed = set(material.space.fixed)
    rows: list[list[str | Cell]] = [
        [
            str(trial.number),
            score(trial.objective_value(objective)),
            str(trial.epochs),
            Cell(duration(trial.seconds) if trial.result else "", key=trial.seconds),
            trial.state_name,
            Cell("", svg=_small_curve(trial, objective.name)),
            _difference(material, trial, fixed),
        ]
        for trial in trials
    ]
    name = metric_name(objective.name)
    header = ["trial", name, "epochs", "time", "state", "curve", "what differs from the baseline"]
    return Table(f"Trials of the search by validation {name}", header, rows, text=(0, 4, 5, 6), style="trials")


def _small_curve(trial: TrialRecord, metric: str) -> Markup | None:
    """The objective over the epochs as a line without axes, of which the trial's own range fills the height."""
    curve = [value for value in trial.curve(metric) if math.isfinite(value)]
    if len(curve) < 2:
        return None
    low, high = min(curve), max(curve)
    points = " ".join(
        f"{100 * place / (len(curve) - 1):.0f},{22 - 20 * (value - low) / ((high - low) or 1):.1f}"
        for place, value in enumerate(curve)
    )
    label = f"trial {trial.number} from {score(curve[0])} to {score(curve[-1])}"
    return Markup(
        '<svg viewBox="0 0 100 24" role="img" aria-label="{}" preserveAspectRatio="none">'
        '<polyline points="{}" fill="none" stroke="var(--blue)" stroke-width="2" vector-effect="non-scaling-stroke"/>'
        "</svg>"
    ).format(label, points)


def _difference(material: Material, trial: TrialRecord, fixed: set[str]) -> str:
    if material.baseline is trial:
        return "the baseline"
    if not trial.state.has_model and trial.result and trial.result.reason:
        return trial.result.reason
    started = material.record.started
    changed = {
        name: value for name, value in trial.values.items() if name not in fixed and started.baseline.get(name) != value
    }
    return ", ".join(f"{name} {plain_value(value)}" for name, value in changed.items()) or "as the baseline"


def collect_tested(material: Material) -> dict[str, Any]:
    """How the winner classifies; a report of an earlier release lacks some of it.

    Returns:
        The tables `scores` (with intervals), `compared` (the registered model against itself without an option, such as
        the mean over flips and turns), `per_class` and `coverage`, the figures `reliability`, `scaled_reliability` and
        `coverage_curve`, and the calibration `scaled`, at the temperature; None for what is not known.
    """
    report, calibration = material.test or {}, material.calibration
    has_scaled = report.get("calibrated") and report.get("temperature") is not None and calibration
    scaled = Calibration.from_dict(report["calibrated"]) if has_scaled else None
    rows = report.get("coverage")
    return {
        "scores": _interval_scores(material, report) if report else None,
        "compared": _compared(material, report) if report.get("compared") else None,
        "per_class": _per_class(material, report) if report else None,
        "reliability": _reliability("calibration", calibration) if calibration else None,
        "scaled": scaled,
        "scaled_reliability": _reliability("calibrated", scaled) if scaled else None,
        "coverage": _coverage(material, rows) if rows else None,
        "coverage_curve": _coverage_curve(rows) if rows else None,
    }


def _reliability(name: str, found: Calibration) -> Markup:
    return draw_panel(name, describe_reliability(found), new_axes(4.6, 4.3, top=0.1), draw_reliability, found)


def _interval_scores(material: Material, report: Mapping[str, Any]) -> Table:
    baseline, intervals = material.baseline_test, report.get("intervals", {})
    rows = []
    for name in _SCORES:
        if report.get(name) is not None:
            row = [METRIC_LABELS[name], score(report[name]), *([interval(intervals.get(name))] if intervals else [])]
            rows.append(row + ([score(baseline.get(name))] if baseline else []))
    header = ["score", "winner", *(["95% interval"] if intervals else []), *(["baseline"] if baseline else [])]
    return Table(
        f"On {_galaxies_of_classes(material, report)}{'; intervals of the bootstrap over images' if intervals else ''}",
        header,
        rows,
    )


def _galaxies_of_classes(material: Material, report: Mapping[str, Any]) -> str:
    """The galaxies whose class is scored: of a model of votes, those whose votes agree."""
    votes = report.get("votes")
    n_images, which = (report["n_images"], "") if votes is None else (votes["n_agreed"], " whose votes agree")
    return f"{n_images:,} held-out {material.data.galaxies}{which}"


def _compared(material: Material, report: Mapping[str, Any]) -> Table:
    rows = [
        [other["name"], label_of(name, report), score(report[name]), score(other[name]),
         gain_cell(Gain.of_difference(name, *other["differences"][name]))]
        for other in report["compared"] for name in compared_names(report) if name in other["differences"]
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
    caption = f"The winner on {_galaxies_of_classes(material, report)}"
    caption += ", with 95% intervals" if "f1_interval" in report["per_class"][0] else ""
    return Table(caption, header, rows, style="bars")


def _ratio(value: float | None, ends: Sequence[float] | None) -> str | Cell:
    return UNKNOWN if value is None else Cell(score(value), interval(ends), share=value)


def _coverage(material: Material, coverage: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [f"{row['coverage']:.0%}", f"{row['n_images']:,}", score(row["confidence"]), score(row["accuracy"]),
         interval(row["interval"])]
        for row in coverage if row["coverage"] in COVERAGES_SHOWN
    ]  # fmt: skip
    header = ["images kept", "galaxies", "least probability", "accuracy", "95% interval"]
    return Table(f"Held-out {material.data.galaxies}, the most confident first", header, rows)


def _coverage_curve(rows: Sequence[Mapping[str, Any]]) -> Markup:
    axes = new_axes(5.0, 3.6, top=0.1)
    return draw_panel("coverage", describe_coverage(rows), axes, draw_coverage, rows)
