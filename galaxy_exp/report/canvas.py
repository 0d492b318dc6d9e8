"""What all figures share: colours, axes, points, and saving as PNG for MLflow or as SVG for a page.

Figures are drawn with matplotlib's object API, each on a canvas of its own, so that any thread can draw them.
"""

from __future__ import annotations

import io
import json
import re
import textwrap
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from markupsafe import Markup

from galaxy_exp.redaction import hide_password
from galaxy_exp.report.words import printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GREY",
    "INK",
    "MOST_SHAPES",
    "PALE",
    "TRAIN",
    "VALIDATION",
    "draw_headline",
    "draw_image",
    "draw_legend",
    "draw_lines",
    "draw_panel",
    "draw_points",
    "grid_axes",
    "name_axes",
    "name_class",
    "new_axes",
    "new_figure",
    "plain_axes",
    "plain_text",
    "save_figure",
    "to_svg",
    "whole_ticks",
]

TRAIN = "#0072B2"
"""Blue and vermillion differ with any colour vision (Okabe & Ito 2008, Color Universal Design)."""
VALIDATION = "#D55E00"
PALE = "#9DB8CC"
INK = "#222222"
GREY = "#767676"
_RULE = "#E6E6E6"

MOST_SHAPES = 400
"""More points or lines than this are one image within an SVG: as single shapes they make a page large."""


_VARIABLES = {TRAIN: "blue", VALIDATION: "orange", PALE: "pale", INK: "ink", GREY: "muted", _RULE: "rule"}
_PAGE_COLOURS = {colour.lower(): f"var(--{name})" for colour, name in _VARIABLES.items()} | {"#ffffff": "var(--paper)"}
"""Variables of the pages' style sheet, which has a light, a dark and a printed set of colours."""


_SVG_SETTINGS = threading.Lock()
"""matplotlib's settings are global; those of SVG are changed while a figure is saved, by one thread at a time."""


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of that size in inches, on an Agg canvas; pyplot is not involved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float, left: float = 0.75, top: float = 0.5) -> Axes:
    """Axes in a new figure without a headline, for a page that has the title in its text.

    In inches: the size of the figure, the room for names beside the axes, and that for the legend above them.
    """
    figure = new_figure(width, height)
    return figure.add_axes((left / width, 0.5 / height, 1 - (left + 0.2) / width, 1 - (0.5 + top) / height))


def draw_headline(figure: Figure, title: str, note: str = "", note_colour: str = GREY) -> None:
    """Writes the title into the upper left corner, and a smaller line under it; the same on every figure, in inches."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    figure.text(0.15 / width, 1 - 0.32 / height, plain_text(title), fontsize=13, color=INK, weight="bold")
    if note:
        figure.text(0.15 / width, 1 - 0.57 / height, plain_text(note), fontsize=9.5, color=note_colour)


def draw_legend(axes: Axes, columns: int = 3) -> None:
    """Writes the names of what was drawn above the axes."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, names, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, frameon=False,
                    fontsize=9, labelcolor=INK, columnspacing=1.2, handletextpad=0.5)  # fmt: skip


def draw_points(axes: Axes, points: Mapping[str, tuple[float, float]], **style: Any) -> None:
    """Dots at (x, y), finite, each with its title, which a page shows under the mouse; nothing without any.

    The style is as `Axes.scatter` takes it.
    """
    if not points:
        return
    x, y = zip(*points.values(), strict=True)
    options: dict[str, Any] = {"linewidths": 0.5, "edgecolors": "white", "zorder": 3} | style
    _name_shapes(axes.scatter(x, y, **options), list(points))


def draw_lines(axes: Axes, lines: Mapping[str, Sequence[tuple[float, float]]], **style: Any) -> None:
    """Lines through points (x, y), each with its title, as `draw_points`; style as `LineCollection` takes it."""
    from matplotlib.collections import LineCollection

    if lines:
        collection = LineCollection(list(lines.values()), **style)
        axes.add_collection(collection)
        axes.autoscale_view()
        _name_shapes(collection, list(lines))


def _name_shapes(shapes: Artist, titles: Sequence[str]) -> None:
    """Keeps the titles where `to_svg` finds them: the id that matplotlib gives to the group of these shapes."""
    if len(titles) > MOST_SHAPES:
        shapes.set_rasterized(True)
    else:
        shapes.set_gid(json.dumps(titles))


def draw_image(axes: Axes, image: Any, left: float, top: float, side: float) -> None:
    """An image (height, width, 3), its longer side `side` long, in the middle of the unit square at that corner."""
    height, width = (length / max(image.shape[:2]) * side / 2 for length in image.shape[:2])
    x, y = left + 0.5, top + 0.5
    axes.imshow(image, extent=(x - width, x + width, y + height, y - height), interpolation="bilinear", aspect="auto")


def plain_axes(axes: Axes) -> Axes:
    """The same axes without ticks and frame, for tables and pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)
    return axes


def grid_axes(axes: Axes, *, which: Literal["both", "x", "y"] = "both") -> Axes:
    """The same axes in grey, with a light grid behind the data and open to the top and right."""
    axes.grid(axis=which, color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(GREY)
    axes.tick_params(labelsize=9, colors=GREY, which="both")
    return axes


def name_axes(axes: Axes, x: str, y: str = "") -> None:
    """Writes what is drawn along the axes."""
    axes.set_xlabel(plain_text(x), color=GREY)
    axes.set_ylabel(plain_text(y), color=GREY)


def whole_ticks(at_most: int = 10) -> Any:
    """Marks at whole numbers, for trials and epochs."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, nbins=at_most, min_n_ticks=1)


def plain_text(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return printable(text).replace("$", r"\$")


def name_class(name: str, width: int, max_lines: int) -> str:
    """A class name broken to `width` characters a line, shortened with an ellipsis after `max_lines`."""
    lines = textwrap.wrap(plain_text(name), width, max_lines=max_lines, placeholder="…", break_on_hyphens=False)
    return f"{plain_text(name)[: width - 1]}…" if lines == ["…"] else "\n".join(lines)


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a PNG, making its folder; fast compression, since speed matters more than a few kilobytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", pil_kwargs={"compress_level": 3})
    return path


def to_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an `<svg>` within a page: text is text, and colours are those of the page's style sheet.

    The name is unique within the page, since the ids in the drawing follow from it; the description is for those who do
    not see the figure.
    """
    import matplotlib

    drawn, about_matplotlib = io.StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _SVG_SETTINGS, matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", dpi=80, facecolor="none", metadata=about_matplotlib)
    text = re.sub(r'<!DOCTYPE[^>]*>| xmlns(:\w+)?="[^"]*"', "", drawn.getvalue()).replace("xlink:href", "href")
    root = ElementTree.fromstring(text)
    used = set(re.findall(r'href="#([^"]+)"', text))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("style", "clipPath"):
                parent.remove(child)
        _simplify(parent, used)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": printable(description),
        "style": f"max-width:{110 * figure.get_figwidth():.0f}px",
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def draw_panel(name: str, description: str, axes: Axes, draw: Callable[..., None], *arguments: Any) -> Markup:
    """What `draw(axes, *arguments)` draws, as `to_svg` returns it."""
    draw(axes, *arguments)
    return to_svg(cast("Figure", axes.figure), name, description)


def _simplify(element: ElementTree.Element, used: set[str]) -> None:
    """Leaves out ids that nothing refers to and digits that nobody sees; names the shapes; changes the colours."""
    attributes = element.attrib
    if (name := attributes.get("id", "")) not in used:
        attributes.pop("id", None)
        if name.startswith("["):
            _add_titles(element, json.loads(name))
    attributes.pop("clip-path", None)
    for key in {"d", "x", "y", "transform"} & set(attributes):
        attributes[key] = re.sub(r"(\.\d\d)\d+", r"\1", " ".join(attributes[key].split()))
    if "style" in attributes:
        style = re.sub(r"(\d)px [^;]*", r"\1px system-ui, sans-serif", attributes["style"])
        attributes["style"] = re.sub("#[0-9a-f]{6}", lambda found: _PAGE_COLOURS.get(found[0], found[0]), style)
    if element.tag == "text":
        element.text = hide_password(element.text or "")


def _add_titles(group: ElementTree.Element, titles: Sequence[str]) -> None:
    within = {shape for definitions in group.iter("defs") for shape in definitions.iter()}
    shapes = [shape for shape in group.iter() if shape.tag in ("use", "path") and shape not in within]
    for shape, title in zip(shapes, titles, strict=True):
        ElementTree.SubElement(shape, "title").text = printable(title)
