"""Curves over epochs: the metrics of one trial; of a sweep, how many trials trained how long, and where each ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.records import TrialState
from galaxy_exp.report import canvas
from galaxy_exp.report.axes import is_wide
from galaxy_exp.report.words import count, score, validation_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from galaxy_exp.journal.record import SweepRecord, TrialRecord

__all__ = [
    "Curve",
    "Rungs",
    "collect_curves",
    "collect_rungs",
    "draw_curve",
    "draw_curves",
    "draw_survivors",
    "plot_learning_curves",
    "plot_rungs",
]

_PANELS = {"loss": "Loss (nats)", "accuracy": "Accuracy", "macro_f1": "Macro-F1", "deviance": "Deviance (nats)"}
_FEW_EPOCHS = 25


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over the epochs."""

    metric: str
    """Without prefix, such as "loss" or "macro_f1"."""
    title: str
    train: list[float]
    """One value per epoch; NaN where it was not reported. Empty if it never was."""
    validation: list[float]
    """Likewise."""

    @property
    def n_epochs(self) -> int:
        """How many epochs were reported."""
        return max(len(self.train), len(self.validation))

    def describe(self, best_epoch: int) -> str:
        """The curve in words; `best_epoch` counts from 1 and is 0 if there was none."""
        text = f"{self.title} over {count(self.n_epochs, 'epoch')}"
        for name, values in (("training", self.train), ("validation", self.validation)):
            if known := [value for value in values if math.isfinite(value)]:
                text += f", {name} from {score(known[0])} to {score(known[-1])}"
        return f"{text}; the best epoch is {best_epoch}." if best_epoch else f"{text}."


def collect_curves(history: Sequence[Mapping[str, float]]) -> list[Curve]:
    """The curves that a history holds, in the order of the figure's panels; those without any value are left out."""
    panels = _PANELS.items()
    curves = [Curve(name, title, _series(history, name), _series(history, f"val_{name}")) for name, title in panels]
    return [curve for curve in curves if curve.train or curve.validation]


def plot_learning_curves(
    history: Sequence[Mapping[str, float]], objective_name: str, best_epoch: int, path: Path, title: str = ""
) -> Path:
    """Draws training against validation, a panel a metric, with the best epoch, as a PNG; returns `path`.

    Args:
        history: metrics of each epoch from the first on, as in `EpochReport.metrics`.
        objective_name: what the best epoch is best in, such as "val_macro_f1".
        best_epoch: counts from 1; 0 if there was none.
    """
    curves = collect_curves(history)
    figure = canvas.new_figure(4.2 * max(len(curves), 1), 3.9)
    canvas.draw_headline(figure, _headline(history, objective_name, best_epoch, title))
    for index, curve in enumerate(curves):
        draw_curve(figure.add_subplot(1, len(curves), index + 1), curve, best_epoch)
    if curves:
        figure.subplots_adjust(left=0.18 / len(curves), right=0.985, top=0.74, bottom=0.14, wspace=0.2)
    return canvas.save_figure(figure, path)


def _series(history: Sequence[Mapping[str, float]], name: str) -> list[float]:
    values = [float(epoch.get(name, math.nan)) for epoch in history]
    return [] if all(math.isnan(value) for value in values) else values


def _headline(history: Sequence[Mapping[str, float]], objective_name: str, best_epoch: int, title: str) -> str:
    start = f"{title}: " if title else ""
    if not 1 <= best_epoch <= len(history):
        return f"{start}no epoch to choose from {len(history)}"
    value = history[best_epoch - 1].get(objective_name, math.nan)
    return f"{start}{objective_name} {value:.3f} at epoch {best_epoch} of {len(history)}"


def draw_curve(axes: Axes, curve: Curve, best_epoch: int) -> None:
    """Draws training against validation over the epochs, with the best epoch marked."""
    marker = "o" if curve.n_epochs <= _FEW_EPOCHS else ""
    both = (curve.train, canvas.TRAIN, "training"), (curve.validation, canvas.VALIDATION, "validation")
    for values, colour, name in both:
        epochs = range(1, len(values) + 1)
        if values:
            axes.plot(epochs, values, color=colour, label=name, marker=marker, markersize=3.5, linewidth=1.8)
        if 1 <= best_epoch <= len(values):
            axes.plot(best_epoch, values[best_epoch - 1], "o", color="white", markeredgecolor=colour, markersize=7)
    if best_epoch >= 1:
        axes.axvline(best_epoch, color=canvas.GREY, linestyle="--", linewidth=1.2, label="best epoch", zorder=0)
    axes.set_title(curve.title, fontsize=11, color=canvas.INK, loc="left", pad=22)
    canvas.name_axes(axes, "epoch")
    margin = max(0.5, 0.03 * curve.n_epochs)
    axes.set_xlim(1 - margin, curve.n_epochs + margin)
    axes.xaxis.set_major_locator(canvas.whole_ticks(8))
    canvas.grid_axes(axes)
    canvas.draw_legend(axes)


@dataclass(frozen=True, slots=True)
class Rungs:
    """The search's ended trials, epoch by epoch; epochs count from 1."""

    objective: str
    epochs: int
    """Of a trial that is not stopped."""
    planned: int
    """Epochs in all trials together if none had been stopped; others count as many as they trained."""
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
    def saved(self) -> float:
        """Share of the epochs that early stopping saved."""
        return 1 - self.trained / self.planned if self.planned and self.stopped else 0.0

    @property
    def is_wide(self) -> bool:
        """Whether the curves need a logarithmic axis."""
        return is_wide([value for curve in self.curves.values() for value in curve])

    @property
    def survival_description(self) -> str:
        """How many trials trained how long, in words."""
        ends = [*self.rungs, self.epochs]
        stops = ", ".join(f"{self.survivors[epoch - 1]} trained {epoch} epochs" for epoch in ends)
        return f"Of {self.survivors[0]} trials, {stops}."

    @property
    def curves_description(self) -> str:
        """The curves in words."""
        text = f"{validation_name(self.objective)} after each epoch of {count(len(self.curves), 'trial')}"
        curve = [] if self.winner is None else self.curves.get(self.winner, [])
        if best := [value for value in curve if math.isfinite(value)]:
            text += f"; the best, trial {self.winner}, goes from {score(best[0])} to {score(best[-1])}"
        return f"{text}."


def collect_rungs(record: SweepRecord) -> Rungs:
    """Of all trials of the search that ended."""
    ended = [trial for trial in record.searched if trial.result is not None]
    stopped = [trial for trial in ended if trial.state is TrialState.STOPPED]
    epochs = max([record.config.training.epochs, *(trial.epochs for trial in ended)])
    ranked = record.leaderboard()
    return Rungs(
        objective=record.objective.name,
        epochs=epochs,
        planned=sum(_planned_epochs(trial, record) for trial in ended),
        survivors=[sum(trial.epochs >= epoch for trial in ended) for epoch in range(1, epochs + 1)],
        rungs=sorted({trial.epochs for trial in stopped}),
        curves={trial.number: curve for trial in ended if (curve := trial.curve(record.objective.name))},
        stopped=frozenset(trial.number for trial in stopped),
        winner=ranked[0].number if ranked else None,
    )


def _planned_epochs(trial: TrialRecord, record: SweepRecord) -> int:
    """Those it trained; of a stopped trial, what the configuration said then or, of a paused one, says in the end."""
    if trial.state is not TrialState.STOPPED:
        return trial.epochs
    ended_at = math.inf if trial.is_paused or trial.ended_at is None else trial.ended_at
    configs = [record.started.config, *(event.config for event in record.changed if event.time <= ended_at)]
    return int(configs[-1]["training"]["epochs"])


def plot_rungs(rungs: Rungs) -> Figure:
    """How many trials trained how long on the left, and their curves on the right."""
    figure = canvas.new_figure(11.0, 4.4)
    saved = f", {rungs.saved:.0%} less than without early stopping" if rungs.stopped else ""
    title = f"{rungs.trained:,} epochs trained{saved}" if rungs.trained else "no epoch was trained"
    canvas.draw_headline(figure, title)
    draw_survivors(figure.add_axes((0.055, 0.13, 0.38, 0.68)), rungs)
    draw_curves(figure.add_axes((0.51, 0.13, 0.475, 0.68)), rungs)
    return figure


def draw_survivors(axes: Axes, rungs: Rungs) -> None:
    """Draws how many trials trained at least so many epochs."""
    epochs = range(rungs.epochs + 1)
    counts = [rungs.survivors[0], *rungs.survivors]
    axes.step(epochs, counts, where="pre", color=canvas.TRAIN, linewidth=1.8)
    axes.fill_between(epochs, counts, step="pre", color=canvas.TRAIN, alpha=0.12, linewidth=0)
    ends = list(dict.fromkeys([*rungs.rungs, rungs.epochs]))
    points = {f"{count(counts[epoch], 'trial')} trained {epoch} epochs": (epoch, counts[epoch]) for epoch in ends}
    canvas.draw_points(axes, points, color=canvas.TRAIN, s=20)
    for at in points.values():
        axes.annotate(f"{at[1]}", at, (0, 5), textcoords="offset points", ha="center", fontsize=9, color=canvas.INK)
    axes.set_ylim(0, 1.15 * max(*counts, 1))
    axes.yaxis.set_major_locator(canvas.whole_ticks(6))
    _draw_epochs(axes, rungs, "trials that trained so long")
    axes.set_xlim(0.0, rungs.epochs * 1.03)


def draw_curves(axes: Axes, rungs: Rungs) -> None:
    """Draws the objective after each epoch of each trial, the best trial in front, without values that are not finite.

    A trial of one epoch is a dot.
    """
    others = [number for number in rungs.curves if number != rungs.winner]
    groups = (
        ([n for n in others if n in rungs.stopped], "ended early", canvas.PALE, 1.0, 2.0),
        ([n for n in others if n not in rungs.stopped], "all epochs", canvas.TRAIN, 1.0, 2.1),
        ([n for n in rungs.curves if n == rungs.winner], "best trial", canvas.VALIDATION, 2.2, 3.0),
    )
    for numbers, label, colour, width, order in groups:
        curves = {
            f"trial {number}": [point for point in enumerate(rungs.curves[number], start=1) if math.isfinite(point[1])]
            for number in numbers
        }
        lines = {title: points for title, points in curves.items() if len(points) > 1}
        dots = {title: points[0] for title, points in curves.items() if len(points) == 1}
        canvas.draw_lines(axes, lines, colors=colour, linewidths=width, alpha=0.85, zorder=order, label=label)
        if dots:
            canvas.draw_points(axes, dots, color=colour, s=10, label="" if lines else label)
    if rungs.is_wide:
        axes.set_yscale("log")
    _draw_epochs(axes, rungs, validation_name(rungs.objective))
    axes.set_xlim(1 - 0.03 * rungs.epochs, rungs.epochs * 1.03)
    canvas.draw_legend(axes)


def _draw_epochs(axes: Axes, rungs: Rungs, name: str) -> None:
    for epoch in rungs.rungs:
        axes.axvline(epoch, color=canvas.PALE, linestyle="--", linewidth=0.8, zorder=0)
    canvas.name_axes(axes, "epoch", name)
    axes.xaxis.set_major_locator(canvas.whole_ticks())
    canvas.grid_axes(axes, which="y")
