"""What a sweep says about its hyperparameters: the figures as PNG, and a page that holds all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.report.canvas import save_figure, to_svg
from galaxy_exp.report.html import render
from galaxy_exp.report.hyperparameters import collect_parallel, collect_slices, plot_parallel, plot_slices
from galaxy_exp.report.importance import NO_TEST, measure_importances, plot_importances
from galaxy_exp.report.rungs import collect_rungs, plot_rungs
from galaxy_exp.report.scores import collect_history, collect_pareto, plot_history, plot_pareto

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from galaxy_exp.journal.record import SweepRecord

__all__ = ["InsightFigure", "collect_figures", "summarise_sweep", "write_insight"]


@dataclass(frozen=True, slots=True)
class InsightFigure:
    """One figure with what the page says beside it."""

    name: str
    """Of the PNG, without its ending."""
    title: str
    note: str
    description: str
    """For those who do not see it."""
    figure: Figure


def write_insight(record: SweepRecord, folder: Path) -> Path:
    """Writes the figures and `insight.html` into `folder` and returns it; called again, it brings them up to date.

    Figures that have nothing to show are left out: parallel coordinates and slices if no hyperparameter varied, the
    Pareto front with one objective. With too few trials, `importance.png` reports that.
    """
    shown = list(collect_figures(record))
    figures = []
    for each in shown:
        save_figure(each.figure, folder / f"{each.name}.png")
        figures.append((each, to_svg(each.figure, each.name, each.description)))
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


def collect_figures(record: SweepRecord) -> Iterator[InsightFigure]:
    """The figures in the order of the page."""
    history = collect_history(record)
    yield InsightFigure("history", "Optimisation history", "Every trial with a score, in order.", history.description,
                        plot_history(history))  # fmt: skip
    pareto = collect_pareto(record)
    if len(pareto.objectives) > 1 and pareto.values:
        note = "In orange, the trials that no other beats in one objective without losing in another."
        described = " ".join(pareto.describe(other) for other in range(1, len(pareto.objectives)))
        yield InsightFigure("pareto_front", "Pareto front", note, described, plot_pareto(pareto))
    found = measure_importances(record)
    best = f"PED-ANOVA on {found.n_trials} trials: how the best {found.n_best} are distributed, against all."
    note = f"{best} {NO_TEST}" if found.shares else ""
    yield InsightFigure("importance", f"What matters for {found.objective}", note, found.description,
                        plot_importances(found))  # fmt: skip
    parallel = collect_parallel(record)
    if parallel.columns:
        n_trials, n_compared = len(parallel.trials), parallel.n_compared
        trials = f"{n_trials} trials" if n_trials == n_compared else f"The best {n_trials} of {n_compared:,} trials"
        title = f"{trials} across what varied, the best in {parallel.score.name} in orange"
        note = "Each line is a trial: the best in orange, the best quarter in blue."
        yield InsightFigure("parallel_coordinates", "Parallel coordinates", note, parallel.description,
                            plot_parallel(parallel, title))  # fmt: skip
    slices = collect_slices(record, list(found.shares))
    if slices:
        note = "The score against each hyperparameter by itself; earlier trials are paler, short ones smaller."
        described = " ".join(each.description for each in slices)
        yield InsightFigure("slices", "Slices", note, described, plot_slices(slices))
    rungs = collect_rungs(record)
    note = f"{rungs.trained:,} epochs were trained in all. Each trial up to where it ended, the best in orange."
    described = f"{rungs.survival_description} {rungs.curves_description}"
    yield InsightFigure("rungs", "Rung survival and learning curves", note, described, plot_rungs(rungs))
