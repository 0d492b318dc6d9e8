"""Pictures of galaxies: a contact sheet of every class, and the images a network got wrong while being most sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.report import canvas
from galaxy_exp.report.words import count
from galaxy_exp.seeding import derive_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Mistake",
    "Sample",
    "find_mistakes",
    "pick_samples",
    "plot_captioned",
    "plot_contact_sheet",
    "plot_mistakes_gallery",
]

_TOP = 0.75
"""Height of the title, in inches."""

_SAMPLE = 0.95
"""Side of a picture of the contact sheet with its margin, in inches; the axes' unit."""
_NAMES = 1.75
"""Width of the column with the names, in inches."""

_COLUMNS = 6
_MISTAKE = 1.55
"""Side of a picture of the mistakes with its margin, in inches; the axes' unit."""
_CAPTION = 0.5
"""Height of the caption and the space under it, in these units."""


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

    The labels are integers (n_images,); images are chosen among all, or among those with some indices.
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
    """Draws some images of each class, a class a row, as a PNG; returns `path`.

    Args:
        images_uint8: (n_images, height, width, 3); may be memory-mapped, only the images drawn are read.
        samples: as `pick_samples` returns them.
        note: a line under the title, in grey.
        simulated: puts "SIMULATED galaxies" in front of the note, in colour.
    """
    columns = max(len(sample.indices) for sample in samples)
    width, height = max(_NAMES + columns * _SAMPLE + 0.15, 6.0), len(samples) * _SAMPLE + _TOP + 0.1
    figure = canvas.new_figure(width, height)
    words = ("SIMULATED galaxies. " if simulated else "") + note
    canvas.draw_headline(figure, title, words, canvas.VALIDATION if simulated else canvas.GREY)
    axes = canvas.plain_axes(figure.add_axes((0.0, 0.1 / height, 1.0, len(samples) * _SAMPLE / height)))
    for row, sample in enumerate(samples):
        _draw_row(axes, row, sample, images_uint8, class_names[sample.label])
    axes.set_xlim(0, width / _SAMPLE)
    axes.set_ylim(len(samples), 0)
    return canvas.save_figure(figure, path)


def _draw_row(axes: Axes, row: int, sample: Sample, images: NDArray[np.uint8], name: str) -> None:
    caption = canvas.name_class(name, 21, 3)
    text: dict[str, Any] = {"ha": "left", "va": "center"}
    axes.text(0.15 / _SAMPLE, row + 0.46, caption, fontsize=8.5, color=canvas.INK, linespacing=1.1, **text)
    below = row + 0.46 + 0.085 * (len(caption.splitlines()) + 1)
    axes.text(0.15 / _SAMPLE, below, count(sample.n_images, "image"), fontsize=7.5, color=canvas.GREY, **text)
    for column, index in enumerate(sample.indices):
        canvas.draw_image(axes, images[index], _NAMES / _SAMPLE + column, row, side=0.96)


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image that was taken for another class."""

    index: int
    """Position of the image in the set."""
    label: int
    prediction: int
    probability: float
    """Of the predicted class."""


def find_mistakes(labels: NDArray[Any], probabilities: NDArray[Any], n: int = 24) -> list[Mistake]:
    """The at most `n` wrong predictions with the highest probability, highest first, ties in the set's order.

    Of labels, integers (n_images,), and probabilities (n_images, n_classes).
    """
    predictions, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")[:n]].tolist()
    return [Mistake(i, int(labels[i]), int(predictions[i]), float(sure[i])) for i in chosen]


def plot_mistakes_gallery(
    images_uint8: NDArray[np.uint8],
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    class_names: Sequence[str],
    path: Path,
    n: int = 24,
) -> Path:
    """Draws the most confident mistakes with both classes, as a PNG, or that there are none; returns `path`.

    Arguments are as of `plot_captioned` and `find_mistakes`.
    """
    captions = [
        (each.index, class_names[each.label], f"→ {each.probability:.0%} {class_names[each.prediction]}")
        for each in find_mistakes(labels, probabilities, n)
    ]
    note = f"None: all {len(labels):,} images were classified correctly."
    if captions:
        n_wrong = int((probabilities.argmax(axis=1) != labels).sum())
        shown = f"{len(captions)} of {n_wrong:,} mistakes on {len(labels):,} images"
        note = f"{shown}: true class → probability, predicted class"
    return plot_captioned(images_uint8, captions, path, "Most confident mistakes", note)


def plot_captioned(
    images_uint8: NDArray[np.uint8], captions: Sequence[tuple[int, str, str]], path: Path, title: str, note: str
) -> Path:
    """Draws images with two texts under each, as a PNG; returns `path`.

    Args:
        images_uint8: (n_images, height, width, 3); may be memory-mapped, only the images drawn are read.
        captions: of each picture the index of its image, what is true, and what was predicted.
    """
    rows = math.ceil(len(captions) / _COLUMNS) * (1 + _CAPTION)
    width, height = _COLUMNS * _MISTAKE + 0.3, rows * _MISTAKE + _TOP if captions else 1.6
    figure = canvas.new_figure(width, height)
    canvas.draw_headline(figure, title, note)
    if captions:
        axes = canvas.plain_axes(figure.add_axes((0.15 / width, 0, _COLUMNS * _MISTAKE / width, 1 - _TOP / height)))
        for place, (index, true, predicted) in enumerate(captions):
            row, column = divmod(place, _COLUMNS)
            _draw_captioned(axes, images_uint8[index], true, predicted, column, row * (1 + _CAPTION))
        axes.set_xlim(0, _COLUMNS)
        axes.set_ylim(rows, 0)
    return canvas.save_figure(figure, path)


def _draw_captioned(axes: Axes, image: NDArray[np.uint8], true: str, predicted: str, left: float, top: float) -> None:
    canvas.draw_image(axes, np.asarray(image), left, top, side=0.94)
    true, predicted = canvas.name_class(true, 23, 2), canvas.name_class(predicted, 23, 2)
    caption: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": 7.5, "linespacing": 1.1}
    axes.text(left + 0.03, top + 1.02, true, color=canvas.INK, **caption)
    below = top + 1.04 + 0.088 * len(true.splitlines())
    axes.text(left + 0.03, below, predicted, color=canvas.VALIDATION, **caption)
