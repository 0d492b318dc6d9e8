"""The images a network got wrong while being most sure of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.report.canvas import INK, VALIDATION, draw_headline, name_class, new_figure, plain_axes, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Mistake", "find_mistakes", "plot_mistakes_gallery"]

_COLUMNS = 6
_TILE = 1.55
"""Width of a picture and its margin, in inches; the axes' unit is one tile."""
_CAPTION = 0.5
"""Height of the caption and the space under it, in tiles."""
_LINE = 0.088
"""Height of a caption's line, in tiles."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image that was taken for another class."""

    index: int
    """Position of the image in the set."""
    label: int
    prediction: int
    probability: float
    """Of the predicted class."""


def find_mistakes(labels: NDArray[Any], probabilities: NDArray[Any], n: int = 24) -> list[Mistake]:
    """The at most `n` wrong predictions with the highest probability, highest first, ties in the set's order.

    Args:
        labels: integers (n_images,).
        probabilities: (n_images, n_classes).
    """
    predictions = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    sure = probabilities[wrong, predictions[wrong]]
    chosen = wrong[np.argsort(-sure, kind="stable")[:n]]
    return [
        Mistake(
            int(index), int(labels[index]), int(predictions[index]), float(probabilities[index, predictions[index]])
        )
        for index in chosen
    ]


def plot_mistakes_gallery(
    images_uint8: NDArray[np.uint8],
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    class_names: Sequence[str],
    path: Path,
    n: int = 24,
) -> Path:
    """Draws the most confident mistakes: the image, its true class, the predicted one and its probability.

    Args:
        images_uint8: (n_images, height, width, 3); may be memory-mapped, only the images drawn are read.
        labels: integers (n_images,).
        probabilities: (n_images, n_classes).
        class_names: one per class.
        path: the PNG to write.
        n: how many at most.

    Returns:
        `path`. Without any mistake the figure says so.
    """
    mistakes = find_mistakes(labels, probabilities, n)
    n_wrong = int((probabilities.argmax(axis=1) != labels).sum())
    columns, rows = _COLUMNS, max(1, math.ceil(len(mistakes) / _COLUMNS))
    top = 0.75
    width, height = columns * _TILE + 0.3, rows * (1 + _CAPTION) * _TILE + top
    figure = new_figure(width, height if mistakes else 1.6)
    height = figure.get_figheight()
    draw_headline(figure, "Most confident mistakes", _summary(len(mistakes), n_wrong, len(labels)))
    if mistakes:
        axes = plain_axes(figure.add_axes((0.15 / width, 0, columns * _TILE / width, 1 - top / height)))
        _draw_tiles(axes, mistakes, images_uint8, class_names, columns, rows)
    return save_figure(figure, path)


def _summary(n_shown: int, n_wrong: int, n_images: int) -> str:
    if not n_wrong:
        return f"None: all {n_images:,} images were classified correctly."
    return f"{n_shown} of {n_wrong:,} mistakes on {n_images:,} images: true class → probability, predicted class"


def _draw_tiles(
    axes: Axes,
    mistakes: Sequence[Mistake],
    images: NDArray[np.uint8],
    class_names: Sequence[str],
    columns: int,
    rows: int,
) -> None:
    for place, mistake in enumerate(mistakes):
        row, column = divmod(place, columns)
        _draw_tile(axes, mistake, np.asarray(images[mistake.index]), class_names, column, row * (1 + _CAPTION))
    axes.set_xlim(0, columns)
    axes.set_ylim(rows * (1 + _CAPTION), 0)
    axes.set_aspect("auto")


def _draw_tile(
    axes: Axes, mistake: Mistake, image: NDArray[np.uint8], class_names: Sequence[str], left: float, top: float
) -> None:
    half = np.array(image.shape[:2]) / max(image.shape[:2]) * 0.47
    x, y = left + 0.5, top + 0.5
    extent = (x - half[1], x + half[1], y + half[0], y - half[0])
    axes.imshow(image, extent=extent, interpolation="bilinear")
    true = name_class(class_names[mistake.label], 23, 2)
    predicted = name_class(f"→ {mistake.probability:.0%} {class_names[mistake.prediction]}", 23, 2)
    caption: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": 7.5, "linespacing": 1.1}
    axes.text(left + 0.03, top + 1.02, true, color=INK, **caption)
    axes.text(left + 0.03, top + 1.04 + _LINE * len(true.splitlines()), predicted, color=VALIDATION, **caption)
