"""Loss, accuracy and macro-F1 over the epochs of one trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.report import canvas
from galaxy_exp.report.words import count, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve", "collect_curves", "draw_curve", "plot_learning_curves"]

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
    curves = [
        Curve(metric, title, _series(history, metric), _series(history, f"val_{metric}"))
        for metric, title in _PANELS.items()
    ]
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
    for values, colour, name in (
        (curve.train, canvas.TRAIN, "training"),
        (curve.validation, canvas.VALIDATION, "validation"),
    ):
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
