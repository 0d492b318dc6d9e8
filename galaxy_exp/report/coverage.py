"""How accurate a network is on the images that it is most sure of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN
from galaxy_exp.report.canvas import TRAIN, draw_headline, grid_axes, new_figure, save_figure

__all__ = ["plot_coverage"]


def plot_coverage(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "Accuracy and coverage") -> Path:
    """Draws the rows of `coverage_table` as a PNG; returns `path`."""
    shown = sorted(rows, key=lambda row: row["coverage"])
    shares = [100 * row["coverage"] for row in shown]
    figure = new_figure(6.2, 4.4)
    axes = grid_axes(figure.add_axes((0.11, 0.13, 0.85, 0.68)))
    lows, highs = zip(*(row["interval"] for row in shown), strict=True)
    axes.fill_between(shares, lows, highs, color=TRAIN, alpha=0.15, linewidth=0)
    axes.plot(shares, [row["accuracy"] for row in shown], color=TRAIN, linewidth=2, marker="o", markersize=3.5)
    axes.set_xlim(0, 103)
    axes.set_ylim(min(lows) - 0.02, 1.01)
    axes.set_xlabel("images kept, the most confident first (%)", fontsize=9.5)
    axes.set_ylabel("accuracy on those", fontsize=9.5)
    told = "   ".join(
        f"{row['accuracy']:.3f} on {row['coverage']:.0%}" for row in rows if row["coverage"] in COVERAGES_SHOWN
    )
    draw_headline(figure, title, f"accuracy {told}")
    return save_figure(figure, path)
