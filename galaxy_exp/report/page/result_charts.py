"""The drawings of the result: gains, finalists, calibration and the winner's learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from galaxy_exp.evaluation.confidence import Calibration
from galaxy_exp.report.insight.axes import Axis, short_value, tick_values
from galaxy_exp.report.learning_curves import Curve
from galaxy_exp.report.page.drawing import Drawing, Plot, padded_axis
from galaxy_exp.report.page.html import Html
from galaxy_exp.report.page.material import Finalist, Gain
from galaxy_exp.report.page.words import count, metric_name, score, signed

__all__ = ["draw_calibration", "draw_coverage", "draw_finalists", "draw_gains", "draw_learning_curve"]

_ROW = 34


def draw_gains(gains: Sequence[Gain]) -> Html:
    """The gains over the baseline with their intervals, against zero."""
    rows = [gain for gain in gains if gain.metric != "loss"]
    axis = padded_axis("gain", [0.0, *(end for gain in rows for end in (gain.low, gain.high))])
    drawing, left, right, bottom = Drawing(440, 44 + _ROW * len(rows)), 122, 424, 10 + _ROW * len(rows)

    def x(value: float) -> float:
        return left + axis.position(value) * (right - left)

    for tick in tick_values(axis):
        drawing.line(x(float(tick)), 4, x(float(tick)), bottom, "grid")
        drawing.text(x(float(tick)), bottom + 17, short_value(tick), anchor="middle", class_="muted")
    drawing.line(x(0), 4, x(0), bottom, "axis strong")
    for row, gain in enumerate(rows):
        y = 10 + _ROW * (row + 0.5)
        class_ = "orange" if gain.is_clear else "pale"
        drawing.text(left - 10, y + 4, metric_name(gain.metric), anchor="end")
        drawing.line(x(gain.low), y, x(gain.high), y, f"line bar {class_}")
        drawing.dot(x(gain.difference), y, f"dot {class_}", 5.5)
        drawing.text(x(gain.difference), y - 10, signed(gain.difference), anchor="middle", class_="halo")
    drawing.text((left + right) / 2, bottom + 32, "winner minus baseline, sealed test", anchor="middle", class_="muted")
    told = "; ".join(f"{metric_name(g.metric)} {signed(g.difference)}, {g.low:.3f} to {g.high:.3f}" for g in rows)
    return drawing.render(f"Gain over the baseline with 95% intervals: {told}.")


def draw_finalists(finalists: Sequence[Finalist], objective: str) -> Html:
    """What each finalist reached with each seed, and the mean."""
    searched = [each.searched for each in finalists if each.searched is not None]
    axis = padded_axis(objective, [*searched, *(value for each in finalists for value in each.values)])
    height = 34 + _ROW * len(finalists)
    drawing, left, right, bottom = Drawing(440, height + 40), 70, 424, height
    for tick in tick_values(axis):
        at = left + axis.position(tick) * (right - left)
        drawing.line(at, 32, at, bottom, "grid")
        drawing.text(at, bottom + 17, short_value(tick), anchor="middle", class_="muted")
    for row, each in enumerate(finalists):
        y = 34 + _ROW * (row + 0.5)
        drawing.text(left - 12, y + 4, f"trial {each.number}", anchor="end")
        mean = left + axis.position(each.mean) * (right - left)
        drawing.line(mean, y - 10, mean, y + 10, "line best")
        for value in each.values:
            at = left + axis.position(value) * (right - left)
            drawing.dot(at, y, "dot blue", 4.5, f"trial {each.number} again: {score(value)}")
        if each.searched is not None:
            at = left + axis.position(each.searched) * (right - left)
            drawing.dot(at, y, "dot ring", 5.5, f"trial {each.number} in the search: {score(each.searched)}")
    drawing.text((left + right) / 2, bottom + 34, objective, anchor="middle", class_="muted")
    drawing.legend([("dot blue", "another seed"), ("line best", "their mean"), ("dot ring", "in the search")], 16)
    told = "; ".join(f"trial {each.number} mean {score(each.mean)}" for each in finalists)
    return drawing.render(f"{objective} of the finalists with each seed: {told}.")


def draw_calibration(calibration: Calibration) -> Html:
    """Accuracy against confidence; the area of a dot grows with the number of images."""
    x, y = Axis("confidence", (), 0.0, 1.0), Axis("accuracy", (), 0.0, 1.0)
    plot = Plot(360, 330, x, y, x_name="probability of the predicted class", y_name="share that is right")
    plot.path(plot.at([(0, 0), (1, 1)]), "line ideal")
    plot.path(plot.at([(each.confidence, each.accuracy) for each in calibration.bins]), "line blue thin")
    most = max(each.n_images for each in calibration.bins)
    for each in calibration.bins:
        title = f"{count(each.n_images, 'image')}: probability {each.confidence:.2f}, right {each.accuracy:.2f}"
        radius = 3 + 8 * math.sqrt(each.n_images / most)
        plot.dot(plot.x(each.confidence), plot.y(each.accuracy), "dot blue", round(radius, 1), title)
    told = "; ".join(f"{each.confidence:.2f}: {each.accuracy:.2f}" for each in calibration.bins)
    return plot.render(f"Share of right predictions by their probability. {told}.")


def draw_coverage(rows: Sequence[Mapping[str, Any]]) -> Html:
    """Accuracy against the share of images kept, with intervals; rows of `confidence.coverage_table`."""
    shown = sorted(rows, key=lambda row: row["coverage"])
    x = Axis("coverage", (), 0.0, 100.0)
    y = padded_axis("accuracy", [end for row in shown for end in row["interval"]])
    plot = Plot(400, 290, x, y, x_name="images kept (%), the most confident first", y_name="accuracy on those")
    lows, highs = ([(100 * row["coverage"], row["interval"][end]) for row in shown] for end in (0, 1))
    plot.path(plot.at([*lows, *reversed(highs)]), "area", closed=True)
    plot.path(plot.at([(100 * row["coverage"], row["accuracy"]) for row in shown]), "line blue")
    for row in shown:
        title = f"{row['coverage']:.0%} kept, {count(row['n_images'], 'image')}: {score(row['accuracy'])}"
        plot.dot(*plot.at([(100 * row["coverage"], row["accuracy"])])[0], "dot blue", 3, title)
    told = "; ".join(f"{row['coverage']:.0%}: {score(row['accuracy'])}" for row in rows)
    return plot.render(f"Accuracy by the share of images kept. {told}.")


def draw_learning_curve(curve: Curve, best_epoch: int) -> Html:
    """Training against validation over the epochs of one trial."""
    series = (("line blue", "training", curve.train), ("line best", "validation", curve.validation))
    known = [value for _, _, values in series for value in values if math.isfinite(value)]
    n_epochs = max(len(curve.train), len(curve.validation))
    x = Axis("epoch", (), 1 if n_epochs > 1 else 0, max(n_epochs, 1), False, True)
    y = padded_axis(curve.title, known)
    marks = [(class_, name) for class_, name, values in series if values]
    legend = [*marks, ("line ideal", "best epoch")]
    plot = Plot(340, 240, x, y, x_name="epoch", y_name=curve.title, n_ticks=6, legend=legend)
    for class_, _, values in series:
        points = [(epoch, value) for epoch, value in enumerate(values, start=1) if math.isfinite(value)]
        if len(points) > 1:
            plot.path(plot.at(points), class_)
        elif points:
            plot.dot(*plot.at(points)[0], class_.replace("line", "dot"))
    if best_epoch:
        plot.line(plot.x(best_epoch), plot.top, plot.x(best_epoch), plot.bottom, "line ideal")
    told = f"{curve.title} over {count(n_epochs, 'epoch')}"
    for _, name, values in series:
        if known := [value for value in values if math.isfinite(value)]:
            told += f", {name} from {score(known[0])} to {score(known[-1])}"
    return plot.render(f"{told}; the best epoch is {best_epoch}." if best_epoch else f"{told}.")
