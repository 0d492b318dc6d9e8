"""A contact sheet: some images of every class, one class a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.report.canvas import (
    GREY,
    INK,
    VALIDATION,
    draw_headline,
    name_class,
    new_figure,
    plain_axes,
    save_figure,
)
from galaxy_exp.seeding import derive_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Sample", "pick_samples", "plot_contact_sheet"]

_TILE = 0.95
"""Width and height of a picture with its margin, in inches; the axes' unit is one tile."""
_NAMES = 1.75
"""Width of the column with the names, in inches."""
_TOP = 0.75
"""Height of the title, in inches."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The images drawn of one class."""

    label: int
    n_images: int
    """How many there are to choose from."""
    indices: tuple[int, ...]


def pick_samples(
    labels: NDArray[Any], n_classes: int, per_class: int, seed: int, among: NDArray[np.int64] | None = None
) -> list[Sample]:
    """At most `per_class` images of each class at random, in the set's order; the same seed picks the same.

    Args:
        labels: integers (n_images,).
        among: indices of the images to choose from; None: all.
    """
    candidates = np.arange(len(labels)) if among is None else among
    samples = []
    for label in range(n_classes):
        members = candidates[labels[candidates] == label]
        rng = np.random.default_rng(derive_seed(seed, "contact sheet", label))
        chosen = sorted(rng.permutation(members)[:per_class].tolist())
        samples.append(Sample(label, len(members), tuple(chosen)))
    return samples


def plot_contact_sheet(
    images_uint8: NDArray[np.uint8],
    samples: Sequence[Sample],
    class_names: Sequence[str],
    path: Path,
    *,
    title: str,
    note: str = "",
    simulated: bool = False,
) -> Path:
    """Draws some images of each class, a class a row.

    Args:
        images_uint8: (n_images, height, width, 3); may be memory-mapped, only the images drawn are read.
        samples: as `pick_samples` gives them.
        class_names: one per class.
        path: the PNG to write.
        title: what the images are.
        note: a line under the title, in grey.
        simulated: says so, in colour, in front of the note.

    Returns:
        `path`.
    """
    columns = max(len(sample.indices) for sample in samples)
    width, height = _NAMES + columns * _TILE + 0.15, len(samples) * _TILE + _TOP + 0.1
    figure = new_figure(max(width, 6.0), height)
    width = figure.get_figwidth()
    words = ("SIMULATED galaxies. " if simulated else "") + note
    draw_headline(figure, title, words, VALIDATION if simulated else GREY)
    extent = (0.0, 0.1 / height, 1.0, len(samples) * _TILE / height)
    axes = plain_axes(figure.add_axes(extent))
    axes.set_xlim(0, width / _TILE)
    axes.set_ylim(len(samples), 0)
    for row, sample in enumerate(samples):
        _draw_row(axes, row, sample, images_uint8, class_names[sample.label])
    return save_figure(figure, path)


def _draw_row(axes: Axes, row: int, sample: Sample, images: NDArray[np.uint8], name: str) -> None:
    count = f"{sample.n_images:,} image{'' if sample.n_images == 1 else 's'}"
    caption = name_class(name, 21, 3)
    axes.text(0.15 / _TILE, row + 0.46, caption, ha="left", va="center", fontsize=8.5, color=INK, linespacing=1.1)
    below = row + 0.46 + 0.085 * (len(caption.splitlines()) + 1)
    axes.text(0.15 / _TILE, below, count, ha="left", va="center", fontsize=7.5, color=GREY)
    for column, index in enumerate(sample.indices):
        _draw_tile(axes, _NAMES / _TILE + column, row, images[index])


def _draw_tile(axes: Axes, left: float, top: float, image: NDArray[np.uint8]) -> None:
    half = np.array(image.shape[:2]) / max(image.shape[:2]) * 0.48
    x, y = left + 0.5, top + 0.5
    extent = (x - half[1], x + half[1], y + half[0], y - half[0])
    axes.imshow(image, extent=extent, interpolation="bilinear", aspect="auto")
