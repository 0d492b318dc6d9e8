"""What was found: the winner, its scores on the sealed test, and the finalists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from galaxy_exp.records import gain_in
from galaxy_exp.report.learning_curves import collect_curves
from galaxy_exp.report.page.cells import gain_cell
from galaxy_exp.report.page.html import Html, code, definitions, element, figure, join, paragraph, table
from galaxy_exp.report.page.material import Material
from galaxy_exp.report.page.result_charts import draw_finalists, draw_gains, draw_learning_curve
from galaxy_exp.report.page.words import (
    METRIC_NAMES,
    amount,
    count,
    duration,
    metric_name,
    of_images,
    plain_value,
    score,
    signed,
)
from galaxy_exp.space.search_space import Kind, SearchSpace

if TYPE_CHECKING:
    from galaxy_exp.journal.record import TrialRecord

__all__ = ["found_section"]

_MOST_TRIALS = 12


def found_section(material: Material) -> Html:
    """The winner or, before there is one, the best trial so far; then the finalists and the other trials."""
    leader = material.leader
    if leader is None:
        trials = [element("h3", "All trials", id="trials"), _leaderboard(material)] if material.record.searched else []
        return join([paragraph(_why_nothing(material)), *trials])
    role = "The winner" if material.winner else "The best trial so far"
    return join(
        [
            *_sealed_test(material),
            element("h3", f"{role}: trial {leader.number}", id="winner"),
            element("div", _winner_facts(material, leader), _values_table(material, leader), class_="pair"),
            _learning_curves(leader),
            *_finalists(material),
            element("h3", "All trials, the best first", id="trials"),
            _leaderboard(material),
        ]
    )


def _why_nothing(material: Material) -> str:
    record = material.record
    ended = [trial for trial in record.trials.values() if trial.result]
    if not ended:
        return "No trial has finished yet, so there is nothing to tell."
    reasons = {trial.result.reason for trial in ended if trial.result and trial.result.reason}
    told = "; ".join(sorted(reasons)[:3])
    return f"None of {count(len(ended), 'finished trial')} has a model{f': {told}' if told else ''}."


def _sealed_test(material: Material) -> Iterator[Html]:
    report, baseline = material.test, material.baseline_test
    yield element("h3", "The sealed test", id="sealed-test")
    if report is None:
        yield paragraph(
            "The sealed test images have not been opened: this happens once, after the winner is chosen. Until then "
            "all figures are of validation images, which the search has looked at, and are likely to flatter."
        )
        return
    rows = []
    for name in METRIC_NAMES:
        row = [metric_name(name), score(report[name])]
        if baseline is not None:
            gain = material.gain(name)
            row += [
                score(baseline[name]),
                gain_cell(gain) if gain else signed(gain_in(name, report[name], baseline[name])),
            ]
        rows.append(row)
    header = ["score", f"winner, {material.tested_name}"]
    header += ["baseline, trial 0", "gain, 95% interval"] if baseline is not None else []
    if baseline is not None:
        yield paragraph("The baseline, trial 0, is the model with its default values, trained like every other trial.")
    yield table(f"Scores on {report['n_images']:,} {of_images(material)} that no trial ever saw", header, rows)
    if material.gains:
        images = f"{report['n_images']:,} {of_images(material)}"
        caption = f"Gain over the baseline, paired bootstrap over the {images}; grey where the interval holds zero."
        yield figure(draw_gains(material.gains), caption, label="Gains over the baseline")


def _winner_facts(material: Material, leader: TrialRecord) -> Html:
    record, result = material.record, leader.result
    value = leader.objective_value(record.objective)
    origin = None
    if leader.confirms is not None:
        origin = f"the configuration of trial {leader.confirms}, trained again with another seed"
    registered = record.registered
    promotion = record.promotion
    decided = ("champion: " if promotion.promoted else "not promoted: ") + promotion.reason if promotion else ""
    return definitions(
        [
            ("Configuration", origin),
            (f"Validation {metric_name(record.objective.name)}", score(value)),
            ("Epochs", f"{leader.epochs}, the best is epoch {result.best_epoch}" if result else ""),
            ("Weights", amount(result.parameters) if result and result.parameters else ""),
            ("Operations for one image", amount(result.flops) if result and result.flops else ""),
            ("Trained in", ", ".join(filter(None, [duration(result.seconds), result.precision])) if result else ""),
            ("Registered as", f"{registered.name}, version {registered.version}" if registered else ""),
            ("Promotion", decided),
            ("Test set", f"opening {record.opening} of it, by as many sweeps" if record.opening else ""),
        ]
    )  # fmt: skip


def _values_table(material: Material, leader: TrialRecord) -> Html:
    baseline = material.record.started.baseline
    if not baseline:
        rows = [[code(name), plain_value(value)] for name, value in leader.values.items()]
        return table("Its hyperparameters", ["hyperparameter", "value"], rows, text=(0, 1))
    rows = []
    for name in dict.fromkeys([*leader.values, *baseline]):
        own, other = leader.values.get(name), baseline.get(name)
        shown = plain_value(own)
        rows.append([code(name), shown if own == other else element("strong", shown), plain_value(other)])
    caption = "Its hyperparameters; bold where they differ from the baseline"
    return table(caption, ["hyperparameter", f"trial {leader.number}", "baseline"], rows, text=range(3))


def _learning_curves(leader: TrialRecord) -> Html | None:
    curves = collect_curves([report.metrics for report in leader.reports])
    if not curves or not leader.result:
        return None
    drawn = element("div", *(draw_learning_curve(each, leader.result.best_epoch) for each in curves), class_="tiles")
    return figure(drawn, f"Learning curves of trial {leader.number}.", label="Learning curves")


def _finalists(material: Material) -> Iterator[Html]:
    record, finalists = material.record, material.finalists
    if not record.finalists:
        return
    name = metric_name(record.objective.name)
    yield element("h3", "Finalists, trained again", id="finalists")
    if not finalists:
        yield paragraph(f"Trials {', '.join(map(str, record.finalists))} are being trained again with other seeds.")
        return
    yield paragraph(
        "A single training may be lucky. The best configurations of the search were trained again with other seeds, "
        f"and the best mean of the validation {name} won; what the search itself found is not part of the mean."
    )
    rows = [
        [f"trial {each.number}", score(each.searched), ", ".join(map(score, each.values)), score(each.mean),
         score(each.spread)]
        for each in finalists
    ]  # fmt: skip
    header = ["configuration", "in the search", "trained again", "mean", "standard deviation"]
    yield table(f"Validation {name} of the finalists", header, rows)
    caption = "Each finalist with each seed; the line is the mean that decided."
    yield figure(draw_finalists(finalists, f"validation {name}"), caption, label="Finalists")


def _leaderboard(material: Material) -> Html:
    record = material.record
    ranked = record.leaderboard()
    numbers = {trial.number for trial in ranked}
    rest = [trial for trial in record.searched if trial.number not in numbers]
    trials = [*ranked, *rest]
    rows = [_trial_row(material, trial) for trial in trials[:_MOST_TRIALS]]
    header = ["trial", metric_name(record.objective.name), "epochs", "time", "state", "what differs from the baseline"]
    more = len(trials) - _MOST_TRIALS
    note = paragraph(f"And {more} more: ", code(f"galaxy-exp trials {record.sweep_id}"), class_="note")
    name = metric_name(record.objective.name)
    caption = f"Trials of the search by validation {name}"
    return join([table(caption, header, rows, text=(0, 4, 5), class_="trials"), note if more > 0 else None])


def _trial_row(material: Material, trial: TrialRecord) -> list[object]:
    result = trial.result
    return [
        str(trial.number),
        score(trial.objective_value(material.record.objective)),
        str(trial.epochs),
        duration(result.seconds) if result else "",
        str(trial.state),
        _difference(material, trial),
    ]


def _difference(material: Material, trial: TrialRecord) -> str:
    record = material.record
    if material.baseline is trial:
        return "the baseline"
    if not trial.state.has_model and trial.result and trial.result.reason:
        return trial.result.reason
    space = SearchSpace.from_config(record.started.space)
    fixed = {each.name for each in space.hyperparameters if each.kind is Kind.FIXED}
    changed = {
        name: value
        for name, value in trial.values.items()
        if name not in fixed and record.started.baseline.get(name) != value
    }
    return ", ".join(f"{name} {plain_value(value)}" for name, value in changed.items()) or "as the baseline"
