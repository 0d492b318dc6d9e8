"""Results on stdout as a table, JSON or CSV; everything else goes to stderr."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from galaxy_exp.errors import BadInputError, is_disk_full

if TYPE_CHECKING:
    from galaxy_exp.config.reading import FlagValue

__all__ = [
    "discard",
    "format_duration",
    "format_option",
    "image_folder_flags",
    "image_folder_options",
    "print_rows",
    "say",
    "uri_option",
    "writing",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def format_option(command: _Command) -> _Command:
    """Adds `--format table|json|csv` to a command."""
    option = click.option(
        "--format",
        "output_format",
        type=click.Choice(["table", "json", "csv"]),
        default="table",
        show_default=True,
        help="how to print the result on stdout",
    )
    return option(command)


def uri_option(command: _Command) -> _Command:
    """Adds `--uri URI`, the MLflow tracking store, to a command."""
    option = click.option(
        "--uri", metavar="URI", help="MLflow tracking store; left out: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db"
    )
    return option(command)


def image_folder_options(command: _Command) -> _Command:
    """Adds `--image-folder` and `--file-suffix`, which say where the files of a table are, to a command."""
    folder = click.option("--image-folder", metavar="FOLDER", help="data.image_folder: where a table's files are")
    suffix = click.option(
        "--file-suffix", metavar="SUFFIX", help="data.file_suffix: makes files of a table's ids: .jpg"
    )
    return folder(suffix(command))


def image_folder_flags(image_folder: str | None, file_suffix: str | None) -> list[FlagValue]:
    """The keys that `image_folder_options` give."""
    from galaxy_exp.config.reading import FlagValue

    folder = FlagValue("--image-folder", "data.image_folder", image_folder)
    suffix = FlagValue("--file-suffix", "data.file_suffix", file_suffix)
    return [each for each in (folder, suffix) if each.value is not None]


def say(message: str = "") -> None:
    """One line for the person, on stderr; a reader of stderr that went away is no reason to stop."""
    try:
        click.echo(message, err=True)
    except BrokenPipeError:
        discard(sys.stderr)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what keeps an output of the user's from being written into one line.

    Raises:
        BadInputError: the path, or the folder it is in, cannot be written to; not for a full disk or another file.
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
    """Lets what is in a stream's buffer, and all that follows, go nowhere: its reader went away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_rows(rows: Sequence[dict[str, Any]], output_format: str, title: str = "", empty: str = "nothing") -> None:
    """Prints records; the keys of the first to last row, in order of appearance, are the columns.

    In JSON the values keep their types and nesting; in CSV and tables nested values are written as JSON.
    """
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2, default=str))
    elif output_format == "csv":
        _print_csv(rows)
    elif rows:
        _print_table(rows, title)
    else:
        click.echo(empty)


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
    width = None if sys.stdout.isatty() else 200  # a file or a pipe has no width to fit into
    console = Console(width=width, markup=False, emoji=False)
    with console.capture() as captured:  # printed by click, since Rich ends the process when the reader went away
        if title:  # not the table's own, which is padded and folded to its width
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
