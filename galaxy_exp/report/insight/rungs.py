"""How many trials reached each rung, and their curves up to where they ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.records import TrialState
from galaxy_exp.report.canvas import GREY, INK, TRAIN, VALIDATION, draw_headline, grid_axes, new_figure, save_figure
from galaxy_exp.report.insight.history import is_wide

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from galaxy_exp.journal.record import SweepRecord

__all__ = ["Rungs", "collect_rungs", "plot_rungs"]


@dataclass(frozen=True, slots=True)
class Rungs:
    """What became of the trials, epoch by epoch; epochs count from 1."""

    objective: str
    epochs: int
    """Of a trial that is not stopped."""
    survivors: list[int]
    """How many trials trained at least 1, 2, ... `epochs` epochs."""
    rungs: list[int]
    """The epochs after which trials were stopped."""
    curves: dict[int, list[float]]
    """The objective after each epoch, by trial number."""
    stopped: frozenset[int]
    """The trials that were stopped."""
    winner: int | None
    """The trial with the best score."""

    @property
    def trained(self) -> int:
        """Epochs in all trials together."""
        return sum(self.survivors)

    @property
    def is_wide(self) -> bool:
        """Whether the curves need a logarithmic axis."""
        return is_wide([value for curve in self.curves.values() for value in curve])


def collect_rungs(record: SweepRecord) -> Rungs:
    """Of all trials of the search that ended."""
    ended = [trial for trial in record.searched if trial.result is not None]
    stopped = [trial for trial in ended if trial.state is TrialState.STOPPED]
    epochs = max([record.config.training.epochs, *(trial.epochs for trial in ended)])
    ranked = record.leaderboard()
    return Rungs(
        objective=record.objective.name,
        epochs=epochs,
        survivors=[sum(trial.epochs >= epoch for trial in ended) for epoch in range(1, epochs + 1)],
        rungs=sorted({trial.epochs for trial in stopped}),
        curves={trial.number: curve for trial in ended if (curve := trial.curve(record.objective.name))},
        stopped=frozenset(trial.number for trial in stopped),
        winner=ranked[0].number if ranked else None,
    )


def plot_rungs(rungs: Rungs, path: Path) -> Path:
    """Draws how many trials trained how long on the left, and their curves on the right."""
    figure = new_figure(11.0, 4.4)
    draw_headline(figure, _headline(rungs))
    _draw_survivors(figure.add_axes((0.055, 0.13, 0.38, 0.68)), rungs)
    curves = figure.add_axes((0.51, 0.13, 0.475, 0.68))
    _draw_curves(curves, rungs)
    handles, names = curves.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="upper right", ncols=3, frameon=False, fontsize=9,
                      bbox_to_anchor=(0.995, 0.91))  # fmt: skip
    return save_figure(figure, path)


def _headline(rungs: Rungs) -> str:
    most = rungs.epochs * max(rungs.survivors, default=0)
    if not most:
        return "no epoch was trained"
    saved = f", {1 - rungs.trained / most:.0%} less than without early stopping" if rungs.stopped else ""
    return f"{rungs.trained:,} epochs trained{saved}"


def _draw_survivors(axes: Axes, rungs: Rungs) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [0, *range(1, rungs.epochs + 1)]
    counts = [rungs.survivors[0], *rungs.survivors]
    axes.step(epochs, counts, where="pre", color=TRAIN, linewidth=1.8)
    axes.fill_between(epochs, counts, step="pre", color=TRAIN, alpha=0.12, linewidth=0)
    for epoch in [*rungs.rungs, rungs.epochs]:
        count = rungs.survivors[epoch - 1]
        axes.plot(epoch, count, "o", color=TRAIN, markersize=4)
        axes.annotate(
            f"{count}", (epoch, count), (0, 5), textcoords="offset points", ha="center", fontsize=9, color=INK
        )
    axes.set_ylim(0, 1.15 * max(*counts, 1))
    axes.set_ylabel("trials that trained so long", color=GREY)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    _style(axes, rungs)


def _draw_curves(axes: Axes, rungs: Rungs) -> None:
    labels = {"stopped": "stopped early", "completed": "all epochs", "winner": "best trial"}
    for number, curve in rungs.curves.items():
        kind = "winner" if number == rungs.winner else "stopped" if number in rungs.stopped else "completed"
        colour = {"stopped": "#B9C4CC", "completed": TRAIN, "winner": VALIDATION}[kind]
        is_best = kind == "winner"
        axes.plot(
            range(1, len(curve) + 1),
            curve,
            color=colour,
            linewidth=2.2 if is_best else 1.0,
            alpha=1.0 if is_best else 0.8,
            marker="o" if len(curve) == 1 else "",
            markersize=3,
            zorder=3 if is_best else 2,
            label=labels.pop(kind, None),
        )
    if rungs.is_wide:
        axes.set_yscale("log")
    axes.set_ylabel(rungs.objective, color=GREY)
    _style(axes, rungs)
    axes.set_xlim(left=1 - 0.03 * rungs.epochs)


def _style(axes: Axes, rungs: Rungs) -> None:
    from matplotlib.ticker import MaxNLocator

    for epoch in rungs.rungs:
        axes.axvline(epoch, color="#D0D0D0", linestyle="--", linewidth=1.0, zorder=0)
    axes.set_xlabel("epoch", color=GREY)
    axes.set_xlim(0.0, rungs.epochs * 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    grid_axes(axes, which="y")
