"""The score against each hyperparameter by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy_exp.records import TrialState
from galaxy_exp.report.canvas import GREY, INK, draw_headline, grid_axes, new_figure, plain_text, save_figure
from galaxy_exp.report.insight.axes import Axis, axes_of, comparable_trials, offset, score_of, short_value, tick_values
from galaxy_exp.report.insight.history import is_wide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import SweepRecord

__all__ = ["Slice", "collect_slices", "plot_slices"]

_COLUMNS = 4
_MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Slice:
    """The trials in which one hyperparameter was active."""

    axis: Axis
    trials: list[int]
    values: list[Any]
    scores: list[float]
    stopped: list[bool]
    """Whether a trial was stopped early, so that its score might have become better."""


def collect_slices(record: SweepRecord, order: Sequence[str] = ()) -> list[Slice]:
    """One for each hyperparameter that varied; those named in `order` first."""
    trials = comparable_trials(record)
    slices = []
    for axis in axes_of(record, trials):
        active = [trial for trial in trials if axis.name in trial.values]
        slices.append(
            Slice(
                axis,
                [trial.number for trial in active],
                [trial.values[axis.name] for trial in active],
                [score_of(record, trial) or 0.0 for trial in active],
                [trial.state is TrialState.STOPPED for trial in active],
            )
        )
    rank = {name: position for position, name in enumerate(order)}
    return sorted(slices, key=lambda each: rank.get(each.axis.name, len(rank)))


def plot_slices(slices: Sequence[Slice], objective: str, path: Path) -> Path:
    """Draws a panel for each, with the trials coloured from early to late."""
    columns = min(_COLUMNS, len(slices))
    rows = math.ceil(len(slices) / columns)
    figure = new_figure(max(3.1 * columns + 0.6, 6.4), 2.3 * rows + 1.1)
    height = figure.get_figheight()
    note = "large dots: all epochs; small dots: stopped early"
    draw_headline(figure, f"{objective} against each hyperparameter", note)
    last = max(number for each in slices for number in each.trials)
    is_log = is_wide([score for each in slices for score in each.scores])
    for index, each in enumerate(slices):
        axes = figure.add_subplot(rows, columns, index + 1)
        points = _draw_slice(axes, each, last)
        if is_log:
            axes.set_yscale("log")
        axes.tick_params(labelleft=index % columns == 0)
    figure.subplots_adjust(
        left=0.75 / figure.get_figwidth(),
        right=1 - 0.2 / figure.get_figwidth(),
        top=1 - 1.0 / height,
        bottom=0.62 / height,
        hspace=0.4,
        wspace=0.09,
    )
    bar_axes = figure.add_axes(
        (1 - 2.9 / figure.get_figwidth(), 1 - 0.3 / height, 1.5 / figure.get_figwidth(), 0.1 / height)
    )
    bar = figure.colorbar(points, cax=bar_axes, orientation="horizontal", ticks=[])
    bar.outline.set_visible(False)
    bar_axes.text(
        -0.04, 0.5, "first trial", ha="right", va="center", fontsize=9, color=GREY, transform=bar_axes.transAxes
    )
    bar_axes.text(
        1.04, 0.5, f"trial {last}", ha="left", va="center", fontsize=9, color=GREY, transform=bar_axes.transAxes
    )
    _share_heights(figure.axes[: len(slices)])
    return save_figure(figure, path)


def _draw_slice(axes: Axes, each: Slice, last: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    axis = each.axis
    if axis.choices:
        places = [
            axis.choices.index(value) + 0.3 * offset(number)
            for value, number in zip(each.values, each.trials, strict=True)
        ]
        axes.set_xticks(range(len(axis.choices)), [short_value(choice) for choice in axis.choices])
        axes.set_xlim(-0.5, len(axis.choices) - 0.5)
        if sum(len(short_value(choice)) for choice in axis.choices) > 30:
            axes.tick_params(axis="x", rotation=15)
    else:
        places = each.values
        axes.set_xscale("log" if axis.is_log else "linear")
        if axis.is_log:
            ticks = tick_values(axis)[:: -(-len(tick_values(axis)) // _MOST_TICKS)]
            axes.minorticks_off()
            axes.set_xticks(ticks, [short_value(tick) for tick in ticks])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=axis.is_whole))
    sizes = [9 if is_stopped else 30 for is_stopped in each.stopped]
    points = axes.scatter(
        places,
        each.scores,
        s=sizes,
        c=each.trials,
        cmap="Blues",
        vmin=-0.4 * last,
        vmax=max(1, last),
        edgecolors="#33475B",
        linewidths=0.4,
    )
    axes.set_title(plain_text(axis.name), fontsize=10.5, color=INK, loc="left", pad=4)
    grid_axes(axes)
    return points


def _share_heights(panels: Sequence[Axes]) -> None:
    limits = [panel.get_ylim() for panel in panels]
    for panel in panels:
        panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
