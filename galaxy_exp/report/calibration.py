"""Whether a network's probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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

__all__ = ["Bin", "Calibration", "describe_reliability", "draw_reliability", "measure_calibration", "plot_reliability"]

N_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose predicted class has a probability within some range."""

    low: float
    high: float
    n_images: int
    confidence: float
    """Mean probability of the predicted class."""
    accuracy: float
    """Share that is right."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability by probability of the predicted class."""

    bins: tuple[Bin, ...]
    """From low to high; those without images are left out."""
    error: float
    """Expected calibration error: the mean of |accuracy - confidence| over the images, bin by bin."""
    mean_confidence: float
    accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """Numbers, lists and dictionaries only."""
        return asdict(self) | {"bins": [asdict(each) for each in self.bins]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`; other keys are left aside."""
        bins = tuple(Bin(**each) for each in record["bins"])
        return cls(bins, record["error"], record["mean_confidence"], record["accuracy"])


def measure_calibration(labels: NDArray[Any], probabilities: NDArray[Any]) -> Calibration:
    """Expected calibration error in ten bins of equal width (Guo et al. 2017, ICML, section 2).

    Args:
        labels: integers (n,), n above 0.
        probabilities: (n, n_classes).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    places = np.clip(np.ceil(confidence * N_BINS).astype(int) - 1, 0, N_BINS - 1)
    bins = []
    for place in np.unique(places).tolist():
        inside = places == place
        mean, share = float(confidence[inside].mean()), float(right[inside].mean())
        bins.append(Bin(place / N_BINS, (place + 1) / N_BINS, int(inside.sum()), mean, share))
    error = sum(each.n_images * abs(each.accuracy - each.confidence) for each in bins) / len(labels)
    return Calibration(tuple(bins), error, float(confidence.mean()), float(right.mean()))


def plot_reliability(
    before: Calibration, after: Calibration | None, temperature: float | None, path: Path, title: str = "Reliability"
) -> Path:
    """Draws accuracy against confidence, as the network gives it and at its temperature, as a PNG.

    Args:
        before: of the network's probabilities.
        after: of the probabilities at `temperature`; None leaves that half out.
        temperature: see `galaxy_exp.registry.temperature`.
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
        f"{count(each.n_images, 'image')}: probability {each.confidence:.2f}, right {each.accuracy:.2f}": (
            each.confidence,
            each.accuracy,
        )
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
