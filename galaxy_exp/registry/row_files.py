"""Rows of predictions as a file: CSV, a JSON list, JSON lines or Parquet, written as the rows come."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

from galaxy_exp.errors import BadInputError
from galaxy_exp.folders import write_atomically

__all__ = ["FORMATS", "Row", "choose_format", "write_rows", "write_rows_to_stdout"]

Row = dict[str, Any]
"""`name`, the ids of a table as text, `label` (int), `class_name`, `probability`, a `p_<class name>` for each class,
`error`, in this order; None without one."""

FORMATS = ("csv", "json", "jsonl", "parquet")
"""json: one list, a row a line; jsonl: an object a line."""
_ROWS_PER_GROUP = 8192
"""Of a Parquet file; as many rows are held in memory."""


def choose_format(path: Path | None, stated: str | None) -> str:
    """The format that is stated, else that of the file's ending, else CSV.

    Raises:
        BadInputError: the ending says nothing, or Parquet is asked for without a file.
    """
    found = stated or ("csv" if path is None else path.suffix.lower().removeprefix("."))
    if found not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise BadInputError(f"--output {path}: expected a name ending in one of {endings}, or --format as well")
    if path is None and found == "parquet":
        raise BadInputError("--format parquet: expected --output FILE as well; Parquet cannot be written to a pipe")
    return found


def write_rows(rows: Iterable[Row], columns: Sequence[str], path: Path, format: str) -> None:
    """Writes a file that appears under its name only when it is complete and on disk; until then an older one stays.

    On return its name is on disk too.

    Args:
        rows: as `predict_to_rows` gives them.
        columns: their keys; the header of a file without rows.
        path: where to.
        format: one of `FORMATS`.

    Raises:
        BadInputError: the file cannot be written there.
    """
    if not path.parent.is_dir():
        raise BadInputError(f"{path}: cannot be written: {os.strerror(errno.ENOENT)}")

    def write(temporary: Path) -> None:
        with _open_new(temporary, path) as file:
            if format == "parquet":
                _write_parquet(rows, columns, file)
            else:
                with io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                    _WRITERS[format](rows, columns, stream)

    write_atomically(path, write)


def write_rows_to_stdout(
    rows: Iterable[Row], columns: Sequence[str], format: str, stdout: TextIO | None = None
) -> None:
    """Writes rows as they come, in any format but Parquet; `stdout` stands in for `sys.stdout`."""
    _WRITERS[format](rows, columns, stdout or _bytewise_stdout())


def _write_csv(rows: Iterable[Row], columns: Sequence[str], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[column] for column in columns] for row in rows)


def _write_json(rows: Iterable[Row], columns: Sequence[str], stream: TextIO) -> None:
    before = "[\n"
    for row in rows:
        stream.write(f"{before}{json.dumps(row, ensure_ascii=False)}")
        before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")


def _write_json_lines(rows: Iterable[Row], columns: Sequence[str], stream: TextIO) -> None:
    for row in rows:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


_WRITERS: dict[str, Callable[[Iterable[Row], Sequence[str], TextIO], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_json_lines,
}


def _write_parquet(rows: Iterable[Row], columns: Sequence[str], file: IO[bytes]) -> None:
    import pyarrow
    from pyarrow import parquet

    probabilities = columns[
        columns.index("probability") : -1
    ]  # not by name: an id column of a table may be called p_id
    numbers = {"label": pyarrow.int64(), **dict.fromkeys(probabilities, pyarrow.float64())}
    schema = pyarrow.schema([(column, numbers.get(column, pyarrow.string())) for column in columns])
    remaining = iter(rows)
    with parquet.ParquetWriter(file, schema) as writer:
        while group := [_as_text(row) for row in islice(remaining, _ROWS_PER_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _as_text(row: Row) -> Row:
    """The same row for a format that takes UTF-8 alone: bytes of a file name that are none are replaced."""
    return {**row, **{key: _to_utf8(row[key]) for key in ("name", "error")}}


def _to_utf8(text: str | None) -> str | None:
    return None if text is None else text.encode(errors="surrogateescape").decode(errors="replace")


def _bytewise_stdout() -> TextIO:
    """`sys.stdout`, which then takes file names that are no UTF-8 as they are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    return sys.stdout


def _open_new(temporary: Path, path: Path) -> IO[bytes]:
    try:
        return temporary.open("wb")
    except OSError as error:
        raise BadInputError(f"{path}: cannot be written: {error.strerror}") from error
