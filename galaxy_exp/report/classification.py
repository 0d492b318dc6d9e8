"""Figures of how a network classifies: the confusion matrix, reliability, and accuracy against coverage.

Reliability is whether probabilities mean what they say; coverage is how many images are kept, the most certain first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.evaluation.confidence import COVERAGES_SHOWN, Calibration
from galaxy_exp.evaluation.metrics import confusion_record
from galaxy_exp.report import canvas
from galaxy_exp.report.words import count, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "describe_coverage",
    "describe_reliability",
    "draw_coverage",
    "draw_reliability",
    "plot_confusion",
    "plot_coverage",
    "plot_reliability",
]

_GAP = 0.25
"""Between the matrix and its margins, in cells."""


def plot_confusion(matrix: NDArray[np.int64], class_names: Sequence[str], path: Path, title: str = "") -> Path:
    """Draws counts (n_classes, n_classes), true classes in rows, as a PNG; returns `path`.

    Cells are coloured by their share of the true class, with that share and the count. Completeness (recall) is at the
    right of each true class, purity (precision) under each predicted one.
    """
    record = confusion_record(matrix, class_names)
    side = 0.82 * (len(class_names) + 1 + _GAP)
    left, right, top, bottom = 1.75, 0.2, 1.5, 0.2
    width, height = max(left + side + right, 5.2), top + side + bottom
    figure = canvas.new_figure(width, height)
    axes = canvas.plain_axes(figure.add_axes((left / width, bottom / height, side / width, side / height)))
    _draw_cells(axes, record)
    _draw_margins(axes, record)
    _draw_names(axes, class_names)
    scores = (
        f"{record['n_images']:,} images   accuracy {record['accuracy']:.3f}   macro-F1 {record['macro_f1']:.3f}"
        f"   balanced accuracy {record['balanced_accuracy']:.3f}"
    )
    canvas.draw_headline(figure, title or "Confusion matrix", scores)
    return canvas.save_figure(figure, path)


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
        colour = "white" if shares[row, column] > 0.55 else canvas.INK
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
        axes.text(column + 0.5, row + 0.44, _percent(shares[row, column]), fontsize=10, **style)
        axes.text(column + 0.5, row + 0.75, f"{record['counts'][row][column]:,}", fontsize=7.5, **style)


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
            axes.text(x, y, text, ha="center", va="center", color=canvas.INK, fontsize=10, weight="bold")


def _draw_names(axes: Axes, class_names: Sequence[str]) -> None:
    last = len(class_names) + _GAP + 0.5
    above: dict[str, Any] = {"ha": "center", "va": "bottom"}
    beside: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8.5}
    for place, name in enumerate(class_names):
        short, long = canvas.name_class(name, 11, 4), canvas.name_class(name, 18, 3)
        axes.text(place + 0.5, -0.1, short, **above, fontsize=7.5, color=canvas.INK, linespacing=1.05)
        axes.text(-0.12, place + 0.5, long, **beside, color=canvas.INK)
    axes.text(last, -0.1, "complete-\nness", **above, fontsize=8, color=canvas.GREY, style="italic")
    axes.text(-0.12, last, "purity", **beside, color=canvas.GREY, style="italic")
    axes.text(-0.12, -0.1, "true ↓   predicted →", **beside | {"va": "bottom"}, color=canvas.GREY)


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def plot_reliability(
    before: Calibration, after: Calibration | None, temperature: float | None, path: Path, title: str = "Reliability"
) -> Path:
    """Draws accuracy against confidence as a PNG, as the network gives it and, if any, at its temperature.

    Returns `path`.
    """
    halves = [("as the network gives it", before, canvas.TRAIN)]
    if after is not None and temperature is not None:
        halves.append((f"at temperature {temperature:.2f}", after, canvas.VALIDATION))
    width, height = 4.1 * len(halves) + 0.3, 4.9
    figure = canvas.new_figure(width, height)
    for place, (name, each, colour) in enumerate(halves):
        left = (4.1 * place + 0.65) / width
        axes = figure.add_axes((left, 0.11, 3.3 / width, 3.3 / height))
        draw_reliability(axes, each, colour)
        axes.set_title(name, fontsize=10.5, color=canvas.INK, loc="left")
    errors = " and ".join(f"{each.error:.3f} {name}" for name, each, _ in halves)
    canvas.draw_headline(figure, title, f"expected calibration error {errors}")
    return canvas.save_figure(figure, path)


def draw_reliability(axes: Axes, found: Calibration, colour: str = canvas.TRAIN) -> None:
    """Draws accuracy against confidence; the area of a dot grows with its number of images."""
    axes.plot([0, 1], [0, 1], color=canvas.GREY, linestyle="--", linewidth=1)
    confidence, accuracy = [each.confidence for each in found.bins], [each.accuracy for each in found.bins]
    most = max(each.n_images for each in found.bins)
    axes.plot(confidence, accuracy, color=colour, linewidth=1.2)
    points = {
        f"{each.low:.1f} to {each.high:.1f}: {count(each.n_images, 'image')}, probability {each.confidence:.2f}, "
        f"right {each.accuracy:.2f}": (each.confidence, each.accuracy)
        for each in found.bins
    }
    sizes = [20 + 140 * each.n_images / most for each in found.bins]
    canvas.draw_points(axes, points, s=sizes, color=colour, linewidths=0)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    canvas.name_axes(axes, "probability of the predicted class", "share that is right")
    canvas.grid_axes(axes)


def describe_reliability(found: Calibration) -> str:
    """Accuracy by confidence, in words."""
    each = "; ".join(f"{bin_.confidence:.2f}: {bin_.accuracy:.2f}" for bin_ in found.bins)
    return f"Share of right predictions by their probability. {each}."


def plot_coverage(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "Accuracy and coverage") -> Path:
    """Draws the rows of `coverage_table` as a PNG; returns `path`."""
    figure = canvas.new_figure(6.2, 4.4)
    draw_coverage(figure.add_axes((0.13, 0.13, 0.83, 0.68)), rows)
    shares = "   ".join(
        f"{row['accuracy']:.3f} on {row['coverage']:.0%}" for row in rows if row["coverage"] in COVERAGES_SHOWN
    )
    canvas.draw_headline(figure, title, f"accuracy {shares}")
    return canvas.save_figure(figure, path)


def draw_coverage(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws accuracy against the share of images kept, with its intervals."""
    shown, points = sorted(rows, key=lambda row: row["coverage"]), {}
    for row in shown:
        title = f"{row['coverage']:.0%} kept, {count(row['n_images'], 'image')}: {score(row['accuracy'])}"
        points[title] = 100 * row["coverage"], row["accuracy"]
    shares, accuracies = zip(*points.values(), strict=True)
    lows, highs = zip(*(row["interval"] for row in shown), strict=True)
    axes.fill_between(shares, lows, highs, color=canvas.TRAIN, alpha=0.15, linewidth=0)
    axes.plot(shares, accuracies, color=canvas.TRAIN, linewidth=2)
    canvas.draw_points(axes, points, color=canvas.TRAIN, s=16, linewidths=0)
    axes.set_xlim(0, 103)
    axes.set_ylim(min(lows) - 0.02, 1.01)
    canvas.name_axes(axes, "images kept, the most confident first (%)", "accuracy on those")
    canvas.grid_axes(axes)


def describe_coverage(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy by the share of images kept, in words."""
    each = "; ".join(f"{row['coverage']:.0%}: {score(row['accuracy'])}" for row in rows)
    return f"Accuracy by the share of images kept. {each}."
