"""How accurate a network is on the images that it is most sure of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.report.canvas import TRAIN, draw_headline, draw_points, grid_axes, name_axes, new_figure, save_figure
from galaxy_exp.report.words import count, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TOLD", "coverage_table", "describe_coverage", "draw_coverage", "plot_coverage"]

SHARES = tuple(percent / 100 for percent in range(5, 101, 5))
TOLD = (1.0, 0.9, 0.8, 0.5)
"""The shares that texts and tables name."""
_Z = 1.959964
"""95% of a normal distribution lie within so many standard deviations."""


def coverage_table(labels: NDArray[Any], probabilities: NDArray[Any]) -> list[dict[str, Any]]:
    """The accuracy on the most confident share of the images, share by share from all of them down to 5%.

    Confidence is the probability of the predicted class; of equally confident images the earlier is kept.

    Args:
        labels: integers (n,), n above 0.
        probabilities: (n, n_classes).

    Returns:
        Rows with `coverage` (share kept), `n_images`, `confidence` (the least of those kept), `accuracy`, and
        `interval`, the 95% interval of Wilson (1927), which says something also where no image is wrong.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    rows = []
    for share in reversed(SHARES):
        n_images = max(1, math.ceil(share * len(labels) - 1e-9))
        n_right = int(right[n_images - 1])
        rows.append(
            {
                "coverage": share,
                "n_images": n_images,
                "confidence": float(confidence[order[n_images - 1]]),
                "accuracy": n_right / n_images,
                "interval": list(_wilson(n_right, n_images)),
            }
        )
    return rows


def plot_coverage(rows: Sequence[Mapping[str, Any]], path: Path, title: str = "Accuracy and coverage") -> Path:
    """Draws the rows of `coverage_table` as a PNG; returns `path`."""
    figure = new_figure(6.2, 4.4)
    draw_coverage(figure.add_axes((0.13, 0.13, 0.83, 0.68)), rows)
    shares = "   ".join(f"{row['accuracy']:.3f} on {row['coverage']:.0%}" for row in rows if row["coverage"] in TOLD)
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


def _wilson(n_right: int, n_images: int) -> tuple[float, float]:
    share, spread = n_right / n_images, _Z**2 / n_images
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
