"""The trials between several objectives, and those that no other beats in one without losing in another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.records import Objective
from galaxy_exp.report.canvas import GREY, INK, VALIDATION, draw_headline, grid_axes, new_figure, save_figure
from galaxy_exp.report.insight.history import is_wide

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import SweepRecord

__all__ = ["ParetoTrials", "collect_pareto", "plot_pareto"]


_MOST_LABELS = 20


@dataclass(frozen=True, slots=True)
class ParetoTrials:
    """The objectives of the trials that may win."""

    objectives: tuple[Objective, ...]
    values: dict[int, tuple[float, ...]]
    """By trial number, in the order of `objectives`."""
    front: list[int]
    """Trials that are not dominated, best first in the first objective."""


def collect_pareto(record: SweepRecord) -> ParetoTrials:
    """Of the trials that keep the sweep's constraints and have every objective."""
    values = {trial.number: trial.objective_values(record.objectives) for trial in record.leaderboard()}
    known = {number: found for number, found in values.items() if found is not None}
    return ParetoTrials(record.objectives, known, [trial.number for trial in record.pareto_front()])


def plot_pareto(pareto: ParetoTrials, path: Path) -> Path:
    """Draws the first objective against each further one."""
    others = range(1, len(pareto.objectives))
    figure = new_figure(max(7.0, 5.2 * len(others)), 4.8)
    title = f"{len(pareto.front)} of {len(pareto.values)} trials are beaten by no other in all objectives"
    draw_headline(figure, title)
    for panel, other in enumerate(others):
        axes = figure.add_subplot(1, len(others), panel + 1)
        _draw(axes, pareto, other)
        axes.tick_params(labelleft=panel == 0)
        if panel == 0:
            axes.set_ylabel(_label(pareto.objectives[0]), color=GREY)
    figure.subplots_adjust(
        left=0.75 / figure.get_figwidth(), right=1 - 0.25 / figure.get_figwidth(), top=0.86, bottom=0.13, wspace=0.08
    )
    return save_figure(figure, path)


def _draw(axes: Axes, pareto: ParetoTrials, other: int) -> None:
    front = set(pareto.front)
    rest = [values for number, values in pareto.values.items() if number not in front]
    axes.plot([values[other] for values in rest], [values[0] for values in rest], "o", color="#B9C4CC", markersize=5)
    chosen = sorted((pareto.values[number][other], pareto.values[number][0], number) for number in pareto.front)
    axes.plot(*zip(*((x, y) for x, y, _ in chosen), strict=True), "o", color=VALIDATION, markersize=6.5, zorder=3)
    if len(pareto.objectives) == 2:
        axes.plot(*zip(*((x, y) for x, y, _ in chosen), strict=True), color=VALIDATION, linewidth=1.2, alpha=0.5,
                  drawstyle="steps-post")  # fmt: skip
    for x, y, number in chosen if other == 1 and len(chosen) <= _MOST_LABELS else ():
        axes.annotate(f"{number}", (x, y), (-6, 4), textcoords="offset points", ha="right", fontsize=8.5, color=INK)
    if is_wide([values[other] for values in pareto.values.values()]):
        axes.set_xscale("log")
    axes.set_xlabel(_label(pareto.objectives[other]), color=GREY)
    axes.margins(0.09, 0.09)
    grid_axes(axes)


def _label(objective: Objective) -> str:
    better = "more" if objective.direction == "max" else "less"
    return f"{objective.name} ({better} is better)"
