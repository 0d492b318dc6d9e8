"""What the trials of a sweep reached: in the order they were proposed, and between several objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from galaxy_exp.records import Objective, TrialState
from galaxy_exp.report import canvas
from galaxy_exp.report.axes import is_wide, score_of
from galaxy_exp.report.words import count, quantity, score, validation_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from galaxy_exp.journal.record import SweepRecord

__all__ = [
    "History",
    "ParetoTrials",
    "collect_history",
    "collect_pareto",
    "draw_history",
    "draw_pareto",
    "plot_history",
    "plot_pareto",
]

_MOST_LABELS = 20
"""Trials on a Pareto front that have their number beside them; more would cover each other."""


@dataclass(frozen=True, slots=True)
class History:
    """Scores of the search's finished trials, by number."""

    objective: str
    completed: dict[int, float]
    stopped: dict[int, float]
    """What trials had reached when they were stopped early."""
    failed: list[int]
    """Without a model: failed, lost or infeasible."""
    predetermined: dict[int, float]
    """The baseline and enqueued configurations, which are among the others, too."""
    best: dict[int, float]
    """The best score up to each trial."""

    @property
    def scores(self) -> dict[int, float]:
        """Of all trials that have one."""
        return self.completed | self.stopped

    @property
    def improvements(self) -> dict[int, float]:
        """The trials that improved the best score, and that score."""
        steps: dict[int, float] = {}
        for number, value in self.best.items():
            if not steps or value != next(reversed(steps.values())):
                steps[number] = value
        return steps

    @property
    def description(self) -> str:
        """In words."""
        steps = ", ".join(f"{score(value)} at trial {number}" for number, value in self.improvements.items())
        return (
            f"{validation_name(self.objective)} of {count(len(self.scores) + len(self.failed), 'trial')} in the order "
            f"they began: {len(self.completed)} trained all epochs, {len(self.stopped)} ended early, "
            f"{len(self.failed)} have no model; {f'the best so far was {steps}' if steps else 'none has a score'}."
        )


def collect_history(record: SweepRecord) -> History:
    """All finished trials of the search."""
    history, leading = History(record.objective.name, {}, {}, [], {}, {}), record.objective.worst
    for trial in record.searched:
        number, value = trial.number, score_of(record, trial)
        if trial.result is None:
            continue
        if value is None:
            history.failed.append(number)
            continue
        (history.stopped if trial.state is TrialState.STOPPED else history.completed)[number] = value
        if trial.predetermined:
            history.predetermined[number] = value
        leading = value if record.objective.is_better(value, leading) else leading
        history.best[number] = leading
    return history


def plot_history(history: History) -> Figure:
    """The history with the best trial as its headline."""
    figure = canvas.new_figure(8.4, 4.4)
    headline = f"no trial has a score ({len(history.failed)} failed)"
    if history.best:
        number, best = list(history.improvements.items())[-1]
        headline = f"Best {history.objective} {best:.4g}, found by trial {number}"
    canvas.draw_headline(figure, headline)
    draw_history(figure.add_axes((0.085, 0.13, 0.9, 0.68)), history, legend_columns=5)
    return figure


def draw_history(axes: Axes, history: History, legend_columns: int = 3) -> None:
    """Draws the trials as dots and the best so far as a line; trials without a score are marked at the bottom."""
    if history.best:
        axes.step(list(history.best), list(history.best.values()), where="post", color=canvas.VALIDATION, linewidth=1.8,
                  label="best so far")  # fmt: skip
    _draw_trials(axes, history.completed, "all epochs", color=canvas.TRAIN, s=28)
    _draw_trials(axes, history.stopped, "ended early", color=canvas.PALE, s=28)
    ring = {"facecolors": "none", "edgecolors": canvas.INK, "linewidths": 1.2, "s": 110}
    _draw_trials(axes, history.predetermined, "baseline or enqueued", **ring)
    if history.failed:
        failed = {f"trial {number} has no model": (number, 0.02) for number in history.failed}
        canvas.draw_points(axes, failed, marker="x", color=canvas.VALIDATION, edgecolors=None, linewidths=1.5,
                           clip_on=False, transform=axes.get_xaxis_transform(), label="no model")  # fmt: skip
    if not history.best:
        axes.set_yticks([])
    if is_wide(history.scores.values()):
        axes.set_yscale("log")
    canvas.name_axes(axes, "trial", validation_name(history.objective))
    last = max([*history.best, *history.failed, 1])
    axes.set_xlim(-0.02 * last - 0.5, last * 1.02 + 0.5)
    axes.xaxis.set_major_locator(canvas.whole_ticks(12))
    canvas.grid_axes(axes)
    canvas.draw_legend(axes, legend_columns)


def _draw_trials(axes: Axes, scores: Mapping[int, float], label: str, **style: object) -> None:
    points = {f"trial {number}: {score(value)}, {label}": (number, value) for number, value in scores.items()}
    canvas.draw_points(axes, points, label=label, **style)


@dataclass(frozen=True, slots=True)
class ParetoTrials:
    """The objectives of the trials that may win."""

    objectives: tuple[Objective, ...]
    values: dict[int, tuple[float, ...]]
    """By trial number, in the order of `objectives`."""
    front: list[int]
    """Trials that no other beats in one objective without losing in another, best first in the first objective."""

    def describe(self, other: int) -> str:
        """The panel of the first objective against that further one, in words."""
        first, second = validation_name(self.objectives[0].name), self.objectives[other].name
        return f"{first} against {second}; on the front: trials {', '.join(map(str, self.front))}."


def collect_pareto(record: SweepRecord) -> ParetoTrials:
    """Of the trials that satisfy the sweep's constraints and have every objective."""
    values = {trial.number: trial.objective_values(record.objectives) for trial in record.leaderboard()}
    known = {number: found for number, found in values.items() if found is not None}
    return ParetoTrials(record.objectives, known, [trial.number for trial in record.pareto_front()])


def plot_pareto(pareto: ParetoTrials) -> Figure:
    """The first objective against each further one, side by side."""
    others = range(1, len(pareto.objectives))
    figure = canvas.new_figure(max(7.0, 5.2 * len(others)), 4.8)
    title = f"{len(pareto.front)} of {len(pareto.values)} trials are beaten by no other in all objectives"
    canvas.draw_headline(figure, title)
    for panel, other in enumerate(others):
        axes = figure.add_subplot(1, len(others), panel + 1)
        draw_pareto(axes, pareto, other)
        if panel > 0:
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")
    width = figure.get_figwidth()
    figure.subplots_adjust(left=0.75 / width, right=1 - 0.25 / width, top=0.82, bottom=0.13, wspace=0.08)
    return figure


def draw_pareto(axes: Axes, pareto: ParetoTrials, other: int) -> None:
    """Draws the first objective against that at the position `other` among the objectives."""
    places = {number: (values[other], values[0]) for number, values in pareto.values.items()}
    front = {number: places[number] for number in sorted(pareto.front, key=places.__getitem__)}
    others = {number: at for number, at in places.items() if number not in front}
    for group, colour, label in ((others, canvas.PALE, "other trials"), (front, canvas.VALIDATION, "Pareto front")):
        points = {f"trial {number}: {score(y)}, {quantity(x)}": (x, y) for number, (x, y) in group.items()}
        canvas.draw_points(axes, points, color=colour, s=36, label=label)
    if len(pareto.objectives) == 2:
        x, y = zip(*front.values(), strict=True)
        axes.plot(x, y, color=canvas.VALIDATION, linewidth=1.2, alpha=0.5, drawstyle="steps-post")
    for number, at in front.items() if len(front) <= _MOST_LABELS else ():
        axes.annotate(f"{number}", at, (-6, 4), textcoords="offset points", ha="right", fontsize=8.5, color=canvas.INK)
    if is_wide([x for x, _ in places.values()]):
        axes.set_xscale("log")
    names = [
        f"{validation_name(each.name)} ({'more' if each.direction == 'max' else 'less'} is better)"
        for each in (pareto.objectives[other], pareto.objectives[0])
    ]
    canvas.name_axes(axes, *names)
    axes.margins(0.09, 0.09)
    canvas.grid_axes(axes)
    canvas.draw_legend(axes)
