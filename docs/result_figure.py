"""Draws docs/result.png from the files of a finished sweep: its trials, and the held-out test of winner and baseline.

python docs/result_figure.py .galaxy_exp/sweeps/quickstart-20261129-213304 -o docs/result.png

The figure of the README is of the quickstart (--title quickstart). It shows scores only, no images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.evaluation import metrics
from galaxy_exp.evaluation.metrics import per_class_table
from galaxy_exp.evaluation.resampling import bootstrap_intervals
from galaxy_exp.journal.journal import read_record
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.report.canvas import GREY, INK, TRAIN, draw_headline, new_figure

Row = tuple[str, float, float, float]
"""Name, value, and the ends of its 95% interval."""

OVERALL = {"accuracy": "accuracy", "macro_f1": "macro-F1", "balanced_accuracy": "balanced accuracy"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the figure; returns the exit code."""
    parser = argparse.ArgumentParser(description="A figure of a finished sweep: its trials, and its held-out test.")
    parser.add_argument("sweep", type=Path, help="folder of the sweep, .galaxy_exp/sweeps/ID")
    parser.add_argument("-o", "--output", type=Path, default=Path("result.png"), help="PNG (result.png)")
    parser.add_argument("--title", default="", help="headline; left out: the sweep's id")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="other names of the classes, in label order")
    parsed = parser.parse_args(arguments)
    record = read_record(parsed.sweep)
    if record.winner is None or 0 not in record.test_reports or record.winner == 0:
        print(f"{parsed.sweep}: no held-out test of a winner and a baseline", file=sys.stderr)
        return 2
    prepared = PreparedData.load(_data_folder(parsed.sweep, record))
    labels = np.load(prepared.held_out.labels, allow_pickle=False)
    names = parsed.classes or list(prepared.class_names)
    tested = {number: score_rows(labels, _probabilities(parsed.sweep, number), names) for number in (record.winner, 0)}
    draw(record, tested, parsed.title or record.sweep_id, prepared.simulated, parsed.output)
    print(parsed.output)
    return 0


def _data_folder(sweep: Path, record: SweepRecord) -> Path:
    """Where the sweep had its images, or beside it if the project was moved."""
    place = Path(record.started.data_folder)
    return place if place.exists() else sweep.resolve().parent.parent / "data" / place.name


def _probabilities(sweep: Path, number: int) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(
        sweep / "trials" / f"{number:04d}" / "test_probabilities.npy", allow_pickle=False
    )
    return found


def score_rows(labels: NDArray[Any], probabilities: NDArray[np.float32], class_names: Sequence[str]) -> list[Row]:
    """The overall scores, then the completeness of each class, each with its interval of the bootstrap."""
    intervals = bootstrap_intervals(labels, probabilities)
    matrix = metrics.confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    rows = [(title, getattr(metrics, name)(matrix), *intervals.overall[name]) for name, title in OVERALL.items()]
    for record, ends in zip(
        per_class_table(labels, probabilities, class_names), intervals.per_class["completeness"], strict=True
    ):
        if ends is not None:
            rows.append((f"{record['class']} ({record['images']})", record["completeness"], *ends))
    return rows


def draw(record: SweepRecord, tested: dict[int, list[Row]], title: str, simulated: bool, path: Path) -> None:
    """Left the trials in their order, right the held-out test of the winner (blue) and the baseline (grey)."""
    winner = record.winner
    assert winner is not None
    figure = new_figure(11, 4.4)
    n_images = record.test_reports[winner]["n_images"]
    simulated_note = ", SIMULATED galaxies" if simulated else ""
    draw_headline(
        figure, title, f"a sweep of {len(record.searched)} trials; {n_images} held-out test images{simulated_note}"
    )
    _draw_trials(figure.add_axes((0.06, 0.13, 0.32, 0.66)), record)
    _draw_test(figure.add_axes((0.60, 0.13, 0.37, 0.66)), tested, winner)
    figure.savefig(path)


def _draw_trials(axes: Any, record: SweepRecord) -> None:
    trials = [trial for trial in record.searched if trial.result is not None]
    scores = [(trial.number, trial.objective_value(record.objective), trial.result.epochs) for trial in trials]
    points = [(number, value, epochs) for number, value, epochs in scores if value is not None]
    whole = record.config.training.epochs
    for number, value, epochs in points:
        colour = GREY if number == 0 else TRAIN
        axes.plot(number, value, "o", color=colour, mfc=colour if epochs == whole else "white", ms=7)
    best = np.maximum.accumulate([value for _, value, _ in points])
    axes.step([number for number, _, _ in points], best, where="post", color=TRAIN, lw=1, alpha=0.5)
    axes.set_title("the search, on validation images", fontsize=10.5, color=INK, loc="left")
    axes.set_xlabel("trial (0 is the baseline; hollow: paused or stopped early)", fontsize=9, color=INK)
    name = record.objective.name.removeprefix("val_")
    axes.set_ylabel(OVERALL.get(name, name), fontsize=9, color=INK)
    _plain(axes)


def _draw_test(axes: Any, tested: dict[int, list[Row]], winner: int) -> None:
    rows = len(tested[0])
    for number, colour, shift, name in ((winner, TRAIN, -0.16, "winner"), (0, GREY, 0.16, "baseline")):
        for index, (_, value, low, high) in enumerate(tested[number]):
            place = index + (0.6 if index >= len(OVERALL) else 0) + shift
            axes.plot([low, high], [place, place], color=colour, lw=2, alpha=0.6, solid_capstyle="butt", clip_on=False)
            axes.plot(value, place, "o", color=colour, ms=6, label=name if index == 0 else None, clip_on=False)
    places = [index + (0.6 if index >= len(OVERALL) else 0) for index in range(rows)]
    axes.set_yticks(places, [row[0] for row in tested[0]], fontsize=9, color=INK)
    axes.axhline(len(OVERALL) - 0.2, color="#dddddd", lw=1)
    axes.set_ylim(rows + 0.2, -0.6)
    axes.set_xlim(0, 1)
    axes.set_title("held-out test, 95% intervals", fontsize=10.5, color=INK, loc="left")
    axes.set_xlabel("score; below the line: completeness by class (images)", fontsize=9, color=INK)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=2,
        fontsize=9,
        frameon=False,
        borderaxespad=0,
        columnspacing=1,
    )
    _plain(axes)
    axes.grid(axis="x", color="#eeeeee")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK, length=3)
    axes.set_axisbelow(True)


if __name__ == "__main__":
    sys.exit(main())
