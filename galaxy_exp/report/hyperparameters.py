"""Trials across the hyperparameters that varied: all at once as parallel coordinates, and one at a time as slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from galaxy_exp.records import Objective, TrialState
from galaxy_exp.report import canvas
from galaxy_exp.report.axes import Axis, axes_of, is_wide, offset, scored_trials, tick_values
from galaxy_exp.report.words import axis_value, count, plain_value, score, validation_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from galaxy_exp.journal.record import SweepRecord

__all__ = [
    "NOT_ACTIVE",
    "Column",
    "Parallel",
    "Slice",
    "collect_parallel",
    "collect_slices",
    "draw_slice",
    "plot_parallel",
    "plot_slices",
]

NOT_ACTIVE = -0.14
"""Where a line runs in a column in which the trial has no value: below the axis."""

_MOST_LINES = 300
"""More lines than this cover each other and make a page large."""

_SPREAD = 0.05
"""Lines through the same choice are this far apart at most."""

_SLICE_COLUMNS = 4
_MOST_TICKS = 5
_MOST_LETTERS = 24
"""Of the choices of a slice in one line."""


@dataclass(frozen=True, slots=True)
class Column:
    """One axis of the parallel coordinates."""

    name: str
    positions: list[float]
    """Of each trial, 0 to 1 (choices spread out a little), or `NOT_ACTIVE`."""
    ticks: dict[float, str]
    """Text by position."""
    best: str = ""
    """The best trial's value."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Trials from worst to best."""

    trials: list[int]
    columns: list[Column]
    """The hyperparameters that varied, as declared."""
    score: Column
    """The objective."""
    n_compared: int
    """How many trials can be compared; `trials` are the best of them."""

    def select(self, order: Sequence[str], at_most: int) -> Parallel:
        """The same trials across at most so many hyperparameters, those named in `order` first."""
        rank = {name: place for place, name in enumerate(order)}
        columns = sorted(self.columns, key=lambda column: rank.get(column.name, len(rank)))
        return replace(self, columns=columns[:at_most])

    @property
    def description(self) -> str:
        """In words."""
        names = ", ".join(column.name for column in self.columns)
        best = ", ".join(f"{column.name} {column.best}" for column in self.columns)
        return (
            f"{count(len(self.trials), 'trial')} as lines across {names} and {validation_name(self.score.name)}. "
            f"The best, trial {self.trials[-1]}: {best}."
        )


def collect_parallel(record: SweepRecord) -> Parallel:
    """The trials that can be compared, at most the best 300 of them, and the hyperparameters that varied."""
    scored = scored_trials(record)
    compared = [trial for trial, _ in scored]
    axes = axes_of(record, compared)
    scores = {trial.number: score for trial, score in scored}
    ranked = sorted(compared, key=lambda trial: record.objective.sort_key(scores[trial.number]), reverse=True)
    trials = ranked[-_MOST_LINES:]
    columns = []
    for axis in axes:
        positions, spread = [], _SPREAD if axis.choices else 0.0
        for trial in trials:
            value = trial.values.get(axis.name)
            positions.append(NOT_ACTIVE if value is None else axis.position(value) + spread * offset(trial.number))
        gap = {NOT_ACTIVE: "not active"} if NOT_ACTIVE in positions else {}
        ticks = gap | {axis.position(value): axis_value(value) for value in tick_values(axis)}
        columns.append(Column(axis.name, positions, ticks, plain_value(trials[-1].values.get(axis.name))))
    last = _score_column(record.objective.name, [scores[trial.number] for trial in trials])
    return Parallel([trial.number for trial in trials], columns, last, len(compared))


def _score_column(objective: str, scores: list[float]) -> Column:
    axis = Axis(objective, (), min(scores, default=0.0), max(scores, default=1.0), is_wide(scores))
    marks = [axis.low, *tick_values(axis), axis.high]
    ticks = {axis.position(value): axis_value(float(value)) for value in marks}
    spaced = {at: text for at, text in ticks.items() if at in (0.0, 1.0) or 0.06 < at < 0.94}
    return Column(objective, [axis.position(value) for value in scores], spaced)


def plot_parallel(parallel: Parallel, title: str = "") -> Figure:
    """A line for each trial, the objective as the last axis: the best in orange, the best quarter in blue."""
    columns = [*parallel.columns, parallel.score]
    figure = canvas.new_figure(max(7.0, 1.5 * len(columns) + 0.6), 5.2 if title else 4.6)
    if title:
        canvas.draw_headline(figure, title)
    width = figure.get_figwidth()
    axes = figure.add_axes((0.9 / width, 0.06, 1 - 1.7 / width, 0.75 if title else 0.82))
    lines = [
        (f"trial {number}", list(enumerate(places)))
        for number, *places in zip(parallel.trials, *(column.positions for column in columns), strict=True)
    ]
    last, quarter = len(lines) - 1, max(0, math.ceil(0.75 * len(lines) - 1))
    canvas.draw_lines(axes, dict(lines[:quarter]), colors=canvas.PALE, linewidths=0.8, zorder=2)
    canvas.draw_lines(axes, dict(lines[quarter:last]), colors=canvas.TRAIN, linewidths=1.0, zorder=3)
    canvas.draw_lines(axes, dict(lines[last:]), colors=canvas.VALIDATION, linewidths=2.4, zorder=4)
    for index, column in enumerate(columns):
        _draw_axis(axes, index, column, is_last=column is parallel.score)
    axes.set_xlim(-0.02, len(columns) - 1 + 0.02)
    axes.set_ylim(min(0.0, *(at for _, line in lines for _, at in line)) - 0.05, 1.03)
    axes.set_axis_off()
    return figure


def _draw_axis(axes: Axes, index: int, column: Column, *, is_last: bool) -> None:
    """Draws one column; names are in two rows, so that long ones do not meet."""
    top = 1.07 if index % 2 == 1 else 1.02
    axes.plot([index, index], [0, top], color=canvas.INK, linewidth=1.0, zorder=5, clip_on=False)
    axes.annotate(canvas.plain_text(column.name), (index, top), (0, 3), textcoords="offset points",
                  ha="center", fontsize=10, color=canvas.INK, annotation_clip=False)  # fmt: skip
    for position, text in column.ticks.items():
        axes.plot([index - 0.02, index + 0.02], [position, position], color=canvas.INK, linewidth=1.0, zorder=5)
        axes.annotate(
            canvas.plain_text(text),
            (index, position),
            (6 if is_last else -5, 0),
            textcoords="offset points",
            ha="left" if is_last else "right",
            va="center",
            fontsize=8.5,
            color=canvas.GREY if position == NOT_ACTIVE else canvas.INK,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
            zorder=6,
        )


@dataclass(frozen=True, slots=True)
class Slice:
    """The trials in which one hyperparameter was active."""

    axis: Axis
    objective: Objective
    trials: list[int]
    values: list[Any]
    scores: list[float]
    stopped: list[bool]
    """Whether a trial was stopped early, so that its score might have become better."""

    @property
    def description(self) -> str:
        """The best score with each choice or, along a range, the place of the best trial, in words."""
        name = validation_name(self.objective.name)
        text = f"{name} of {count(len(self.trials), 'trial')} against {self.axis.name}."
        best: Callable[[Sequence[float]], float] = max if self.objective.direction == "max" else min
        if not self.axis.choices:
            at = self.scores.index(best(self.scores))
            return f"{text} The best, {score(self.scores[at])}, is at {axis_value(self.values[at])}."
        reached = {
            choice: [found for value, found in zip(self.values, self.scores, strict=True) if value == choice]
            for choice in self.axis.choices
        }
        each = ", ".join(f"{axis_value(choice)} {score(best(found))}" for choice, found in reached.items() if found)
        return f"{text} The best with each: {each}."


def collect_slices(record: SweepRecord, order: Sequence[str] = ()) -> list[Slice]:
    """One for each hyperparameter that varied; those named in `order` first."""
    scored = scored_trials(record)
    slices = []
    for axis in axes_of(record, [trial for trial, _ in scored]):
        active = [(trial, score) for trial, score in scored if axis.name in trial.values]
        slices.append(
            Slice(
                axis,
                record.objective,
                [trial.number for trial, _ in active],
                [trial.values[axis.name] for trial, _ in active],
                [score for _, score in active],
                [trial.state is TrialState.STOPPED for trial, _ in active],
            )
        )
    rank = {name: position for position, name in enumerate(order)}
    return sorted(slices, key=lambda each: rank.get(each.axis.name, len(rank)))


def plot_slices(slices: Sequence[Slice]) -> Figure:
    """A panel for each hyperparameter; all share the vertical axis."""
    columns = min(_SLICE_COLUMNS, len(slices))
    rows = math.ceil(len(slices) / columns)
    figure = canvas.new_figure(max(3.1 * columns + 0.6, 6.4), 2.3 * rows + 1.1)
    width, height = figure.get_figwidth(), figure.get_figheight()
    note = "large dots: all epochs; small dots: ended early; earlier trials are paler"
    canvas.draw_headline(figure, f"{slices[0].objective.name} against each hyperparameter", note)
    for index, each in enumerate(slices):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw_slice(axes, each, slices)
        axes.tick_params(labelleft=index % columns == 0)
    figure.subplots_adjust(left=0.75 / width, right=1 - 0.2 / width, top=1 - 1.0 / height, bottom=0.62 / height,
                           hspace=0.4, wspace=0.09)  # fmt: skip
    return figure


def draw_slice(axes: Axes, each: Slice, slices: Sequence[Slice]) -> None:
    """Draws the score against one hyperparameter; all `slices` that are shown together share the vertical axis."""
    last = max(1, *(number for other in slices for number in other.trials))
    places = zip(each.trials, each.values, _places(axes, each), each.scores, strict=True)
    points = {
        f"trial {number}: {each.axis.name} {axis_value(value)}, {score(reached)}": (place, reached)
        for number, value, place, reached in places
    }
    alphas = [0.35 + 0.65 * number / last for number in each.trials]
    sizes = [9 if is_stopped else 30 for is_stopped in each.stopped]
    canvas.draw_points(axes, points, s=sizes, color=canvas.TRAIN, alpha=alphas, linewidths=0)
    scores = [reached for other in slices for reached in other.scores]
    low, high = min(scores), max(scores)
    if is_wide(scores):
        axes.set_yscale("log")
        axes.set_ylim(low / 1.2, high * 1.2)
    else:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
        axes.set_ylim(low - room, high + room)
    axes.set_title(canvas.plain_text(each.axis.name), fontsize=10.5, color=canvas.INK, loc="left", pad=4)
    canvas.grid_axes(axes)


def _places(axes: Axes, each: Slice) -> list[float]:
    """Where the trials are along the horizontal axis, which is set up for that."""
    axis, ticks = each.axis, tick_values(each.axis)
    if axis.choices:
        texts = [axis_value(choice) for choice in axis.choices]
        if sum(map(len, texts)) > _MOST_LETTERS:  # every other one is a line lower, so that neighbours do not meet
            texts = [text if place % 2 == 0 else f"\n{text}" for place, text in enumerate(texts)]
        axes.set_xticks(range(len(texts)), map(canvas.plain_text, texts))
        axes.set_xlim(-0.5, len(texts) - 0.5)
        pairs = zip(each.values, each.trials, strict=True)
        return [axis.choices.index(value) + 0.3 * offset(number) for value, number in pairs]
    if axis.is_log:
        axes.set_xscale("log")
        axes.minorticks_off()
        ticks = ticks[:: -(-len(ticks) // _MOST_TICKS)]
        axes.set_xticks([float(tick) for tick in ticks], [axis_value(tick) for tick in ticks])
    elif axis.is_whole:
        axes.xaxis.set_major_locator(canvas.whole_ticks(5))
    else:
        axes.locator_params(axis="x", nbins=5)
    return each.values
