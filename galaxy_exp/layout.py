"""Tables and records as plain text that fits a width, without ever breaking a word."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from galaxy_exp.wording import flatten_text

__all__ = ["cell_text", "choose_columns", "column_names", "lay_out_record", "lay_out_table", "terminal_width", "wrap"]

_GAP = "  "
_SENTENCE = 30
"""Characters from which on a cell with spaces is a sentence, which may be continued on a next line."""
_NARROWEST = 24
"""Characters that a column of sentences has at least."""


def terminal_width() -> int:
    """Characters of a line: COLUMNS if set, else those of the terminal that any of the three streams is, else 80."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            width = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
        except (OSError, ValueError):  # no terminal, or closed
            continue
        if width:
            return width
    return 80


def column_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in order of appearance."""
    return list(dict.fromkeys(column for row in rows for column in row))


def cell_text(value: Any) -> str:
    """A value as a table shows it: a float with at least four digits, nothing for None, no control characters."""
    if isinstance(value, float):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(cell_text, value))
    return "" if value is None else flatten_text(str(value))


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """A text as lines that end between words; the second and later ones begin with `indent` more than the first.

    A word that is longer than `width` has a line of its own, and is not broken.
    """
    text = flatten_text(text).rstrip()
    if _width(text) <= width:
        return [text]
    own = text[: len(text) - len(text.lstrip())]
    lines, line = [], own
    for space, word in re.findall(r"( *)([^ ]+)", text.lstrip()):
        if line.strip() and _width(line + space + word) > width:
            lines.append(line)
            line = own + indent + word
        else:
            line += space + word
    return [*lines, line]


def lay_out_record(entries: Mapping[str, Any], width: int) -> str:
    """A line for each entry that is not empty, its name before it; long values continue below themselves."""
    shown = {name: text for name, value in entries.items() if (text := cell_text(value))}
    margin = max(map(_width, shown), default=0) + len(_GAP)
    lines = []
    for name, text in shown.items():
        first, *others = wrap(text, max(20, width - margin))
        lines.append(_pad(name, margin) + first)
        lines += [" " * margin + line for line in others]
    return "\n".join(lines)


def lay_out_table(rows: Sequence[Mapping[str, Any]], width: int, importance: Sequence[str] = ()) -> str:
    """Rows below each other, each column as wide as it has to be; only sentences are continued on a next line.

    Columns without a value are left out. Of the columns in `importance` those are shown that fit, the most important
    first; the others are named below the table. If that does not help, each row is printed as a record.

    Args:
        importance: names of columns, the most important first; the first two are never left out. Columns that it does
            not name are more important than all that it names. Empty: no column may be left out.
    """
    texts = {name: _column_texts([row.get(name) for row in rows]) for name in column_names(rows)}
    texts = {name: cells for name, cells in texts.items() if any(cells)}
    numeric = {name for name in texts if all(isinstance(row.get(name), int | float | None) for row in rows)}
    least = {name: _least(name, cells) for name, cells in texts.items()}
    shown = choose_columns(least, width, importance)
    if _total({name: least[name] for name in shown}) > width:
        return "\n\n".join(lay_out_record(row, width) for row in rows)
    widths = {name: least[name] for name in texts if name in shown}
    lines = _draw({name: texts[name] for name in widths}, widths, numeric, width)
    if len(shown) < len(texts):
        lines += wrap(f"no room for: {', '.join(name for name in texts if name not in shown)}", width, _GAP)
    return "\n".join(lines)


def choose_columns(widths: Mapping[str, int], width: int, importance: Sequence[str], gap: int = len(_GAP)) -> list[str]:
    """The names of the columns that fit, by how narrow each may become, and of those that `lay_out_table` must show."""
    shown = [name for name in widths if name not in importance[2:]]
    for name in importance[2:]:
        if name not in widths:
            continue
        if sum(widths[each] for each in (*shown, name)) + gap * len(shown) > width:
            break  # what is less important is not shown in place of what is more
        shown.append(name)
    return shown


def _column_texts(values: Sequence[Any]) -> list[str]:
    """The cells of a column; scores have four decimals, so that they can be compared at a glance."""
    numbers = [abs(value) for value in values if isinstance(value, float)]
    if all(0.001 <= number < 10 or number == 0 for number in numbers):
        return [f"{value:.4f}" if isinstance(value, float) else cell_text(value) for value in values]
    return list(map(cell_text, values))


def _width(text: str) -> int:
    """Places that a text takes on a terminal: two for each wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def _pad(text: str, width: int, right: bool = False) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _full(name: str, cells: Sequence[str]) -> int:
    return max(map(_width, [name, *cells]))


def _least(name: str, cells: Sequence[str]) -> int:
    """How narrow a column may become: that of a word for sentences, else all of it."""
    full = _full(name, cells)
    if not any(_width(cell) > _SENTENCE and " " in cell for cell in cells):
        return full
    longest = max((_width(word) for cell in cells for word in cell.split()), default=0)
    return min(full, max(_NARROWEST, _width(name), longest))


def _total(widths: Mapping[str, int]) -> int:
    """Of columns beside each other."""
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _draw(texts: Mapping[str, Sequence[str]], widths: dict[str, int], numeric: set[str], width: int) -> list[str]:
    spare = width - _total(widths)
    for name, cells in texts.items():
        more = min(spare, _full(name, cells) - widths[name])
        widths[name] += more
        spare -= more
    lines = [_join([_pad(name, widths[name], name in numeric) for name in texts])]
    lines.append(_join(["-" * widths[name] for name in texts]))
    for cells in zip(*texts.values(), strict=True):
        parts = [wrap(cell, widths[name]) for name, cell in zip(texts, cells, strict=True)]
        for place in range(max(map(len, parts))):
            line = [part[place] if place < len(part) else "" for part in parts]
            lines.append(_join([_pad(each, widths[n], n in numeric) for n, each in zip(texts, line, strict=True)]))
    return lines


def _join(cells: Sequence[str]) -> str:
    return _GAP.join(cells).rstrip()
