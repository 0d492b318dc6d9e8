"""Figures of the choice: the winner's gains over the baseline, and the finalists with each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from galaxy_exp.evaluation.held_out_report import gain_over, label_of
from galaxy_exp.records import Gain
from galaxy_exp.report import canvas
from galaxy_exp.report.html import Cell, Table
from galaxy_exp.report.words import UNKNOWN, interval, metric_name, score, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.report.material import Finalist, Material

__all__ = [
    "describe_finalists",
    "describe_gains",
    "draw_finalists",
    "draw_gains",
    "gain_cell",
    "gain_over_baseline",
    "score_table",
]


def gain_cell(gain: Gain) -> Cell:
    """A gain, and its interval below."""
    return Cell(signed(gain.difference), f"{signed(gain.low)} to {signed(gain.high)}")


def gain_over_baseline(material: Material, name: str, report: Mapping[str, Any]) -> str | Cell:
    """The winner's gain in a score, with its interval if that is known; a dash if neither is."""
    if gain := material.gain(name):
        return gain_cell(gain)
    difference = gain_over(name, report, material.baseline_test)
    return UNKNOWN if difference is None else signed(difference)


def score_table(
    material: Material, caption: str, names: Sequence[str], intervals: Mapping[str, Sequence[float]]
) -> Table:
    """The winner's scores on the held-out test set, with any intervals, baseline's scores and gains."""
    report, baseline = material.test or {}, material.baseline_test
    rows: list[list[str | Cell]] = []
    for name in names:
        rows.append([label_of(name, report), Cell(score(report[name]), interval(intervals.get(name)))])
        if baseline is not None:
            rows[-1] += [score(baseline.get(name)), gain_over_baseline(material, name, report)]
    header = ["score", f"winner, {material.tested_name}"]
    header += ["baseline, trial 0", "gain, 95% interval"] if baseline is not None else []
    return Table(caption, header, rows)


def draw_gains(axes: Axes, gains: Sequence[Gain]) -> None:
    """Draws the gains with their intervals against zero; grey if the interval holds zero."""
    for row, gain in enumerate(_scores(gains)):
        colour = canvas.VALIDATION if gain.is_clear else canvas.PALE
        axes.plot([gain.low, gain.high], [row, row], color=colour, linewidth=4, alpha=0.75, solid_capstyle="round")
        canvas.draw_points(axes, {str(gain): (gain.difference, row)}, color=colour, s=50)
        axes.annotate(signed(gain.difference), (gain.difference, row), (0, 8), textcoords="offset points",
                      ha="center", fontsize=9, color=canvas.INK)  # fmt: skip
    names = [metric_name(gain.metric) for gain in _scores(gains)]
    axes.axvline(0, color=canvas.INK, linewidth=1, zorder=0)
    _style_rows(axes, names, "winner minus baseline, held-out test")


def describe_gains(gains: Sequence[Gain]) -> str:
    """The gains in words."""
    each = (f"{metric_name(g.metric)} {signed(g.difference)}, {g.low:.3f} to {g.high:.3f}" for g in _scores(gains))
    return f"Gain over the baseline with 95% intervals: {'; '.join(each)}."


def _scores(gains: Sequence[Gain]) -> list[Gain]:
    """Without the cross-entropy, which has another unit."""
    return [gain for gain in gains if gain.metric != "loss"]


def draw_finalists(axes: Axes, finalists: Sequence[Finalist], objective: str) -> None:
    """Draws what each finalist reached with each seed and in the search, and the mean of the seeds."""
    for row, each in enumerate(finalists):
        name, is_first = f"trial {each.number}", row == 0
        again = {
            f"{name} again, seed {k}: {score(value)}": (value, row) for k, value in enumerate(each.values, start=1)
        }
        canvas.draw_points(axes, again, color=canvas.TRAIN, s=40, label="another seed" if is_first else "")
        axes.plot([each.mean] * 2, [row - 0.3, row + 0.3], color=canvas.VALIDATION, linewidth=2.2,
                  label="their mean" if is_first else "")  # fmt: skip
        if each.searched is not None:
            searched = {f"{name} in the search: {score(each.searched)}": (each.searched, row)}
            canvas.draw_points(axes, searched, s=60, facecolors="none", edgecolors=canvas.INK, linewidths=1.2,
                        label="in the search" if is_first else "")  # fmt: skip
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
