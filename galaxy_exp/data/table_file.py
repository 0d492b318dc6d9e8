"""Tables that list image files: CSV with any of the usual separators, or Parquet, every cell as text.

Ids stay text, so that all 18 digits of a survey's object id are kept; a table that has lost some is refused.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from galaxy_exp.config.data_formats import TableConfig
from galaxy_exp.config.sweep import DataConfig
from galaxy_exp.data.reasons import short_reason
from galaxy_exp.errors import DataError
from galaxy_exp.wording import did_you_mean

__all__ = [
    "LABEL_COLUMNS",
    "TABLE_SUFFIXES",
    "ImageTable",
    "Table",
    "find_file_column",
    "is_table",
    "open_image_table",
    "open_table",
]

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz")
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_MOST_NAMED = 30
"""Columns that a message lists."""

_ID_COLUMNS = (
    "id_str", "id", "objid", "dr7objid", "dr8objid", "iauname", "galaxyid", "galaxy_id", "object_id", "objectid",
    "image_id", "asset_id",
)  # fmt: skip
_PATH_COLUMNS = (
    "file_loc", "filename", "file_name", "filepath", "file_path", "path", "image_path", "image_file", "image",
    "img_path", "img", "png_loc", "jpg_loc", "name",
)  # fmt: skip
LABEL_COLUMNS = (
    "labels", "class", "class_name", "label_name", "classification", "category", "target", "morphology", "gz2_class",
    "gz2class",
)  # fmt: skip
"""What catalogues call these columns, in lower case and with _ for blanks; the first that is there is taken.

Files of Galaxy Zoo 2 are called by `asset_id`, those of the DESI and DECaLS catalogues by `iauname` or `id_str`.
"""

_EXACT = 2**53
"""Above it a float64 does not hold every whole number."""
_ROUNDED = re.compile(r"[+-]?\d+(\.\d*)?e[+-]?\d+|[+-]?\d{16,}\.\d*", re.IGNORECASE)
"""A number that went through floating point and may have lost digits."""


def is_table(path: Path) -> bool:
    """Whether the name ends in one of `TABLE_SUFFIXES`."""
    return path.name.lower().endswith(TABLE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header is known; columns are read when they are asked for."""

    path: Path
    names: tuple[str, ...]
    """Of the columns, in order."""
    separator: str | None
    """None for Parquet."""

    def read(self, columns: Sequence[str]) -> dict[str, list[str]]:
        """These columns as text, without surrounding blanks; an empty cell is "", and blank lines are no rows.

        Raises:
            DataError: a row of another length than the header, a column that is there twice, or no rows.
        """
        for name in columns:
            if self.names.count(name) > 1:
                raise DataError(f"{self.path}: has {self.names.count(name)} columns {name!r}; expected one")
        with _read_errors(self.path):
            cells = self._read_parquet(columns) if self.separator is None else self._read_csv(columns, self.separator)
        if not next(iter(cells.values())):
            raise DataError(f"{self.path}: has no rows; expected one per image, with its file and label")
        return cells

    def find(self, name: str, key: str, default: str = "", known: Sequence[str] = ()) -> str:
        """The column called `name`; if that is the key's default and not there, the first of the known names.

        Raises:
            DataError: there is none; names the key and the columns.
        """
        if name in self.names:
            return name
        found = self.first_of((default, *known)) if name == default else None
        if found is not None:
            return found
        self._refuse_missing_header()
        listed = (*self.names[:_MOST_NAMED], *(["..."] if len(self.names) > _MOST_NAMED else []))
        raise DataError(f"{self.path}: has no column {name!r} ({key}); {did_you_mean(name, listed)}")

    def first_of(self, known: Sequence[str]) -> str | None:
        """The first of the known names (in lower case) that a column has; None without one."""
        by_name = {each.lower().replace(" ", "_").replace("-", "_"): each for each in reversed(self.names)}
        return next((by_name[each] for each in known if each in by_name), None)

    def _refuse_missing_header(self) -> None:
        for cell in self.names:
            if re.fullmatch(r"-?\d+(\.\d*)?|.*\.(png|jpe?g|tiff?|fits?)", cell, re.IGNORECASE):
                raise DataError(
                    f"{self.path}: its first line holds {cell!r}, which is no column's name; expected a header, such "
                    "as file,label"
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
        return {name: [_text(value) for value in table.column(name).to_pylist()] for name in columns}


def open_table(path: Path) -> Table:
    """Reads the header.

    Raises:
        DataError: the file is not what its ending says, or is empty.
    """
    with _read_errors(path):
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            return Table(path, tuple(parquet.read_schema(path).names), None)
        with _open_text(path) as file:
            line = next((line for line in file if line.strip()), "")
    cells = {mark: next(_csv_rows(io.StringIO(line), mark, strict=False), []) for mark in _SEPARATORS}
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
    except Exception as error:  # noqa: BLE001  pyarrow and csv raise many kinds for damaged files
        kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
        raise DataError(f"{path}: cannot be read as a {kind} table ({short_reason(error)})") from None


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    """UTF-8, or UTF-16 with a mark as spreadsheets write it."""
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
        buffered = io.BufferedReader(file)
        wide = buffered.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        yield io.TextIOWrapper(buffered, "utf-16" if wide else "utf-8-sig", newline="")


def _csv_rows(file: IO[str], separator: str, *, strict: bool = True) -> Iterator[list[str]]:
    """Rows of stripped cells; those without any text are left out."""
    for row in csv.reader(file, delimiter=separator, strict=strict, skipinitialspace=True):
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield cells


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))  # whole numbers become float64 where a cell of their column is empty
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return "" if value is None else str(value).strip()


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A table and where its image files are. Rows count from 0 here, and from 1 in messages."""

    table: Table
    file_column: str
    id_column: str
    """The column that names a galaxy, else that of the files."""
    cells: dict[str, list[str]]
    """The columns read, by name."""
    folder: Path
    """Which the files may not leave."""
    config: DataConfig

    @property
    def ids(self) -> list[str]:
        """One per row, exactly as in the table."""
        return self.cells[self.id_column]

    def locate(self, row: int) -> Path:
        """The file of a row, whether it is there or not.

        Raises:
            DataError: the cell is empty, an id that lost digits, or a path out of the folder.
        """
        cell = self.cells[self.file_column][row]
        where = f"{self.table.path}: row {row + 1}: {self.file_column!r}"
        if not cell:
            raise DataError(f"{where} is empty; expected a path relative to the table, or an id (data.file_suffix)")
        if _is_rounded(cell):
            raise DataError(_describe_rounded(where, cell))
        name = self._with_suffix(cell)
        path = _place(name, where, self.folder)
        if self.config.image_folder is None or path.exists():
            return path
        return self._by_name.get(path.name, path)

    def describe_missing(self, missing: Sequence[Path]) -> str:
        """One line on files that are not there: how many, the first, and what is there instead."""
        first, tail = missing[0], self.config.file_suffix or ""
        stem = first.name.removesuffix(tail)
        beside = [path.name for path in first.parent.iterdir()] if first.parent.is_dir() else []
        other = next((name for name in sorted([*beside, *self._by_name]) if name.startswith(stem)), None)
        hint = f" ({other} is there: data.file_suffix: {other[len(stem) :]})" if other and stem else ""
        listed = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
        return (
            f"{self.table.path}: {len(missing)} of its {len(self.ids)} image files not found: {listed}{hint}; expected "
            "files below the table's folder, or as data.image_folder and data.file_suffix say"
        )

    @property
    def notes(self) -> list[str]:
        """What was understood, if it is not plain: the columns, and the separator."""
        if self.file_column == "file" and self.table.separator in (",", None):
            return []
        mark = f"; cells are separated by {_SEPARATORS[self.table.separator]}" if self.table.separator else ""
        ids = f", ids in {self.id_column!r}" if self.id_column != self.file_column else ""
        return [f"files are in column {self.file_column!r}{ids}{mark}"]

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        """Files in subfolders of `data.image_folder` by name, as surveys store many; the first of a name is taken."""
        found: dict[str, Path] = {}
        if self.config.image_folder is not None:
            for place, folders, names in os.walk(self.folder):
                folders.sort()
                for name in names:
                    found.setdefault(name, Path(place, name))
        return found

    def _with_suffix(self, cell: str) -> str:
        suffix = self.config.file_suffix or ""
        if cell.lower().endswith(suffix.lower()):
            return cell
        whole = cell.partition(".")[0] if re.fullmatch(r"\d+\.0*", cell) else cell  # an id that a float column held
        return whole + suffix


def find_file_column(table: Table, config: DataConfig) -> str:
    """The column of files, or of ids; with `file_suffix` ids are looked for first. Raises as `Table.find`."""
    ids = ("asset_id", *_ID_COLUMNS)
    known = (*ids, *_PATH_COLUMNS) if config.file_suffix else (*_PATH_COLUMNS, *ids)
    return table.find(config.table.file_column, "data.table.file_column", TableConfig().file_column, known)


def open_image_table(
    table: Table, config: DataConfig, more: Sequence[str] = (), base: Path | None = None
) -> ImageTable:
    """Finds the columns of files and ids, and the folder of the files, and reads the columns.

    Args:
        table: of `open_table`.
        config: of which `table`, `image_folder` and `file_suffix` are used.
        more: columns to read besides.
        base: where a relative image folder starts; by default the current folder. It may also be beside the table.

    Raises:
        DataError: no such column or folder, ids that lost digits, or the table cannot be read.
    """
    file_column, stated = find_file_column(table, config), config.table.id_column
    id_column = table.find(stated, "data.table.id_column") if stated else table.first_of(_ID_COLUMNS) or file_column
    cells = table.read(list(dict.fromkeys([file_column, id_column, *more])))
    rounded = next((row for row, cell in enumerate(cells[id_column]) if _is_rounded(cell)), None)
    if rounded is not None and not stated:
        id_column = file_column
    elif rounded is not None:
        raise DataError(_describe_rounded(f"{table.path}: row {rounded + 1}: {stated!r}", cells[id_column][rounded]))
    folder = _find_folder(table.path, config.image_folder, base or Path())
    return ImageTable(table, file_column, id_column, cells, folder, config)


def _find_folder(table: Path, image_folder: str | None, base: Path) -> Path:
    if image_folder is None:
        return table.parent
    path = Path(image_folder).expanduser()
    for place in (base / path, table.parent / path):
        if place.is_dir():
            return place
    raise DataError(
        f"data.image_folder: {image_folder}: no such folder, neither here ({base.absolute()}) nor beside {table}"
    )


def _is_rounded(cell: str) -> bool:
    return _ROUNDED.fullmatch(cell) is not None


def _describe_rounded(where: str, cell: str) -> str:
    return (
        f"{where} is {cell}, an id that has lost digits as a floating-point number; expected all its digits, so save "
        "the column as text or int64"
    )


def _place(name: str, where: str, folder: Path) -> Path:
    """The path of a file, which is not outside the folder."""
    expanded = Path(os.path.expanduser(name))  # noqa: PTH111  Path.expanduser raises for an unknown user
    if expanded.is_absolute() or PureWindowsPath(name).drive or name.startswith("~"):
        path = Path(os.path.normpath(expanded))
        if path.is_relative_to(folder.absolute()):
            return path
        raise DataError(
            f"{where} is {name!r}, an absolute path; expected one relative to the table's folder, or below the folder "
            "that data.image_folder names"
        )
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts:
        raise DataError(f"{where} is {name!r}, which leaves the table's folder; expected a path without '..'")
    return folder.joinpath(*parts)
