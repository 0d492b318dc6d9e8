"""Everything a sweep says about its hyperparameters, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.report.insight.history import collect_history, plot_history
from galaxy_exp.report.insight.importance import measure_importances, plot_importances
from galaxy_exp.report.insight.page import write_page
from galaxy_exp.report.insight.parallel import collect_parallel, plot_parallel
from galaxy_exp.report.insight.pareto import collect_pareto, plot_pareto
from galaxy_exp.report.insight.rungs import collect_rungs, plot_rungs
from galaxy_exp.report.insight.slices import collect_slices, plot_slices

if TYPE_CHECKING:
    from galaxy_exp.journal.record import SweepRecord

__all__ = ["write_insight"]


def write_insight(record: SweepRecord, folder: Path) -> Path:
    """Writes the figures and `insight.html` into `folder`; called again, it brings them up to date.

    What there is nothing to show of is left out: parallel coordinates and slices where no hyperparameter varied, the
    Pareto front with one objective. With too few trials, `importance.png` says so.

    Returns:
        `folder`.
    """
    found = measure_importances(record)
    plot_importances(found, folder / "importance.png")
    plot_history(collect_history(record), folder / "history.png")
    plot_rungs(collect_rungs(record), folder / "rungs.png")
    parallel = collect_parallel(record)
    if parallel.columns:
        plot_parallel(parallel, folder / "parallel_coordinates.png")
    slices = collect_slices(record, list(found.shares))
    if slices:
        plot_slices(slices, record.objective.name, folder / "slices.png")
    pareto = collect_pareto(record)
    if len(pareto.objectives) > 1 and pareto.values:
        plot_pareto(pareto, folder / "pareto_front.png")
    write_page(record, found, folder / "insight.html")
    return folder
