"""The report page's sections on the result: tables and figures of what was found and how the winner classifies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from galaxy_exp.evaluation.conclusion import comparison_words, name_configuration
from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN, Calibration
from galaxy_exp.evaluation.held_out_report import compared_names, gain_over, label_of, shown_names
from galaxy_exp.evaluation.metrics import METRIC_LABELS
from galaxy_exp.report import canvas
from galaxy_exp.report.canvas import draw_panel, new_axes
from galaxy_exp.report.classification import describe_coverage, describe_reliability, draw_coverage, draw_reliability
from galaxy_exp.report.html import Cell, Table
from galaxy_exp.report.learning_curves import collect_curves, draw_curve
from galaxy_exp.report.material import Finalist, Gain, Material
from galaxy_exp.report.words import METRIC_NAMES, UNKNOWN, duration, interval, metric_name, plain_value, score, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import TrialRecord

__all__ = ["collect_found", "collect_tested", "describe_finalists", "describe_gains"]

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
        "scores": _score_table(material, material.test) if material.test else None,
        "gains": _gains_figure(material) if gains and material.votes is None else None,
        "hyperparameters": _values_table(material, leader),
        "curves": list(_learning_curves(leader)),
        "finalists": _finalists_table(finalists, objective) if finalists else None,
        "seeds": _finalists_figure(finalists, objective) if finalists else None,
    }


def _values_table(material: Material, leader: TrialRecord) -> Table:
    baseline, caption = material.record.started.baseline, "Its hyperparameters"
    rows: list[list[str | Cell]] = []
    for name in dict.fromkeys([*leader.values, *baseline]):
        value, other = leader.values.get(name), baseline.get(name)
        shown = Cell(plain_value(value), is_strong=bool(baseline) and value != other)
        rows.append([Cell(name, is_code=True), shown, *([plain_value(other)] if baseline else [])])
    if not baseline:
        return Table(caption, ["hyperparameter", "value"], rows, text=range(2))
    header = ["hyperparameter", f"trial {leader.number}", "baseline"]
    return Table(f"{caption}; bold where they differ from the baseline", header, rows, text=range(3))


def _learning_curves(leader: TrialRecord) -> Iterator[Markup]:
    if leader.result is None:
        return
    best = leader.result.best_epoch
    for curve in collect_curves([report.metrics for report in leader.reports]):
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
    return draw_panel("finalists", describe_finalists(finalists, name), axes, _draw_finalists, finalists, name)


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
    changed = material.record.changes_from_baseline(trial.values)
    shown = (f"{name} {plain_value(value)}" for name, value in changed.items() if name not in fixed)
    return ", ".join(shown) or "as the baseline"


def _gain_cell(gain: Gain) -> Cell:
    return Cell(signed(gain.difference), f"{signed(gain.low)} to {signed(gain.high)}")


def _score_table(material: Material, report: Mapping[str, Any]) -> Table:
    """The winner's scores on the held-out test set and, if any, the baseline's with the gains."""
    baseline, names, intervals = material.baseline_test, list(METRIC_NAMES), {}
    if report.get("votes"):  # of classes, a table of its own has the intervals
        names, intervals = list(shown_names(report)), report.get("intervals", {})
    caption = f"Scores on {report['n_images']:,} {material.data.galaxies} that no trial ever saw"
    rows: list[list[str | Cell]] = []
    for name in names:
        rows.append([label_of(name, report), Cell(score(report[name]), interval(intervals.get(name)))])
        if baseline is not None:
            gain, difference = material.gain(name), gain_over(name, report, baseline)
            unknown = UNKNOWN if difference is None else signed(difference)
            rows[-1] += [score(baseline.get(name)), _gain_cell(gain) if gain else unknown]
    header = ["score", f"winner, {material.tested_name}"]
    whose, word = comparison_words(material.record)
    header += [f"{whose.removeprefix('the ')}, trial 0", f"{word}, 95% interval"] if baseline is not None else []
    return Table(caption, header, rows)


def _gains_figure(material: Material) -> Markup:
    whose, word = comparison_words(material.record)
    axes = new_axes(5.4, 2.0, left=1.4, top=0.1)
    return draw_panel("gains", describe_gains(material.gains, whose, word), axes, _draw_gains, material.gains, whose)


def _draw_gains(axes: Axes, gains: Sequence[Gain], whose: str) -> None:
    """Draws the gains with their intervals against zero; grey if the interval holds zero."""
    text: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9, "color": canvas.INK}
    for row, gain in enumerate(_scores(gains)):
        colour, at = canvas.VALIDATION if gain.is_clear else canvas.PALE, (gain.difference, row)
        axes.plot([gain.low, gain.high], [row, row], color=colour, linewidth=4, alpha=0.75, solid_capstyle="round")
        canvas.draw_points(axes, {str(gain): at}, color=colour, s=50)
        axes.annotate(signed(gain.difference), at, (0, 8), **text)
    axes.axvline(0, color=canvas.INK, linewidth=1, zorder=0)
    names = [metric_name(gain.metric) for gain in _scores(gains)]
    _style_rows(axes, names, f"winner minus {whose.removeprefix('the ')}, held-out test")


def describe_gains(gains: Sequence[Gain], whose: str = "the baseline", word: str = "gain") -> str:
    """The gains in words, with those of `comparison_words`."""
    each = (f"{metric_name(g.metric)} {signed(g.difference)}, {g.low:.3f} to {g.high:.3f}" for g in _scores(gains))
    return f"{word.capitalize()} {'over' if word == 'gain' else 'from'} {whose} with 95% intervals: {'; '.join(each)}."


def _scores(gains: Sequence[Gain]) -> list[Gain]:
    """Without the cross-entropy, which has another unit."""
    return [gain for gain in gains if gain.metric != "loss"]


def _draw_finalists(axes: Axes, finalists: Sequence[Finalist], objective: str) -> None:
    """Draws what each finalist reached with each seed and in the search, and the mean of the seeds."""
    ring = {"s": 60, "facecolors": "none", "edgecolors": canvas.INK, "linewidths": 1.2}
    for row, each in enumerate(finalists):
        name, labels = f"trial {each.number}", ("another seed", "their mean", "in the search")
        seed, mean, search = labels if row == 0 else ("", "", "")
        values = enumerate(each.values, start=1)
        again = {f"{name} again, seed {k}: {score(value)}": (value, row) for k, value in values}
        canvas.draw_points(axes, again, color=canvas.TRAIN, s=40, label=seed)
        axes.plot([each.mean] * 2, [row - 0.3, row + 0.3], color=canvas.VALIDATION, linewidth=2.2, label=mean)
        if each.searched is not None:
            searched = {f"{name} in the search: {score(each.searched)}": (each.searched, row)}
            canvas.draw_points(axes, searched, label=search, **ring)
    _style_rows(axes, [f"trial {each.number}" for each in finalists], objective)
    canvas.draw_legend(axes)


def describe_finalists(finalists: Sequence[Finalist], objective: str) -> str:
    """The means in words."""
    each = (f"trial {finalist.number} mean {score(finalist.mean)}" for finalist in finalists)
    return f"{objective} of the finalists with each seed: {'; '.join(each)}."


def _style_rows(axes: Axes, names: Sequence[str], x_name: str) -> None:
    """One row for each name, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    canvas.name_axes(axes, x_name)
    canvas.grid_axes(axes, which="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=canvas.GREY)


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
        "coverage_curve": draw_panel(
            "coverage", describe_coverage(rows), new_axes(5.0, 3.6, top=0.1), draw_coverage, rows
        )
        if rows
        else None,
    }


def _reliability(name: str, found: Calibration) -> Markup:
    return draw_panel(name, describe_reliability(found), new_axes(4.6, 4.3, top=0.1), draw_reliability, found)


def _interval_scores(material: Material, report: Mapping[str, Any]) -> Table:
    baseline, intervals = material.baseline_test, report.get("intervals", {})
    compared = [comparison_words(material.record)[0].removeprefix("the ")] if baseline else []
    rows = []
    for name in _SCORES:
        if report.get(name) is not None:
            row = [METRIC_LABELS[name], score(report[name]), *([interval(intervals.get(name))] if intervals else [])]
            rows.append(row + ([score(baseline.get(name))] if baseline else []))
    header = ["score", "winner", *(["95% interval"] if intervals else []), *compared]
    how = "; intervals of the bootstrap over images" if intervals else ""
    return Table(f"On {_galaxies_of_classes(material, report)}{how}", header, rows)


def _galaxies_of_classes(material: Material, report: Mapping[str, Any]) -> str:
    """The galaxies whose class is scored: of a model of votes, those whose votes agree."""
    votes = report.get("votes")
    n_images, which = (report["n_images"], "") if votes is None else (votes["n_agreed"], " whose votes agree")
    return f"{n_images:,} held-out {material.data.galaxies}{which}"


def _compared(material: Material, report: Mapping[str, Any]) -> Table:
    rows = [
        [other["name"], label_of(name, report), score(report[name]), score(other[name]),
         _gain_cell(Gain.of_difference(name, *other["differences"][name]))]
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
