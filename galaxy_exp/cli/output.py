"""Results on stdout as a table, JSON or CSV; everything else goes to stderr."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from galaxy_exp.errors import BadInputError, is_disk_full
from galaxy_exp.layout import column_names, lay_out_record, lay_out_table, terminal_width, wrap
from galaxy_exp.quiet import discard, discard_unwritten

__all__ = ["print_line", "print_record", "print_rows", "progress_bar", "say", "writing"]


def say(message: str = "") -> None:
    """Prints one line on stderr; continues if that is not possible: its reader or terminal is gone, its disk full."""
    try:
        click.echo(message, err=True)
    except OSError as error:
        (discard_unwritten if is_disk_full(error) else discard)(sys.stderr)


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


def print_rows(
    rows: Sequence[dict[str, Any]],
    output_format: str,
    title: str = "",
    empty: str = "nothing",
    importance: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> None:
    """Prints records; the columns are the keys of all rows, in order of appearance.

    In JSON the values keep their types and nesting; in CSV nested values are written as JSON. A table fits
    the terminal.

    Args:
        output_format: "table", "json" or "csv".
        empty: printed in place of a table without rows.
        importance: the columns of a table that may be left out for lack of room; see `lay_out_table`.
        columns: of CSV; empty: the keys of the rows, so that no rows have no header.
    """
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2, default=str))
    elif output_format == "csv":
        writer = csv.DictWriter(sys.stdout, columns or column_names(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _csv_cell(value) for key, value in row.items()} for row in rows)
    elif rows:
        if title:
            print_line(title, bold=True)
        click.echo(lay_out_table(rows, terminal_width(), importance))
    else:
        print_line(empty)


def print_record(entries: Mapping[str, Any]) -> None:
    """Prints a line for each entry that is not empty."""
    click.echo(lay_out_record(entries, terminal_width()))


@contextmanager
def progress_bar(total: int, *, transient: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr if that is a terminal; gives a function that takes the number of images done so far.

    A `transient` bar is removed at the end.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # stdout stays as it is: rich would print it on stderr
    with Progress(*columns, console=Console(stderr=True), transient=transient, redirect_stdout=False) as bar:
        task = bar.add_task("images", total=total)
        yield lambda done: bar.update(task, completed=done)


def _csv_cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def print_line(text: str, *, bold: bool = False) -> None:
    """Prints a line on stdout; one that is too long continues, indented, on the next one."""
    for line in wrap(text, terminal_width(), "  "):
        click.echo(click.style(line, bold=True) if bold else line)
