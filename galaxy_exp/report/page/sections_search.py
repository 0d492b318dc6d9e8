"""How the search went: history, what mattered, how trials spread over the space, and how early stopping cut them."""

from __future__ import annotations

from collections.abc import Iterator

from galaxy_exp.report.insight.history import collect_history
from galaxy_exp.report.insight.importance import LEAST_TRIALS, NO_TEST, Importances, measure_importances
from galaxy_exp.report.insight.parallel import collect_parallel
from galaxy_exp.report.insight.pareto import collect_pareto
from galaxy_exp.report.insight.rungs import Rungs, collect_rungs
from galaxy_exp.report.insight.slices import collect_slices
from galaxy_exp.report.page.charts import (
    MOST_POINTS,
    draw_curves,
    draw_history,
    draw_parallel,
    draw_pareto,
    draw_slice,
    draw_survival,
)
from galaxy_exp.report.page.html import Html, code, element, figure, join, paragraph, table
from galaxy_exp.report.page.material import Material
from galaxy_exp.report.page.words import count, plain_value, quantity, validation_name

__all__ = ["search_section"]

_MOST_LINES = 300
"""Trials that parallel coordinates show at most, the best ones; more make the page large and say no more."""

_MOST_ROWS = 20
_MOST_COLUMNS = 8
"""Hyperparameters that they show at most: more become too small to read."""


def search_section(material: Material) -> Html:
    """Of the trials of the search, the finalists' further trainings left out."""
    record = material.record
    if not any(trial.result for trial in record.searched):
        return paragraph("No trial of the search has ended yet.")
    found = measure_importances(record)
    parts = [*_history(material), *_rungs(material), *_pareto(material), *_importance(found), *_spread(material, found)]
    return join(parts)


def _history(material: Material) -> Iterator[Html]:
    history = collect_history(material.record)
    yield element("h3", "One trial after the other", id="history")
    caption = "Validation score of each trial in the order they began, and the best so far."
    yield figure(draw_history(history), caption, label="Optimisation history")


def _rungs(material: Material) -> Iterator[Html]:
    rungs = collect_rungs(material.record)
    if not rungs.curves:
        return
    yield element("h3", "Early stopping", id="rungs")
    yield paragraph(_saving(rungs, material.record.config.search.pruner))
    survival = figure(draw_survival(rungs), "How many trials trained how long.", label="Rung survival")
    curves = figure(draw_curves(rungs), "Each trial's validation score, up to where it ended.", label="Curves")
    yield element("div", survival, curves, class_="pair")


def _saving(rungs: Rungs, pruner: str) -> str:
    most = rungs.epochs * max(rungs.survivors, default=0)
    trained = f"{count(rungs.trained, 'epoch')} of training in the search"
    if not rungs.stopped:
        return f"{trained}; no trial was stopped early."
    stopped = count(len(rungs.stopped), "trial")
    return f"{trained}: {pruner} stopped {stopped} early, which saved {1 - rungs.trained / most:.0%} of the epochs."


def _pareto(material: Material) -> Iterator[Html]:
    pareto = collect_pareto(material.record)
    if len(pareto.objectives) < 2 or not pareto.values:
        return
    yield element("h3", "Pareto front", id="pareto")
    yield paragraph(
        f"{len(pareto.front)} of {count(len(pareto.values), 'trial')} are on it: no other trial beats them in one "
        "objective without losing in another."
    )
    drawings = [draw_pareto(pareto, other) for other in range(1, len(pareto.objectives))]
    caption = "The first objective against each further one."
    yield figure(element("div", *drawings, class_="pair"), caption, label="Pareto front")
    rows = [[f"trial {number}", *map(quantity, pareto.values[number])] for number in pareto.front[:_MOST_ROWS]]
    caption = "Trials on the Pareto front, the best in the first objective first"
    yield table(caption, ["trial", *(validation_name(each.name) for each in pareto.objectives)], rows)


def _importance(found: Importances) -> Iterator[Html]:
    yield element("h3", "What mattered", id="importance")
    if found.n_trials < LEAST_TRIALS:
        trials = count(found.n_trials, "trial")
        yield paragraph(f"{trials} can be compared; importance needs {LEAST_TRIALS}.")
        return
    if not found.shares:
        yield paragraph("No hyperparameter was varied.")
        return
    yield paragraph(
        f"How the best {found.n_best} of {found.n_trials} trials are distributed along each hyperparameter, against "
        f"all (PED-ANOVA, Watanabe et al. 2023, arXiv:2304.10255). {NO_TEST}"
    )
    widest = max(*found.shares.values(), 0.01)
    rows = [[code(name), _share_cell(share, widest)] for name, share in found.shares.items()]
    yield table("Importance of the hyperparameters", ["hyperparameter", "share"], rows, class_="importance")


def _share_cell(share: float, widest: float) -> Html:
    return element("td", element("span", f"{share:.0%}"), class_="number bar", style=f"--share:{share / widest:.3f}")


def _spread(material: Material, found: Importances) -> Iterator[Html]:
    parallel = collect_parallel(material.record, at_most=_MOST_LINES)
    if parallel.columns and len(parallel.trials) > 1:
        yield element("h3", "Parallel coordinates", id="parallel")
        rank = {name: place for place, name in enumerate(found.shares)}
        columns = sorted(parallel.columns, key=lambda column: rank.get(column.name, len(rank)))[:_MOST_COLUMNS]
        caption = f"Each line is a trial: trial {parallel.trials[-1]}, the best, in orange, the best quarter in blue."
        if len(columns) < len(parallel.columns):
            order = "in the order of their importance" if found.shares else "in the order of the space"
            caption += f" These are {len(columns)} of {len(parallel.columns)} that varied, {order}."
        values = material.record.trials[parallel.trials[-1]].values
        best = ", ".join(f"{column.name} {plain_value(values.get(column.name))}" for column in columns)
        yield figure(draw_parallel(parallel, columns, best), caption, label="Parallel coordinates", wide=True)
    slices = collect_slices(material.record, list(found.shares))
    if slices:
        yield element("h3", "One hyperparameter at a time", id="slices")
        scores = [score for each in slices for score in each.scores]
        name = material.record.objective.name
        more = (
            f" Of {len(slices[0].trials):,} trials, {MOST_POINTS} are shown."
            if len(slices[0].trials) > MOST_POINTS
            else ""
        )
        extreme = max if material.record.objective.direction == "max" else min
        tiles = element("div", *(draw_slice(each, scores, name, extreme) for each in slices), class_="tiles")
        yield figure(
            tiles,
            f"The {validation_name(name)} against each; small pale dots were stopped early.{more}",
            label="Slices",
        )
