"""Each trial as a line across all hyperparameters that varied, the best ones on top."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.report.canvas import GREY, INK, draw_headline, new_figure, plain_text, save_figure
from galaxy_exp.report.insight.axes import Axis, axes_of, comparable_trials, offset, score_of, short_value, tick_values
from galaxy_exp.report.insight.history import is_wide

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import SweepRecord

__all__ = ["NOT_ACTIVE", "Column", "Parallel", "collect_parallel", "plot_parallel"]

NOT_ACTIVE = -0.14
"""Where a line runs that has no value: below the axis."""


_SPREAD = 0.05
"""Lines through the same choice are this far apart at most."""


@dataclass(frozen=True, slots=True)
class Column:
    """One axis of the figure."""

    name: str
    positions: list[float]
    """Of each trial, 0 to 1 (choices spread out a little), or `NOT_ACTIVE`."""
    ticks: dict[float, str]
    """Text by position."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Trials from worst to best."""

    trials: list[int]
    columns: list[Column]
    """The hyperparameters that varied, as declared."""
    score: Column
    """The objective."""


def collect_parallel(record: SweepRecord, at_most: int | None = None) -> Parallel:
    """The trials that can be compared, the best `at_most` of them, and the hyperparameters that varied."""
    trials = comparable_trials(record)
    axes = axes_of(record, trials)
    scores = {trial.number: score_of(record, trial) or 0.0 for trial in trials}
    trials = sorted(trials, key=lambda trial: record.objective.sort_key(scores[trial.number]), reverse=True)
    trials = trials if at_most is None else trials[-at_most:]
    columns = []
    for axis in axes:
        held = [trial.values.get(axis.name) for trial in trials]
        positions = [NOT_ACTIVE if value is None else axis.position(value) for value in held]
        spread = _SPREAD if axis.choices else 0.0
        spread_out = [
            at if at == NOT_ACTIVE else at + spread * offset(trial.number)
            for at, trial in zip(positions, trials, strict=True)
        ]
        columns.append(Column(axis.name, spread_out, _ticks(axis, NOT_ACTIVE in positions)))
    ranked = [scores[trial.number] for trial in trials]
    return Parallel([trial.number for trial in trials], columns, _score_column(record.objective.name, ranked))


def _score_column(objective: str, scores: list[float]) -> Column:
    axis = Axis(objective, (), min(scores, default=0.0), max(scores, default=1.0), is_wide(scores))
    marks = [axis.low, *tick_values(axis), axis.high]
    ticks = {axis.position(value): short_value(float(value)) for value in marks}
    spaced = {at: text for at, text in ticks.items() if at in (0.0, 1.0) or 0.04 < at < 0.96}
    return Column(objective, [axis.position(score) for score in scores], spaced)


def plot_parallel(parallel: Parallel, path: Path) -> Path:
    """Draws the lines, coloured by rank, with the objective as the last axis."""
    n_columns = len(parallel.columns) + 1
    figure = new_figure(max(7.0, 1.5 * n_columns + 0.6), 5.2)
    width = figure.get_figwidth()
    title = f"{len(parallel.trials)} trials across what varied, the best in {parallel.score.name} in yellow"
    draw_headline(figure, title)
    axes = figure.add_axes((0.9 / width, 0.06, 1 - 1.7 / width, 0.75))
    columns = [*parallel.columns, parallel.score]
    _draw_lines(axes, [column.positions for column in columns])
    for index, column in enumerate(columns):
        _draw_axis(axes, index, column, is_last=column is parallel.score)
    axes.set_xlim(-0.02, n_columns - 1 + 0.02)
    axes.set_ylim(NOT_ACTIVE - 0.05, 1.03)
    axes.set_axis_off()
    return save_figure(figure, path)


def _draw_lines(axes: Axes, columns: list[list[float]]) -> None:
    from matplotlib import colormaps

    colours = colormaps["viridis"]
    n_trials = len(columns[0])
    for rank in range(n_trials):
        share = rank / max(1, n_trials - 1)
        axes.plot(
            range(len(columns)),
            [positions[rank] for positions in columns],
            color=colours(0.08 + 0.85 * share),
            linewidth=0.8 + 1.6 * share**4,
            alpha=0.35 + 0.6 * share**2,
            zorder=2 + share,
        )


def _draw_axis(axes: Axes, index: int, column: Column, *, is_last: bool) -> None:
    """Names stand in two rows, so that long ones do not meet."""
    upper = index % 2 == 1
    axes.plot([index, index], [0, 1.07 if upper else 1.02], color=INK, linewidth=1.0, zorder=5, clip_on=False)
    axes.annotate(plain_text(column.name), (index, 1.07 if upper else 1.02), (0, 3), textcoords="offset points",
                  ha="center", fontsize=10, color=INK, annotation_clip=False)  # fmt: skip
    for position, text in column.ticks.items():
        axes.plot([index - 0.02, index + 0.02], [position, position], color=INK, linewidth=1.0, zorder=5)
        axes.annotate(
            plain_text(text),
            (index, position),
            (6 if is_last else -5, 0),
            textcoords="offset points",
            ha="left" if is_last else "right",
            va="center",
            fontsize=8.5,
            color=GREY if position == NOT_ACTIVE else INK,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
            zorder=6,
        )


def _ticks(axis: Axis, has_gap: bool) -> dict[float, str]:
    marks = {axis.position(value): short_value(value) for value in tick_values(axis)}
    return ({NOT_ACTIVE: "not active"} if has_gap else {}) | marks
