"""The score of each trial in the order they were proposed, and the best so far."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.records import TrialState
from galaxy_exp.report.canvas import GREY, INK, TRAIN, VALIDATION, draw_headline, grid_axes, new_figure, save_figure
from galaxy_exp.report.insight.axes import score_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import SweepRecord

__all__ = ["History", "collect_history", "is_wide", "plot_history"]


@dataclass(frozen=True, slots=True)
class History:
    """Trials by number."""

    objective: str
    completed: dict[int, float]
    stopped: dict[int, float]
    """With what they reached."""
    failed: list[int]
    """Without a model: failed, lost or infeasible."""
    settled: dict[int, float]
    """The baseline and enqueued configurations, which are among the others, too."""
    best: dict[int, float]
    """The best score up to each trial."""

    @property
    def scores(self) -> list[float]:
        """Of all trials that have one."""
        return [*self.completed.values(), *self.stopped.values()]


def collect_history(record: SweepRecord) -> History:
    """All finished trials of the search."""
    completed: dict[int, float] = {}
    stopped: dict[int, float] = {}
    failed: list[int] = []
    best: dict[int, float] = {}
    leading = record.objective.worst
    for trial in record.searched:
        score = score_of(record, trial)
        if trial.result is None:
            continue
        if score is None:
            failed.append(trial.number)
            continue
        (stopped if trial.state is TrialState.STOPPED else completed)[trial.number] = score
        leading = score if record.objective.is_better(score, leading) else leading
        best[trial.number] = leading
    settled = {trial.number for trial in record.searched if trial.predetermined}
    scores = completed | stopped
    return History(
        record.objective.name, completed, stopped, failed, {n: scores[n] for n in sorted(settled & set(scores))}, best
    )


def is_wide(values: list[float]) -> bool:
    """Whether positive values span so much that a linear axis would hide the small ones.

    Not where the largest lies between 0.1 and 1: that is a share, such as an accuracy, whose small values say little.
    """
    if not values or min(values) <= 0 or 0.1 < max(values) <= 1:
        return False
    return max(values) / min(values) > 30


def plot_history(history: History, path: Path) -> Path:
    """Draws the trials as dots and the best so far as a line; trials without a score are marked at the bottom."""
    figure = new_figure(8.4, 4.4)
    draw_headline(figure, _headline(history))
    axes = figure.add_axes((0.085, 0.13, 0.9, 0.68))
    _draw(axes, history)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="upper left", ncols=5, frameon=False, fontsize=9, bbox_to_anchor=(0.075, 0.9))
    return save_figure(figure, path)


def _headline(history: History) -> str:
    if not history.best:
        return f"no trial has a score ({len(history.failed)} failed)"
    number = next(trial for trial, score in history.best.items() if score == list(history.best.values())[-1])
    return f"Best {history.objective} {history.best[number]:.4g}, found by trial {number}"


def _draw(axes: Axes, history: History) -> None:
    from matplotlib.ticker import MaxNLocator

    if history.best:
        axes.step(list(history.best), list(history.best.values()), where="post", color=VALIDATION, linewidth=1.8,
                  label="best so far")  # fmt: skip
    for scores, colour, name in (
        (history.completed, TRAIN, "all epochs"),
        (history.stopped, "#9DB8CC", "stopped early"),
    ):
        if scores:
            axes.plot(list(scores), list(scores.values()), "o", color=colour, markersize=5, label=name, linestyle="")
    if history.settled:
        axes.plot(list(history.settled), list(history.settled.values()), "o", markersize=11, fillstyle="none",
                  color=INK, markeredgewidth=1.2, label="baseline or enqueued")  # fmt: skip
    if history.failed:
        axes.plot(history.failed, [0.02] * len(history.failed), "x", color=VALIDATION, markersize=6, clip_on=False,
                  transform=axes.get_xaxis_transform(), label="without a model")  # fmt: skip
    if not history.best:
        axes.set_yticks([])
    if is_wide(history.scores):
        axes.set_yscale("log")
    axes.set_ylabel(history.objective, color=GREY)
    axes.set_xlabel("trial", color=GREY)
    last = max([*history.best, *history.failed, 1])
    axes.set_xlim(-0.02 * last - 0.5, last * 1.02 + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    grid_axes(axes)
