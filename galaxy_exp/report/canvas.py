"""What all figures share: colours, an object-API figure without global state, and saving it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GREY",
    "INK",
    "TRAIN",
    "VALIDATION",
    "draw_headline",
    "grid_axes",
    "name_class",
    "new_figure",
    "plain_axes",
    "plain_text",
    "save_figure",
]

TRAIN = "#0072B2"
"""Blue and vermillion are told apart with any colour vision (Okabe & Ito 2008, Color Universal Design)."""
VALIDATION = "#D55E00"
INK = "#222222"
GREY = "#767676"

DOTS_PER_INCH = 120


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of that size in inches, on its own Agg canvas; pyplot is not involved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def draw_headline(figure: Figure, title: str, note: str = "", note_colour: str = GREY) -> None:
    """Writes the title into the upper left corner, and a smaller line under it; the same on every figure, in inches."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    figure.text(0.15 / width, 1 - 0.32 / height, plain_text(title), fontsize=13, color=INK, weight="bold")
    if note:
        figure.text(0.15 / width, 1 - 0.57 / height, plain_text(note), fontsize=9.5, color=note_colour)


def plain_axes(axes: Axes) -> Axes:
    """The same axes without ticks and frame, for tables and pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)
    return axes


def grid_axes(axes: Axes, *, which: Literal["both", "x", "y"] = "both") -> Axes:
    """The same axes in grey, with a light grid behind the data and open to the top and right."""
    axes.grid(axis=which, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=GREY)
    return axes


def plain_text(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a PNG, making its folder; fast compression, since speed matters more than a few kilobytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", pil_kwargs={"compress_level": 3})
    return path


def name_class(name: str, width: int, max_lines: int) -> str:
    """A class name broken to `width` characters a line, shortened with an ellipsis after `max_lines`."""
    lines = textwrap.wrap(plain_text(name), width, max_lines=max_lines, placeholder="…", break_on_hyphens=False)
    return "\n".join(lines)
