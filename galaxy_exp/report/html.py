"""How templates become pages: every text is escaped, no password reaches a page, and tables are records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from galaxy_exp.report import words

__all__ = ["Cell", "Table", "environment", "render"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table that is more than a text."""

    text: str
    note: str = ""
    """A smaller line below, such as an interval."""
    share: float | None = None
    """Length of a bar behind the text, 0 to 1."""
    key: float | None = None
    """What the table is sorted by, if the text does not begin with it."""
    svg: Markup | None = None
    """A figure in place of the text."""
    is_code: bool = False
    is_strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names the rows."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    text: Collection[int] = (0,)
    """The columns that hold text; the others hold numbers."""
    style: str = ""
    """Class in the style sheet."""


def render(template: str, **content: Any) -> str:
    """The page that a template makes of some content."""
    return environment().get_template(template).render(content)


@cache
def environment() -> Environment:
    """Jinja with the functions of `words` as filters; a name that a template does not get is an error."""
    found = Environment(
        loader=PackageLoader("galaxy_exp.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    found.filters |= {name: getattr(words, name) for name in words.__all__ if callable(getattr(words, name))}
    return found


def _finalize(value: Any) -> Any:
    """Markup is not changed; None is left out."""
    return value if isinstance(value, Markup) else "" if value is None else words.printable(value)
