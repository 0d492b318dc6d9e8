"""HTML by construction: what is not HTML already is escaped, so that no name in a sweep can break the page."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from galaxy_exp.redaction import hide_password

__all__ = [
    "Html",
    "code",
    "definitions",
    "element",
    "escape",
    "figure",
    "join",
    "paragraph",
    "preformatted",
    "scroll_box",
    "table",
]

_VOID = frozenset({"meta", "img", "br", "hr", "path", "line", "circle", "rect", "polyline"})
_CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML does not allow in a document; the page is well-formed XML as well."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(content: object) -> Html:
    """Any text as HTML, passwords in addresses taken out; HTML stays as it is."""
    if isinstance(content, Html):
        return content
    return Html(html.escape(hide_password(_CONTROL.sub("\ufffd", str(content)))))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Everything escaped and put together; None is left out."""
    return Html(separator.join(escape(part) for part in parts if part is not None))


def element(name: str, /, *content: object, **attributes: Any) -> Html:
    """An element: `element("td", 3, class_="number")` is `<td class="number">3</td>`.

    Args:
        content: escaped unless it is `Html`; None is left out.
        attributes: `_` stands for `-`, and at the end for nothing; None and False leave one out, True gives it
            without a value.
    """
    start = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    if name in _VOID and not content:
        return Html(f"<{name}{start}/>")
    return Html(f"<{name}{start}>{join(content)}</{name}>")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    text = "" if value is True else f"{value:.5g}" if isinstance(value, float) else value
    return f' {name}="{escape(text)}"'


def paragraph(*content: object, **attributes: Any) -> Html:
    """`<p>`."""
    return element("p", *content, **attributes)


def code(text: object) -> Html:
    """`<code>`."""
    return element("code", text)


def definitions(entries: Sequence[tuple[object, object]]) -> Html:
    """A list of terms, each with what it comes to; entries without content are left out."""
    known = [(term, content) for term, content in entries if content not in (None, "")]
    pairs = [element("div", element("dt", term), element("dd", content)) for term, content in known]
    return element("dl", *pairs, class_="facts")


def scroll_box(content: Html, label: str, class_: str = "scroll") -> Html:
    """A region that scrolls by itself where the page is narrow, and can be scrolled with the keyboard."""
    return element("div", content, class_=class_, role="region", aria_label=label, tabindex=0)


def table(
    caption: str,
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    text: Collection[int] = (0,),
    class_: str = "",
) -> Html:
    """A table in a scroll box; the first cell of a row is its header.

    Args:
        caption: what it shows; also the name of the region.
        header: one cell a column.
        rows: cells; a cell that is a `<td>` already is taken as it is.
        text: which columns hold text, from 0; the others hold numbers.
    """
    kinds = ["text" if column in text else "number" for column in range(len(header))]
    head = element(
        "tr", *(element("th", name, scope="col", class_=kind) for name, kind in zip(header, kinds, strict=True))
    )
    body = [element("tr", *(_cell(index, cell, kinds[index]) for index, cell in enumerate(row))) for row in rows]
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return scroll_box(whole, caption, f"scroll {class_}".strip())


def _cell(index: int, cell: object, kind: str) -> Html:
    if isinstance(cell, Html) and cell.startswith(("<td", "<th")):
        return cell
    content = "" if cell is None else cell
    return element("th", content, scope="row", class_=kind) if index == 0 else element("td", content, class_=kind)


def figure(drawing: Html, caption: object, *, label: str, wide: bool = False) -> Html:
    """A drawing with what it shows; a wide one scrolls by itself.

    Args:
        label: names it for those who do not see it.
    """
    shown = scroll_box(drawing, label, "scroll wide") if wide else drawing
    return element("figure", shown, element("figcaption", caption), aria_label=label)


def preformatted(text: str, label: str) -> Html:
    """Text to be copied as it stands; one click selects all of it."""
    return element("pre", element("code", text), role="region", aria_label=label, tabindex=0)
