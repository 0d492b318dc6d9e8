"""Tables with every cell as text: CSV with any usual separator, or Parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from galaxy_exp.config.data_section import TABLE_SUFFIXES
from galaxy_exp.data.image_file import has_image_name
from galaxy_exp.errors import DataError, short_reason
from galaxy_exp.wording import did_you_mean, shorten

__all__ = ["SEPARATORS", "Table", "is_table", "open_table"]

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_MOST_NAMED = 30
"""Most columns that a message lists."""
_HINT = "; write its pictures to files, or into an HDF5 file"
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"SIMPLE  =")
"""How the content of PNG, JPEG, TIFF and FITS files begins."""
_EXACT = {"halffloat": 2**11, "float": 2**24, "double": 2**53}
"""Up to this number, a floating-point type of Parquet represents every whole number."""


def is_table(path: Path) -> bool:
    """Whether the name ends in one of `TABLE_SUFFIXES`."""
    return path.name.lower().endswith(TABLE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header was read; columns are read on demand."""

    path: Path
    names: tuple[str, ...]
    """Names of the columns, in order."""
    separator: str | None
    """None for Parquet."""
    nested: Mapping[str, str] = field(default_factory=dict)
    """Columns of Parquet whose cells are lists, structs and the like, and their types."""

    def read(self, columns: Sequence[str]) -> dict[str, list[str]]:
        """These columns as text without surrounding blanks; an empty cell is "", and blank lines are skipped.

        Raises:
            DataError: a row of another length than the header, a column that exists twice or is nested, bytes that are
                not UTF-8, or no rows.
        """
        for name in columns:
            if kind := self.nested.get(name):
                hint = _HINT if "binary" in kind else ""
                raise DataError(f"{self.path}: {name!r} is of type {shorten(kind)}; expected text or numbers{hint}")
            if self.names.count(name) > 1:
                raise DataError(f"{self.path}: has {self.names.count(name)} columns {name!r}; expected one")
        with _read_errors(self.path):
            cells = self._read_parquet(columns) if self.separator is None else self._read_csv(columns, self.separator)
        if not next(iter(cells.values())):
            raise DataError(f"{self.path}: has no rows; expected one per image, with its file and label")
        return cells

    def find(self, name: str, key: str, default: str = "", known: Sequence[str] = ()) -> list[str]:
        """The column called `name`; if that is the key's default and missing, columns with a known name, best first.

        Nested columns are left out if there are others.

        Raises:
            DataError: no such column; names the key and the columns.
        """
        if name in self.names:
            return [name]
        found = self.among((default, *known)) if name == default else []
        if found:
            return [each for each in found if each not in self.nested] or found
        self._refuse_missing_header()
        listed = (*self.names[:_MOST_NAMED], *(["..."] if len(self.names) > _MOST_NAMED else []))
        raise DataError(f"{self.path}: has no column {name!r} ({key}); {did_you_mean(name, listed)}")

    def among(self, known: Sequence[str]) -> list[str]:
        """The columns with one of the known lower-case names, in the order of the known names; #file is file."""
        by_name = {re.sub("^#_?", "", re.sub("[ -]", "_", each.lower())): each for each in reversed(self.names)}
        return [by_name[each] for each in known if each in by_name]

    def _refuse_missing_header(self) -> None:
        for cell in self.names:
            if re.fullmatch(r"-?\d+(\.\d*)?", cell) or has_image_name(Path(cell)):
                raise DataError(
                    f"{self.path}: its first line holds {cell!r}, which is not a column name; expected a header, such "
                    "as file,label"
                )
        stated = [name for name in self.names if name]
        if self.separator is not None and len(stated) == 1 and re.search(r"[^\w.-]", stated[0]):
            raise DataError(
                f"{self.path}: its first line is {shorten(stated[0])!r}, a single column; expected a header of "
                "several, such as file,label, with commas, semicolons or tabs between them, and no line above it"
            )

    def _read_csv(self, columns: Sequence[str], separator: str) -> dict[str, list[str]]:
        places = [self.names.index(name) for name in columns]
        lists: list[list[str]] = [[] for _ in columns]
        with _open_text(self.path) as file:
            rows = _csv_rows(file, separator)
            next(rows)
            for number, row in enumerate(rows, start=1):
                if len(row) < len(self.names) or any(row[len(self.names) :]):
                    expected = f"expected {len(self.names)}, as the header"
                    raise DataError(f"{self.path}: row {number} has {len(row)} cells; {expected}")
                for cells, place in zip(lists, places, strict=True):
                    cells.append(row[place])
        return dict(zip(columns, lists, strict=True))

    def _read_parquet(self, columns: Sequence[str]) -> dict[str, list[str]]:
        from pyarrow import parquet

        table = parquet.read_table(self.path, columns=list(columns))
        return {name: self._texts(name, table.column(name)) for name in columns}

    def _texts(self, name: str, column: Any) -> list[str]:
        exact, texts = _EXACT.get(str(column.type), 0), []
        for row, value in enumerate(column.to_pylist(), start=1):
            if isinstance(value, bytes) and value.startswith(_PICTURES):
                raise DataError(f"{self.path}: row {row}: {name!r} is a picture; expected text or numbers{_HINT}")
            try:
                texts.append(_text(value, exact))
            except UnicodeDecodeError:
                shown = shorten(repr(value))
                raise DataError(f"{self.path}: row {row}: {name!r} is {shown}; expected text in UTF-8") from None
        return texts


def open_table(path: Path) -> Table:
    """Reads the header.

    Raises:
        DataError: the file is empty, or not of the format of its ending.
    """
    with _read_errors(path):
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet, types

            schema = parquet.read_schema(path)
            nested = {each.name: str(each.type) for each in schema if types.is_nested(each.type)}
            return Table(path, tuple(schema.names), None, nested)
        with _open_text(path) as file:
            line = next((line for line in file if line.strip()), "")
        if "\0" in line:  # as in UTF-16 without its mark
            raise DataError(f"{path}: is not text in UTF-8 (it has NUL characters); save it as CSV in UTF-8")
        cells = {mark: _read_header(path, mark) for mark in SEPARATORS}
    separator = max(cells, key=lambda mark: len(cells[mark]))
    if not cells[separator]:
        raise DataError(f"{path}: has no rows; expected one per image, with its file and label")
    return Table(path, tuple(cells[separator]), separator)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in UTF-8 ({error.reason}); save it as CSV in UTF-8") from None
    except Exception as error:  # noqa: BLE001  pyarrow and csv raise many kinds for damaged files
        kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
        raise DataError(f"{path}: cannot be read as a {kind} table ({short_reason(error)})") from None


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    """Opens UTF-8, or UTF-16 with a byte order mark as written by spreadsheets; packed by gzip whatever its name."""
    with path.open("rb") as raw:
        is_packed = raw.peek(2)[:2] == b"\x1f\x8b"
        buffered = io.BufferedReader(gzip.GzipFile(fileobj=raw) if is_packed else raw)
        wide = buffered.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        yield io.TextIOWrapper(buffered, "utf-16" if wide else "utf-8-sig", newline="")


def _read_header(path: Path, separator: str) -> list[str]:
    with _open_text(path) as file:
        return next(_csv_rows(file, separator, strict=False), [])


def _csv_rows(file: IO[str], separator: str, *, strict: bool = True) -> Iterator[list[str]]:
    reader = csv.reader(file, delimiter=separator, strict=strict, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            line = reader.line_num + 1
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield cells
    except csv.Error as error:
        raise csv.Error(f"{error}, in the row that begins in line {line}") from None


def _text(value: Any, exact: int) -> str:
    if exact and value is not None and float(value).is_integer():
        # whole numbers become floats where a cell of their column is empty; large ones have lost digits
        return str(int(value)) if abs(value) < exact else f"{value:.16e}"
    if isinstance(value, bytes):
        return value.decode().strip()
    return "" if value is None else str(value).strip()
