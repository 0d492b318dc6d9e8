"""The pages about a sweep: the report, one self-contained HTML file that is fit to be sent to a colleague, and insight.

Insight is what a sweep says about its hyperparameters: the figures as PNG, and a page that holds all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.evaluation.conclusion import (
    baseline_retrained,
    compare_with_baseline,
    describe_progress,
    name_configuration,
)
from galaxy_exp.evaluation.confidence import Calibration
from galaxy_exp.evaluation.held_out_report import headline_names, label_of
from galaxy_exp.evaluation.metrics import RARE
from galaxy_exp.records import SweepState
from galaxy_exp.report import paper
from galaxy_exp.report.canvas import save_figure, to_svg
from galaxy_exp.report.html import render
from galaxy_exp.report.hyperparameters import collect_parallel, collect_slices, plot_parallel, plot_slices
from galaxy_exp.report.importance import LEAST_TRIALS, NO_TEST, measure_importances, plot_importances
from galaxy_exp.report.learning_curves import collect_rungs, plot_rungs
from galaxy_exp.report.material import Material
from galaxy_exp.report.result_sections import collect_found, collect_tested
from galaxy_exp.report.scores import collect_history, collect_pareto, plot_history, plot_pareto
from galaxy_exp.report.search_sections import collect_asked, collect_searched, collect_spent
from galaxy_exp.report.votes import collect_votes
from galaxy_exp.report.words import count, metric_name, score, signed
from galaxy_exp.search_methods import SAMPLERS, SCHEDULERS
from galaxy_exp.wording import format_duration, iso_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from galaxy_exp.journal.record import SweepRecord

__all__ = ["build_page", "summarise_sweep", "write_insight"]

_SECTIONS = {
    "found": "What was found",
    "tested": "How the winner classifies",
    "asked": "What was asked",
    "searched": "How the search went",
    "spent": "What it cost",
    "reproduce": "How to reproduce it",
    "paper": "For a paper",
}
"""Headings by name; each has a template of that name."""


def build_page(material: Material, refresh_seconds: int | None = None) -> str:
    """The page as text: HTML that is well-formed XML too, without anything from elsewhere.

    Args:
        refresh_seconds: after which a browser loads it again, unless the sweep has ended; None: never.
    """
    record = material.record
    used = paper.cited_software(material) | paper.cited_methods(material)
    is_final = material.state in (SweepState.FINISHED, SweepState.FAILED)
    return render(
        "report.html",
        material=material,
        refresh_seconds=None if is_final else refresh_seconds,
        record=record,
        sections=_SECTIONS,
        started=iso_time(record.started.time),
        made=iso_time(record.updated_at),
        objective=metric_name(record.objective.name),
        sentences=_sentences(material),
        key_figures=_key_figures(material),
        found=collect_found(material),
        why_nothing=_why_nothing(material),
        tested=collect_tested(material),
        votes=None if material.votes is None else collect_votes(material, material.votes),
        rare=_rare_classes(material),
        leaning=_leaning(material.calibration) if material.calibration else "",
        asked=collect_asked(material),
        samplers=SAMPLERS,
        schedulers=SCHEDULERS,
        searched=collect_searched(material),
        least_trials=LEAST_TRIALS,
        no_test=NO_TEST,
        spent=collect_spent(material),
        ending=_ending(material),
        progress=describe_progress(record),
        commands=_commands(material),
        methods=paper.methods_text(material),
        cites_data=bool(paper.cited_data(material)),
        latex=paper.latex_table(material) if material.test else None,
        bibtex=paper.bibtex([*paper.cited_data(material), *chain(*used.values())]),
    )


def _sentences(material: Material) -> list[str]:
    """The summary."""
    record, leader, name = material.record, material.leader, metric_name(material.record.objective.name)
    notes = [f"Not shown: {reason}" for reason in material.missing]
    if leader is None:
        return [_question(material), "No trial has a model yet, so there is no result.", *notes]
    test = material.test
    if test is None:
        value = score(leader.objective_value(record.objective))
        best = f"The best trial so far is {leader.number}, with a validation {name} of {value}."
        return [_question(material), best, *notes]
    winner = material.tested_name if test.get("members") else name_configuration(leader, record)
    first, second = (f"{label_of(name, test)} of {score(test[name])}" for name in headline_names(test))
    reached = (
        f"On {test['n_images']:,} held-out {material.data.galaxies} that no trial ever saw, the winner, "
        f"{winner}, reaches a {first} and an {second}."
    )
    comparison = compare_with_baseline(record, material.gains).replace(" -", " \N{MINUS SIGN}")
    return [_question(material), reached, *([comparison] if comparison else []), *notes]


def _question(material: Material) -> str:
    """What was asked, in a sentence."""
    record, data, on = material.record, material.data, ""
    if data.n_images:
        on = f", on {count(data.n_images, 'image')} of {data.galaxies} in {len(data.class_names)} classes"
        on += "" if data.simulated else f" ({data.name})"
    return f"Asked: which {record.config.hypermodel} has the best validation {metric_name(record.objective.name)}{on}?"


def _key_figures(material: Material) -> dict[str, str]:
    """The largest numbers of the page, by what they are."""
    record, test = material.record, material.test
    shown = headline_names(test)
    gain = material.gain(shown[0])
    found = {f"{label_of(name, test)}, held-out test": score(test[name]) for name in shown} if test is not None else {}
    if gain is not None:
        chance, label = "" if gain.is_clear else ", may be chance", label_of(shown[0], test or {})
        what = f"{label} against its first seed" if baseline_retrained(record) else f"gain in {label} over the baseline"
        found[f"{what}{chance}"] = signed(gain.difference)
    elif material.leader is not None and test is None:
        value = material.leader.objective_value(record.objective)
        found[f"best validation {metric_name(record.objective.name)}"] = score(value)
    trained = sum(trial.seconds for trial in list(record.trials.values()))
    found |= {"trials of the search": f"{len(record.searched):,}", "epochs": f"{record.epochs:,}"}
    return found | {"of training": format_duration(trained)}


def _why_nothing(material: Material) -> str:
    ended = [trial.result for trial in list(material.record.trials.values()) if trial.result]
    if not ended:
        return "No trial has finished yet, so there is nothing to report."
    reasons = "; ".join(sorted({result.reason for result in ended if result.reason})[:3])
    return f"None of {count(len(ended), 'finished trial')} has a model{f': {reasons}' if reasons else ''}."


def _rare_classes(material: Material) -> str:
    """Classes with too few test images to say much, in words; empty if there are none."""
    classes = (material.test or {}).get("per_class", [])
    few = [entry["class"] for entry in classes if entry["images"] < RARE]
    where = "every class" if len(few) == len(classes) else "; ".join(few)
    return f"Fewer than {RARE} held-out {material.data.galaxies} in {where}" if few else ""


def _leaning(found: Calibration) -> str:
    """Whether confidence and accuracy differ by more than two standard errors of the accuracy, and which way."""
    n_images = sum(each.n_images for each in found.bins)
    error = math.sqrt(max(found.accuracy * (1 - found.accuracy), 1e-12) / n_images)
    if abs(found.mean_confidence - found.accuracy) <= 2 * error:
        return "the difference may be chance"
    sure = "overconfident" if found.mean_confidence > found.accuracy else "underconfident"
    return f"overall, the model is {sure}"


def _ending(material: Material) -> str:
    reason = material.record.why_search_ended
    if reason:
        return f"The search ended: {reason}."
    return "The search was broken off." if material.state is SweepState.FAILED else "The search has not ended."


def _commands(material: Material) -> str:
    leader = material.leader
    commands = {"galaxy-exp sweep sweep.yaml": "the whole sweep again"}
    if leader is not None and leader.result is not None:
        who = "the winner" if material.winner else "the best trial so far"
        command = f"galaxy-exp reproduce {material.record.sweep_id}/{leader.number}"
        commands[command] = f"{who} alone, in this project's folder"
    width = max(map(len, commands))
    return "\n".join(f"{command:{width}}  # {what}" for command, what in commands.items())


def write_insight(record: SweepRecord, folder: Path) -> Path:
    """Writes the figures and `insight.html` into `folder` and returns it; called again, it brings them up to date.

    Figures that have nothing to show are left out: parallel coordinates and slices if no hyperparameter varied, the
    Pareto front with one objective. With too few trials, `importance.png` reports that.
    """
    figures = []
    for name, title, note, description, figure in _collect_figures(record):
        save_figure(figure, folder / f"{name}.png")
        figures.append((title, note, to_svg(figure, name, description)))
    page = render("insight.html", title=f"Sweep {record.sweep_id}", summary=summarise_sweep(record), figures=figures)
    (folder / "insight.html").write_text(page, encoding="utf-8")
    return folder


def summarise_sweep(record: SweepRecord) -> str:
    """Number of trials, data, method and objectives in one line."""
    config = record.config
    simulated = "SIMULATED galaxies" if record.simulated else record.started.data_source
    names = ", ".join(f"{each.name} ({each.direction})" for each in record.objectives)
    trials = sum(trial.result is not None for trial in record.searched)
    return f"{trials} trials on {simulated}; {config.search.sampler} + {config.search.scheduler}; objective {names}"


def _collect_figures(record: SweepRecord) -> Iterator[tuple[str, str, str, str, Figure]]:
    """In the order of the page: name of the PNG, title, note, description for those who do not see it, and figure."""
    history, note = collect_history(record), "Every trial with a score, in order."
    yield "history", "Optimisation history", note, history.description, plot_history(history)
    pareto = collect_pareto(record)
    if len(pareto.objectives) > 1 and pareto.values:
        note = "In orange, the trials that no other beats in one objective without losing in another."
        described = " ".join(pareto.describe(other) for other in range(1, len(pareto.objectives)))
        yield "pareto_front", "Pareto front", note, described, plot_pareto(pareto)
    found = measure_importances(record)
    best = f"PED-ANOVA on {found.n_trials} trials: how the best {found.n_best} are distributed, against all."
    note = f"{best} {NO_TEST}" if found.shares else ""
    yield "importance", f"What matters for {found.objective}", note, found.description, plot_importances(found)
    parallel = collect_parallel(record)
    if parallel.columns:
        n_trials, n_compared = len(parallel.trials), parallel.n_compared
        trials = f"{n_trials} trials" if n_trials == n_compared else f"The best {n_trials} of {n_compared:,} trials"
        title = f"{trials} across what varied, the best in {parallel.score.name} in orange"
        note = "Each line is a trial: the best in orange, the best quarter in blue."
        figure = plot_parallel(parallel, title)
        yield "parallel_coordinates", "Parallel coordinates", note, parallel.description, figure
    slices = collect_slices(record, list(found.shares))
    if slices:
        note = "The score against each hyperparameter by itself; earlier trials are paler, short ones smaller."
        described = " ".join(each.description for each in slices)
        yield "slices", "Slices", note, described, plot_slices(slices)
    rungs = collect_rungs(record)
    note = f"{rungs.trained:,} epochs were trained in all. Each trial up to where it ended, the best in orange."
    described = f"{rungs.survival_description} {rungs.curves_description}"
    yield "rungs", "Rung survival and learning curves", note, described, plot_rungs(rungs)
