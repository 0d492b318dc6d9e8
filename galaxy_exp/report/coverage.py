"""How accurate a network is on the images that it is most sure of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN
from galaxy_exp.report.canvas import TRAIN, draw_headline, draw_points, grid_axes, name_axes, new_figure, save_figure
from galaxy_exp.report.words import count, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["describe_coverage", "draw_coverage", "plot_coverage"]


def plot_coverage(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "Accuracy and coverage") -> Path:
    """Draws the rows of `coverage_table` as a PNG; returns `path`."""
    figure = new_figure(6.2, 4.4)
    draw_coverage(figure.add_axes((0.13, 0.13, 0.83, 0.68)), rows)
    shares = "   ".join(
        f"{row['accuracy']:.3f} on {row['coverage']:.0%}" for row in rows if row["coverage"] in COVERAGES_SHOWN
    )
    draw_headline(figure, title, f"accuracy {shares}")
    return save_figure(figure, path)


def draw_coverage(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws accuracy against the share of images kept, with its intervals."""
    shown = sorted(rows, key=lambda row: row["coverage"])
    points = {
        f"{row['coverage']:.0%} kept, {count(row['n_images'], 'image')}: {score(row['accuracy'])}": (
            100 * row["coverage"],
            row["accuracy"],
        )
        for row in shown
    }
    shares, accuracies = zip(*points.values(), strict=True)
    lows, highs = zip(*(row["interval"] for row in shown), strict=True)
    axes.fill_between(shares, lows, highs, color=TRAIN, alpha=0.15, linewidth=0)
    axes.plot(shares, accuracies, color=TRAIN, linewidth=2)
    draw_points(axes, points, color=TRAIN, s=16, linewidths=0)
    axes.set_xlim(0, 103)
    axes.set_ylim(min(lows) - 0.02, 1.01)
    name_axes(axes, "images kept, the most confident first (%)", "accuracy on those")
    grid_axes(axes)


def describe_coverage(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy by the share of images kept, in words."""
    each = "; ".join(f"{row['coverage']:.0%}: {score(row['accuracy'])}" for row in rows)
    return f"Accuracy by the share of images kept. {each}."
