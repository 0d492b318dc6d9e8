"""Results on stdout as a table, JSON or CSV; everything else goes to stderr."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from galaxy_exp.errors import BadInputError, is_disk_full

__all__ = ["discard", "format_duration", "print_rows", "progress_bar", "say", "writing"]


def say(message: str = "") -> None:
    """Prints one line on stderr; continues if its reader is gone."""
    try:
        click.echo(message, err=True)
    except BrokenPipeError:
        discard(sys.stderr)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError of writing to a path of the user's into one line.

    Raises:
        BadInputError: the path, or its folder, cannot be written to; not for a full disk or another file.
    """
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        is_output = place is not None and (place in path.parents or path.parent in (place.parent, *place.parents))
        if not is_output or is_disk_full(error):
            raise
        raise BadInputError(f"{path}: cannot be written: {place}: {error.strerror}") from None


def discard(stream: TextIO) -> None:
    """Discards a stream's buffer and all later output, when its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_rows(rows: Sequence[dict[str, Any]], output_format: str, title: str = "", empty: str = "nothing") -> None:
    """Prints records; the columns are the keys of all rows, in order of appearance.

    In JSON the values keep their types and nesting; in CSV nested values are written as JSON.

    Args:
        output_format: "table", "json" or "csv".
        title: of a table.
        empty: printed in place of a table without rows.
    """
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2, default=str))
    elif output_format == "csv":
        _print_csv(rows)
    elif rows:
        _print_table(rows, title)
    else:
        click.echo(empty)


@contextmanager
def progress_bar(total: int, *, transient: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr if that is a terminal; gives a function that takes the number of images done so far.

    Args:
        transient: removes the bar at the end.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=transient) as bar:
        task = bar.add_task("images", total=total)
        yield lambda done: bar.update(task, completed=done)


def format_duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict | list) else value


def _print_table(rows: Sequence[dict[str, Any]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in _columns(rows):
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in _columns(rows)))
    width = None if sys.stdout.isatty() else 200  # a file or a pipe has no width
    console = Console(width=width, markup=False, emoji=False)
    with console.capture() as captured:  # printed by click, since Rich ends the process when the reader is gone
        if title:  # not as the table's title, which Rich pads and folds to the table's width
            console.print(title, style="bold", highlight=False, soft_wrap=True)
        console.print(table, soft_wrap=False)
    click.echo(captured.get(), nl=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)
