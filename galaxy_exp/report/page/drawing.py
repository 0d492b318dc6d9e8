"""Drawings as inline SVG in the page's own colours, so that they suit light and dark, and stay small."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from galaxy_exp.report.insight.axes import Axis, short_value, tick_values
from galaxy_exp.report.page.html import Html, element

__all__ = ["Drawing", "Plot", "padded_axis"]

_CHARACTER = 6.3
"""Mean width of a character of the drawings' text, in pixels at its size of 12."""


@dataclass
class Drawing:
    """Shapes on a canvas of a given size in pixels; colours and lines are classes of the page's style."""

    width: float
    height: float
    parts: list[Html] = field(default_factory=list)

    def text(self, x: float, y: float, content: str, *, anchor: str = "start", class_: str = "", turn: int = 0) -> None:
        """Text whose baseline begins, ends or has its middle at a point; turned clockwise by `turn` degrees."""
        rotation = f"rotate({turn} {x:.1f} {y:.1f})" if turn else None
        place = {"x": round(x, 1), "y": round(y, 1), "text_anchor": anchor, "transform": rotation}
        self.parts.append(element("text", content, class_=class_ or None, **place))

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        """A straight line."""
        ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        self.parts.append(element("line", class_=class_, **{name: round(at, 1) for name, at in ends.items()}))

    def path(self, points: Iterable[tuple[float, float]], class_: str, *, closed: bool = False) -> None:
        """A line through points."""
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(element("path", d=f"M{steps}{'Z' if closed else ''}", class_=class_))

    def dot(self, x: float, y: float, class_: str, radius: float = 4.0, title: str = "") -> None:
        """A dot, with a text that is shown when the mouse is over it."""
        place = {"cx": round(x, 1), "cy": round(y, 1), "r": radius, "class_": class_}
        self.parts.append(element("circle", element("title", title), **place) if title else element("circle", **place))

    def cross(self, x: float, y: float, class_: str, title: str) -> None:
        """A small x."""
        strokes = f"M{x - 4:.1f},{y - 4:.1f}l8,8m-8,0l8,-8"
        self.parts.append(element("g", element("title", title), element("path", d=strokes, class_=class_)))

    def box(self, x: float, y: float, width: float, height: float, class_: str) -> None:
        """A filled rectangle."""
        place = {"x": round(x, 1), "y": round(y, 1), "width": round(width, 1), "height": round(height, 1)}
        self.parts.append(element("rect", class_=class_, **place))

    def legend(self, entries: Sequence[tuple[str, str]], y: float) -> float:
        """Marks with their names, in as many rows as it takes; returns where the last row lies.

        Args:
            entries: the mark's class, which says what it is (`dot ...`, `line ...` or `cross ...`), and its name.
            y: where the first row lies.
        """
        x = 6.0
        for class_, name in entries:
            if x > 6 and x + 13 + _CHARACTER * len(name) > self.width:
                x, y = 6.0, y + 18
            if class_.startswith("line"):
                self.line(x, y - 4, x + 16, y - 4, class_)
                x += 8
            elif class_.startswith("cross"):
                self.cross(x + 4, y - 4, class_, name)
            else:
                self.dot(x + 4, y - 4, class_, 5.5 if "ring" in class_ else 4)
            self.text(x + 13, y, name, class_="muted")
            x += 13 + _CHARACTER * len(name) + 12
        return y

    def render(self, description: str) -> Html:
        """The `<svg>`; `description` takes its place for those who do not see it."""
        size = f"0 0 {self.width:g} {self.height:g}"
        style = f"max-width:{1.15 * self.width:g}px"
        return element("svg", *self.parts, viewBox=size, role="img", aria_label=description, style=style)


class Plot(Drawing):
    """A drawing with two axes, a light grid, and data in between.

    Args:
        width: of the whole, in pixels.
        height: likewise.
        x: the horizontal axis: a range, or choices.
        y: the vertical one.
        x_name: stands under the axis.
        y_name: stands above the axis.
        left: room for the numbers of the vertical axis.
        legend: as `Drawing.legend` takes it.
        x_ticks: texts by value along the horizontal axis; None: round numbers, at most `n_ticks` of them.
    """

    def __init__(
        self,
        width: float,
        height: float,
        x: Axis,
        y: Axis,
        *,
        x_name: str = "",
        y_name: str = "",
        left: float = 46,
        legend: Sequence[tuple[str, str]] = (),
        x_ticks: Mapping[float, str] | None = None,
        n_ticks: int = 8,
    ) -> None:
        super().__init__(width, height)
        self.x_axis, self.y_axis = x, y
        self.left, self.right = left, width - 18
        self.top = self.legend(legend, 34) + 20 if legend else 26.0
        self.bottom = height - (40 if x_name else 22)
        self._draw_axes(x_name, y_name, _round_ticks(x, n_ticks) if x_ticks is None else x_ticks)

    def x(self, value: float) -> float:
        """Where a value lies horizontally."""
        return self.left + self.x_axis.position(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Where a value lies vertically."""
        return self.bottom - self.y_axis.position(value) * (self.bottom - self.top)

    def at(self, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Points of the canvas from points in the units of the axes."""
        return [(self.x(x), self.y(y)) for x, y in points]

    def steps(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """As `at`, with each value kept until the next begins."""
        placed = self.at(points)
        corners = [(after[0], before[1]) for before, after in itertools.pairwise(placed)]
        return [point for pair in zip(placed, [*corners, placed[-1]], strict=True) for point in pair]

    def _draw_axes(self, x_name: str, y_name: str, x_ticks: Mapping[float, str]) -> None:
        for tick, text in _round_ticks(self.y_axis, 8).items():
            self.line(self.left, self.y(tick), self.right, self.y(tick), "grid")
            self.text(self.left - 6, self.y(tick) + 4, text, anchor="end", class_="muted")
        for tick, text in x_ticks.items():
            self.line(self.x(tick), self.bottom, self.x(tick), self.bottom + 4, "axis")
            self.text(self.x(tick), self.bottom + 17, text, anchor="middle", class_="muted")
        self.line(self.left, self.bottom, self.right, self.bottom, "axis")
        if x_name:
            self.text((self.left + self.right) / 2, self.height - 5, x_name, anchor="middle", class_="muted")
        if y_name:
            self.text(4, 13, y_name, class_="name")


def _round_ticks(axis: Axis, at_most: int) -> dict[float, str]:
    ticks = [float(value) for value in tick_values(axis)]
    kept = ticks[:: -(-len(ticks) // at_most)]
    if axis.is_whole:
        return {tick: short_value(round(tick)) for tick in kept}
    if max(map(abs, kept), default=0) >= 10_000 and all(tick.is_integer() for tick in kept):
        return {tick: f"{tick:,.0f}" for tick in kept}
    texts = ([f"{tick:.{digits}g}" for tick in kept] for digits in (3, 4, 5, 6, 9))
    distinct = next((each for each in texts if len(set(each)) == len(each)), list(map(str, kept)))
    return dict(zip(kept, distinct, strict=True))


def padded_axis(name: str, values: Iterable[float], *, is_log: bool = False, is_whole: bool = False) -> Axis:
    """An axis that holds all values with a little room at both ends."""
    known = list(values)
    low, high = min(known, default=0.0), max(known, default=1.0)
    if is_log:
        return Axis(name, (), low / 1.2, high * 1.2, True)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Axis(name, (), low - room, high + room, False, is_whole)
