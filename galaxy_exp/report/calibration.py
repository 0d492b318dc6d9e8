"""The reliability diagram: whether a network's probabilities mean what they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.evaluation.confidence import Calibration
from galaxy_exp.report.canvas import GREY, TRAIN, VALIDATION, draw_headline, grid_axes, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_reliability"]


def plot_reliability(
    before: Calibration, after: Calibration | None, temperature: float | None, path: Path, title: str = "Reliability"
) -> Path:
    """Draws accuracy against confidence, as the network gives it and at its temperature, as a PNG.

    Args:
        before: of the network's own probabilities.
        after: of the probabilities at `temperature`; None leaves that half out.
        temperature: see `galaxy_exp.evaluation.confidence`.
        path: the PNG to write.
        title: stands above the errors.

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
        _draw_half(figure.add_axes((left, 0.11, 3.3 / width, 3.3 / height)), name, each, colour)
    errors = " and ".join(f"{each.error:.3f} {name}" for name, each, _ in halves)
    draw_headline(figure, title, f"expected calibration error {errors}")
    return save_figure(figure, path)


def _draw_half(axes: Axes, name: str, found: Calibration, colour: str) -> None:
    grid_axes(axes)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    confidence, accuracy = [each.confidence for each in found.bins], [each.accuracy for each in found.bins]
    most = max(each.n_images for each in found.bins)
    axes.plot(confidence, accuracy, color=colour, linewidth=1.2)
    axes.scatter(confidence, accuracy, s=[20 + 140 * each.n_images / most for each in found.bins], color=colour)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_title(name, fontsize=10.5, loc="left")
    axes.set_xlabel("probability of the predicted class", fontsize=9.5)
    axes.set_ylabel("share that is right", fontsize=9.5)
