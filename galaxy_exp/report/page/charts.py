"""The drawings of the search: what each trial reached, how long it trained, and with which values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from galaxy_exp.report.insight.axes import Axis, offset, short_value
from galaxy_exp.report.insight.history import History, is_wide
from galaxy_exp.report.insight.parallel import NOT_ACTIVE, Column, Parallel
from galaxy_exp.report.insight.pareto import ParetoTrials
from galaxy_exp.report.insight.rungs import Rungs
from galaxy_exp.report.insight.slices import Slice
from galaxy_exp.report.page.drawing import Drawing, Plot, padded_axis
from galaxy_exp.report.page.html import Html
from galaxy_exp.report.page.words import count, metric_name, quantity, score, validation_name
from galaxy_exp.wording import shorten

__all__ = ["MOST_POINTS", "draw_curves", "draw_history", "draw_parallel", "draw_pareto", "draw_slice", "draw_survival"]

_WIDTH, _HEIGHT = 440, 290
MOST_POINTS = 400
"""Trials that one drawing shows at most, evenly chosen: more make the page large and cover each other."""


def draw_history(history: History) -> Html:
    """The score of each trial in order, and the best so far."""
    numbers = [*history.best, *history.failed]
    x = Axis("trial", (), -0.5, max([*numbers, 1]) + 0.5, False, True)
    y = padded_axis(history.objective, history.scores, is_log=is_wide(history.scores))
    marks = [("line best", "best so far", history.best), ("dot blue", "all epochs", history.completed)]
    marks += [("dot pale", "stopped early", history.stopped), ("dot ring", "baseline or given", history.settled)]
    marks += [("cross", "no model", dict.fromkeys(history.failed, 0.0))]
    legend = [(class_, name) for class_, name, shown in marks if shown]
    plot = Plot(_WIDTH, _HEIGHT, x, y, x_name="trial", y_name=validation_name(history.objective), legend=legend)
    if history.best:
        plot.path(plot.steps(_improvements(history)), "line best")
    for name, scores, class_ in (
        ("all epochs", history.completed, "dot blue"),
        ("stopped early", history.stopped, "dot pale"),
    ):
        for number in _thinned(list(scores)):
            value = scores[number]
            plot.dot(plot.x(number), plot.y(value), class_, title=f"trial {number}: {score(value)}, {name}")
    for number, value in history.settled.items():
        plot.dot(plot.x(number), plot.y(value), "dot ring", 7.5, f"trial {number}: {score(value)}, settled beforehand")
    for number in _thinned(history.failed):
        plot.cross(plot.x(number), plot.bottom - 8, "cross", f"trial {number} has no model")
    told = f"{validation_name(history.objective)} of {count(len(numbers), 'trial')} in the order they began: "
    told += f"{len(history.completed)} trained all epochs, {len(history.stopped)} were stopped early, "
    return plot.render(f"{told}{len(history.failed)} have no model; {_steps_in_words(history)}.")


def _steps_in_words(history: History) -> str:
    """The trials that improved the best score."""
    points = list(history.best.items())
    steps = [point for index, point in enumerate(points) if index == 0 or point[1] != points[index - 1][1]]
    told = ", ".join(f"{score(value)} at trial {number}" for number, value in steps)
    return f"the best so far was {told}" if steps else "none has a score"


def _improvements(history: History) -> list[tuple[float, float]]:
    """Where the best score changes, and the last trial."""
    points = list(history.best.items())
    return [
        point for index, point in enumerate(points) if index in (0, len(points) - 1) or point[1] != points[index - 1][1]
    ]


def _thinned(trials: Sequence[int]) -> list[int]:
    """At most `MOST_POINTS` of them, evenly chosen, the first and the last among them."""
    if len(trials) <= MOST_POINTS:
        return list(trials)
    step = (len(trials) - 1) / (MOST_POINTS - 1)
    return [trials[round(index * step)] for index in range(MOST_POINTS)]


def draw_survival(rungs: Rungs) -> Html:
    """How many trials trained how long."""
    counts = [rungs.survivors[0], *rungs.survivors]
    x = Axis("epoch", (), 0, rungs.epochs, False, True)
    y = Axis("trials", (), 0, 1.12 * max(*counts, 1), False, True)
    plot = Plot(_WIDTH, _HEIGHT, x, y, x_name="epoch", y_name="trials that trained at least so many epochs")
    corners = plot.steps([*enumerate(rungs.survivors), (rungs.epochs, rungs.survivors[-1])])
    plot.path([(plot.x(0), plot.bottom), *corners, (plot.x(rungs.epochs), plot.bottom)], "area", closed=True)
    plot.path(corners, "line blue")
    for epoch in dict.fromkeys([*rungs.rungs, rungs.epochs]):
        alive = rungs.survivors[epoch - 1]
        plot.dot(plot.x(epoch), plot.y(alive), "dot blue", title=f"{count(alive, 'trial')} trained {epoch} epochs")
        anchor = "end" if epoch == rungs.epochs else "middle"
        plot.text(plot.x(epoch), plot.y(alive) - 9, str(alive), anchor=anchor)
    stops = ", ".join(f"{rungs.survivors[epoch - 1]} trained {epoch} epochs" for epoch in [*rungs.rungs, rungs.epochs])
    return plot.render(f"Of {counts[0]} trials, {stops}.")


def draw_curves(rungs: Rungs) -> Html:
    """The objective after each epoch of each trial, the best trial in front, without what is not finite."""
    values = [value for curve in rungs.curves.values() for value in curve if math.isfinite(value)]
    x = Axis("epoch", (), 1 if rungs.epochs > 1 else 0, max(rungs.epochs, 1), False, True)
    y = padded_axis(rungs.objective, values, is_log=rungs.is_wide)
    names = {
        "line pale": "stopped early",
        "line blue thin": "all epochs",
        "line best": f"the best: trial {rungs.winner}",
    }
    classes = {number: _curve_class(rungs, number) for number in rungs.curves}
    legend = [(class_, name) for class_, name in names.items() if class_ in classes.values()]
    plot = Plot(_WIDTH, _HEIGHT, x, y, x_name="epoch", y_name=validation_name(rungs.objective), legend=legend)
    shown = [number for number in _thinned(list(rungs.curves)) if number != rungs.winner]
    for number in [*shown, *([rungs.winner] if rungs.winner in rungs.curves else [])]:
        class_, curve = classes[number], rungs.curves[number]
        points = plot.at((epoch, value) for epoch, value in enumerate(curve, start=1) if math.isfinite(value))
        if len(points) > 1:
            plot.path(points, class_)
        elif points:
            plot.dot(*points[0], class_.replace("line", "dot"), 3)
    told = f"{validation_name(rungs.objective)} after each epoch of {count(len(rungs.curves), 'trial')}"
    curve = [] if rungs.winner is None else rungs.curves.get(rungs.winner, [])
    if best := [value for value in curve if math.isfinite(value)]:
        told += f"; the best, trial {rungs.winner}, goes from {score(best[0])} to {score(best[-1])}"
    return plot.render(f"{told}.")


def _curve_class(rungs: Rungs, number: int) -> str:
    if number == rungs.winner:
        return "line best"
    return "line pale" if number in rungs.stopped else "line blue thin"


def draw_slice(each: Slice, scores: Sequence[float], objective: str, best: Callable[[Sequence[float]], float]) -> Html:
    """The score against one hyperparameter.

    Args:
        scores: of all slices of the page, which share their vertical axis.
        best: `max` or `min`, as the objective is.
    """
    axis = each.axis
    names = [short_value(choice) for choice in axis.choices]
    x = Axis(axis.name, (), -0.5, len(names) - 0.5) if names else axis
    y = padded_axis(objective, scores, is_log=is_wide(list(scores)))
    ticks = {float(place): name for place, name in enumerate(_shortened(names, 210))} if names else None
    plot = Plot(264, 190, x, y, y_name=axis.name, left=40, x_ticks=ticks, n_ticks=4)
    shown = set(_thinned(each.trials))
    for number, value, reached, stopped in zip(each.trials, each.values, each.scores, each.stopped, strict=True):
        if number not in shown:
            continue
        at = axis.choices.index(value) + 0.3 * offset(number) if names else value
        title = f"trial {number}: {axis.name} {short_value(value)}, {score(reached)}"
        plot.dot(plot.x(at), plot.y(reached), "dot pale" if stopped else "dot blue", 3 if stopped else 4, title)
    told = f"{validation_name(objective)} of {count(len(each.trials), 'trial')} against {axis.name}"
    return plot.render(f"{told}. {_slice_in_words(each, best)}")


def _slice_in_words(each: Slice, best: Callable[[Sequence[float]], float]) -> str:
    """The best score with each choice or, along a range, where the best trial lies."""
    if each.axis.choices:
        reached = {
            choice: [score for value, score in zip(each.values, each.scores, strict=True) if value == choice]
            for choice in each.axis.choices
        }
        told = ", ".join(f"{short_value(choice)} {score(best(found))}" for choice, found in reached.items() if found)
        return f"The best with each: {told}."
    at = each.scores.index(best(each.scores))
    return f"The best, {score(each.scores[at])}, is at {short_value(each.values[at])}."


def _shortened(names: Sequence[str], width: float) -> list[str]:
    """Names that fit side by side into so many pixels."""
    letters = max(3, int(width / len(names) / 6.6))
    return [shorten(name, letters) for name in names]


def draw_parallel(parallel: Parallel, columns: Sequence[Column], best: str) -> Html:
    """Each trial as a line across some of the hyperparameters that varied, and the score, the best in front.

    Args:
        best: the values of the best trial in words, for those who do not see the lines.
    """
    names = ", ".join(column.name for column in columns)
    columns = [*columns, parallel.score]
    step, left, top, bottom = 112, 92, 40, 290
    drawing = Drawing(left + step * (len(columns) - 1) + 64, bottom + 40)

    def y(position: float) -> float:
        return bottom - position * (bottom - top)

    n_trials = len(parallel.trials)
    for rank in range(n_trials):
        class_ = "best" if rank == n_trials - 1 else "blue thin" if rank >= 0.75 * n_trials - 1 else "pale thin"
        points = [(left + step * place, y(column.positions[rank])) for place, column in enumerate(columns)]
        drawing.path(points, f"line {class_}")
    for place, column in enumerate(columns):
        _draw_column(drawing, left + step * place, column, y, is_last=place == len(columns) - 1)
    told = f"{count(n_trials, 'trial')} as lines across {names} and {validation_name(parallel.score.name)}"
    return drawing.render(f"{told}. The best, trial {parallel.trials[-1]}: {best}.")


def _draw_column(drawing: Drawing, x: float, column: Column, y: Callable[[float], float], *, is_last: bool) -> None:
    drawing.line(x, y(0), x, y(1), "axis strong")
    drawing.text(x, y(1) - 16, metric_name(column.name) if is_last else column.name, anchor="middle", class_="name")
    for position, text in column.ticks.items():
        drawing.line(x - 3, y(position), x + 3, y(position), "axis strong")
        at, anchor = (x + 7, "start") if is_last else (x - 7, "end")
        class_ = "muted halo" if position == NOT_ACTIVE else "halo"
        drawing.text(at, y(position) + 4, text, anchor=anchor, class_=class_)


def draw_pareto(pareto: ParetoTrials, other: int) -> Html:
    """The first objective against a further one.

    Args:
        other: position of the further one among the objectives.
    """
    first, second = pareto.objectives[0], pareto.objectives[other]
    across = [values[other] for values in pareto.values.values()]
    x = padded_axis(second.name, across, is_log=is_wide(across))
    y = padded_axis(first.name, [values[0] for values in pareto.values.values()])
    better = "more" if second.direction == "max" else "less"
    x_name = f"{second.name} ({better} is better)"
    legend = [("dot orange", "Pareto front, by trial")]
    legend += [("dot pale", "other trials")] if len(pareto.front) < len(pareto.values) else []
    plot = Plot(_WIDTH, _HEIGHT, x, y, x_name=x_name, y_name=validation_name(first.name), n_ticks=6, legend=legend)
    front = set(pareto.front)
    for number in [*_thinned([number for number in pareto.values if number not in front]), *pareto.front]:
        values, on_front = pareto.values[number], number in front
        title = f"trial {number}: {score(values[0])}, {quantity(values[other])}"
        plot.dot(plot.x(values[other]), plot.y(values[0]), "dot orange" if on_front else "dot pale", title=title)
        if on_front:
            plot.text(plot.x(values[other]) - 6, plot.y(values[0]) - 7, str(number), anchor="end")
    best = ", ".join(map(str, pareto.front))
    return plot.render(f"{validation_name(first.name)} against {second.name}; on the front: trials {best}.")
