"""What figures and the report page show of votes: predicted against observed fractions, and where they differ most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from galaxy_exp.evaluation.vote_metrics import compare_fractions, image_deviances
from galaxy_exp.questions import Votes
from galaxy_exp.report import canvas
from galaxy_exp.report.galleries import plot_captioned
from galaxy_exp.report.html import Table
from galaxy_exp.report.words import count, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.report.material import Material, VoteMaterial

__all__ = [
    "Difference",
    "collect_votes",
    "describe_fractions",
    "draw_fractions",
    "find_differences",
    "plot_differences",
    "plot_fractions",
]

_COLUMNS = 4
_SIDE = 2.9
"""Of a panel with its margins, in inches."""
_MOST_PANELS = 40
"""Answers that the report page draws; Galaxy Zoo DECaLS has 34."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A galaxy whose votes are not as predicted."""

    index: int
    """Position of the image in the set."""
    deviance: float
    answer: str
    """The answer whose fraction differs most, weighted by who got to its question."""
    observed: float
    predicted: float


def find_differences(votes: Votes, outputs: NDArray[Any], n: int = 24) -> list[Difference]:
    """The at most `n` images with the largest deviance, largest first, ties in the set's order.

    Images without votes are left out; outputs are (n_images, n_answers).
    """
    deviances = image_deviances(votes, outputs)
    known = np.flatnonzero(~np.isnan(deviances))
    chosen = known[np.argsort(-deviances[known], kind="stable")[:n]]
    observed, predicted, weights = compare_fractions(Votes(votes.questions, votes.values[chosen], votes.are_counts),
                                                     outputs[chosen])  # fmt: skip
    worst = (weights * np.abs(observed - predicted)).argmax(axis=1)
    found = []
    for row, (index, place) in enumerate(zip(chosen, worst, strict=True)):
        fractions = float(observed[row, place]), float(predicted[row, place])
        found.append(Difference(int(index), float(deviances[index]), votes.questions.answers[place], *fractions))
    return found


def plot_differences(images_uint8: NDArray[np.uint8], votes: Votes, outputs: NDArray[Any], path: Path) -> Path:
    """Draws the galaxies whose votes differ most from what was predicted, as a PNG; returns `path`.

    Arguments are as of `plot_captioned` and `find_differences`.
    """
    found = find_differences(votes, outputs)
    captions = [
        (each.index, f"{each.observed:.0%} {each.answer}", f"→ {each.predicted:.0%} predicted") for each in found
    ]
    shown = f"{len(found)} of {count(len(votes), 'image')}"
    note = f"{shown}, by deviance: the answer that differs most, observed → predicted"
    return plot_captioned(images_uint8, captions, path, "Where votes and prediction differ most", note)


def plot_fractions(votes: Mapping[str, Any], path: Path, title: str = "Fractions") -> Path:
    """Draws observed against predicted fractions, a panel for each answer, as a PNG; returns `path`.

    The votes have `answers`, as of `held_out_report.answer_records`.
    """
    answers = votes["answers"]
    columns, rows = min(_COLUMNS, len(answers)), math.ceil(len(answers) / _COLUMNS)
    width, height = columns * _SIDE + 0.3, rows * _SIDE + 0.8
    figure = canvas.new_figure(max(width, 5.0), height)
    for place, answer in enumerate(answers):
        row, column = divmod(place, columns)
        left, bottom = column * _SIDE + 0.6, height - 0.8 - (row + 1) * _SIDE + 0.5
        box = (left / figure.get_figwidth(), bottom / height, 2.1 / figure.get_figwidth(), 2.0 / height)
        axes = figure.add_axes(box)
        draw_fractions(axes, answer)
    canvas.draw_headline(figure, title, "mean observed fraction, with its 95% interval, against the predicted one")
    return canvas.save_figure(figure, path)


def draw_fractions(axes: Axes, answer: Mapping[str, Any]) -> None:
    """Draws the mean observed fraction of each bin of predicted ones, with its interval; larger dots: more images."""
    bins = answer["bins"]
    axes.plot([0, 1], [0, 1], color=canvas.GREY, linestyle="--", linewidth=1)
    if bins:
        places, lows, highs = ([each[name] for each in bins] for name in ("predicted", "low", "high"))
        axes.vlines(places, lows, highs, color=canvas.TRAIN, linewidth=1.4)
        most = max(each["n_images"] for each in bins)
        points = {
            f"bin {number}, {count(each['n_images'], 'image')}: predicted {each['predicted']:.2f}, "
            f"observed {each['observed']:.2f} ({each['low']:.2f} to {each['high']:.2f})": (
                each["predicted"],
                each["observed"],
            )
            for number, each in enumerate(bins, start=1)
        }
        sizes = [12 + 60 * each["n_images"] / most for each in bins]
        canvas.draw_points(axes, points, s=sizes, color=canvas.TRAIN, linewidths=0)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    canvas.name_axes(axes, "predicted", "observed")
    title = "\n".join(canvas.name_class(part, 34, 1) for part in answer["name"].split("."))  # question and answer
    axes.set_title(title, fontsize=9, color=canvas.INK, loc="left")
    canvas.grid_axes(axes)


def describe_fractions(answer: Mapping[str, Any]) -> str:
    """Observed by predicted fraction, in words."""
    each = "; ".join(f"{bin_['predicted']:.2f}: {bin_['observed']:.2f}" for bin_ in answer["bins"])
    return f"Observed fraction of {answer['name']} by the predicted one. {each or 'No votes'}."


def collect_votes(material: Material, votes: VoteMaterial) -> dict[str, Any]:
    """What the report page shows of votes.

    Returns:
        The `questions` in words, one line each, and the images that are `differing`, as `VoteMaterial` has them; of the
        report on the held-out test set, if there is one, the table `answers`, the figures `panels`, `n_agreed` and the
        `agreement` in percent.
    """
    shown = {"questions": list(map(str, votes.questions.items)), "differing": votes.differing, "answers": None}
    report = material.test
    if report is None or not report.get("votes"):
        return shown
    found = report["votes"]
    return shown | {
        "answers": _answers_table(material, found["answers"]),
        "panels": [_panel(place, answer) for place, answer in enumerate(found["answers"][:_MOST_PANELS])],
        "n_agreed": found["n_agreed"],
        "agreement": f"{100 * found['agreement']:g}%",
    }


def _panel(place: int, answer: Mapping[str, Any]) -> Markup:
    axes = canvas.new_axes(2.9, 3.0, left=0.65)
    return canvas.draw_panel(f"fractions-{place}", describe_fractions(answer), axes, draw_fractions, answer)


def _answers_table(material: Material, answers: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [each["name"], f"{each['n_images']:,}", *(score(each[name]) for name in ("observed", "predicted", "rmse"))]
        for each in answers
    ]
    header = ["answer", "galaxies", "mean fraction", "predicted", "RMSE"]
    return Table(f"Answers about the held-out {material.data.galaxies}", header, rows)
