"""The reliability diagram: whether a network's probabilities mean what they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.evaluation.confidence import Calibration
from galaxy_exp.report.canvas import (
    GREY,
    INK,
    TRAIN,
    VALIDATION,
    draw_headline,
    draw_points,
    grid_axes,
    name_axes,
    new_figure,
    save_figure,
)
from galaxy_exp.report.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["describe_reliability", "draw_reliability", "plot_reliability"]


def plot_reliability(
    before: Calibration, after: Calibration | None, temperature: float | None, path: Path, title: str = "Reliability"
) -> Path:
    """Draws accuracy against confidence, as the network gives it and at its temperature, as a PNG.

    Args:
        before: of the network's probabilities.
        after: of the probabilities at `temperature`; None leaves that half out.
        temperature: see `galaxy_exp.evaluation.confidence`.
        path: the PNG to write.
        title: the headline, above the errors.

    Returns:
        `path`.
    """
    halves = [("as the network gives it", before, TRAIN)]
    if after is not None and temperature is not None:
        halves.append((f"at temperature {temperature:.2f}", after, VALIDATION))
    width, height = 4.1 * len(halves) + 0.3, 4.9
    figure = new_figure(width, height)
    for place, (name, each, colour) in enumerate(halves):
        left = (4.1 * place + 0.65) / width
        axes = figure.add_axes((left, 0.11, 3.3 / width, 3.3 / height))
        draw_reliability(axes, each, colour)
        axes.set_title(name, fontsize=10.5, color=INK, loc="left")
    errors = " and ".join(f"{each.error:.3f} {name}" for name, each, _ in halves)
    draw_headline(figure, title, f"expected calibration error {errors}")
    return save_figure(figure, path)


def draw_reliability(axes: Axes, found: Calibration, colour: str = TRAIN) -> None:
    """Draws accuracy against confidence; the area of a dot grows with its number of images."""
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    confidence, accuracy = [each.confidence for each in found.bins], [each.accuracy for each in found.bins]
    most = max(each.n_images for each in found.bins)
    axes.plot(confidence, accuracy, color=colour, linewidth=1.2)
    points = {
        f"{each.low:.1f} to {each.high:.1f}: {count(each.n_images, 'image')}, probability {each.confidence:.2f}, "
        f"right {each.accuracy:.2f}": (each.confidence, each.accuracy)
        for each in found.bins
    }
    sizes = [20 + 140 * each.n_images / most for each in found.bins]
    draw_points(axes, points, s=sizes, color=colour, linewidths=0)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    name_axes(axes, "probability of the predicted class", "share that is right")
    grid_axes(axes)


def describe_reliability(found: Calibration) -> str:
    """Accuracy by confidence, in words."""
    each = "; ".join(f"{bin_.confidence:.2f}: {bin_.accuracy:.2f}" for bin_ in found.bins)
    return f"Share of right predictions by their probability. {each}."
