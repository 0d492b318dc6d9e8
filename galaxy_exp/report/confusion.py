"""The confusion matrix as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.evaluation.metrics import confusion_record
from galaxy_exp.report.canvas import GREY, INK, draw_headline, name_class, new_figure, plain_axes, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_confusion"]

_GAP = 0.25
"""Between the matrix and its margins, in cells."""


def plot_confusion(matrix: NDArray[np.int64], class_names: Sequence[str], path: Path, title: str = "") -> Path:
    """Draws the matrix: cells coloured by their share of the true class, with that share and the count.

    Completeness (recall) is at the right of each true class, purity (precision) under each predicted one.

    Args:
        matrix: counts (n_classes, n_classes); rows are true classes, columns predicted ones.
        class_names: one per class; long ones are broken into lines.
        path: the PNG to write.
        title: the headline, above the scores.

    Returns:
        `path`.
    """
    record = confusion_record(matrix, class_names)
    side = 0.82 * (len(class_names) + 1 + _GAP)
    left, right, top, bottom = 1.75, 0.2, 1.5, 0.2
    width, height = max(left + side + right, 5.2), top + side + bottom
    figure = new_figure(width, height)
    axes = plain_axes(figure.add_axes((left / width, bottom / height, side / width, side / height)))
    _draw_cells(axes, record)
    _draw_margins(axes, record)
    _draw_names(axes, class_names)
    draw_headline(figure, title or "Confusion matrix", _scores(record))
    return save_figure(figure, path)


def _scores(record: dict[str, Any]) -> str:
    return (
        f"{record['n_images']:,} images   accuracy {record['accuracy']:.3f}   macro-F1 {record['macro_f1']:.3f}"
        f"   balanced accuracy {record['balanced_accuracy']:.3f}"
    )


def _draw_cells(axes: Axes, record: dict[str, Any]) -> None:
    shares = np.asarray(record["row_share"])
    n = len(shares)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, extent=(0, n, n, 0), interpolation="nearest")
    axes.set_xlim(0, n + _GAP + 1)
    axes.set_ylim(n + _GAP + 1, 0)
    grid = np.arange(n + 1)
    axes.vlines(grid, 0, n, color="white", linewidth=1.5)
    axes.hlines(grid, 0, n, color="white", linewidth=1.5)
    for row, column in zip(*np.nonzero(np.asarray(record["counts"])), strict=True):
        colour = "white" if shares[row, column] > 0.55 else INK
        axes.text(
            column + 0.5, row + 0.44, _percent(shares[row, column]), ha="center", va="center", color=colour, fontsize=10
        )
        count = f"{record['counts'][row][column]:,}"
        axes.text(column + 0.5, row + 0.75, count, ha="center", va="center", color=colour, fontsize=7.5)


def _draw_margins(axes: Axes, record: dict[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    n = len(record["class_names"])
    axes.add_patch(Rectangle((n + _GAP, 0), 1, n, color="#F2F2F2", linewidth=0))
    axes.add_patch(Rectangle((0, n + _GAP), n, 1, color="#F2F2F2", linewidth=0))
    for index in range(n):
        places = ((n + _GAP + 0.5, index + 0.5, "completeness"), (index + 0.5, n + _GAP + 0.5, "purity"))
        for x, y, name in places:
            value = record[name][index]
            text = "-" if value is None else _percent(value)
            axes.text(x, y, text, ha="center", va="center", color=INK, fontsize=10, weight="bold")


def _draw_names(axes: Axes, class_names: Sequence[str]) -> None:
    n = len(class_names)
    for index, name in enumerate(class_names):
        short = name_class(name, 11, 4)
        axes.text(index + 0.5, -0.1, short, ha="center", va="bottom", fontsize=7.5, color=INK, linespacing=1.05)
        axes.text(-0.12, index + 0.5, name_class(name, 18, 3), ha="right", va="center", fontsize=8.5, color=INK)
    axes.text(n + _GAP + 0.5, -0.1, "complete-\nness", ha="center", va="bottom", fontsize=8, color=GREY, style="italic")
    axes.text(-0.12, n + _GAP + 0.5, "purity", ha="right", va="center", fontsize=8.5, color=GREY, style="italic")
    axes.text(-0.12, -0.1, "true ↓   predicted →", ha="right", va="bottom", fontsize=8.5, color=GREY)


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"
