"""Labelled images from a CSV or Parquet table of files and labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.sweep import DataConfig, SplitConfig
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.parts import PARTS, parse_parts
from galaxy_exp.data.reasons import short_reason
from galaxy_exp.data.sources.class_names import find_class_names
from galaxy_exp.data.sources.file_stack import read_files
from galaxy_exp.errors import DataError
from galaxy_exp.wording import did_you_mean

__all__ = ["TABLE_SUFFIXES", "is_table", "load_table"]

TABLE_SUFFIXES = (".csv", ".parquet")

Columns = dict[str, list[str]]
"""Every column as text, without surrounding blanks; an empty cell is ""."""


def is_table(path: Path) -> bool:
    """Whether the name ends in .csv or .parquet."""
    return path.suffix.lower() in TABLE_SUFFIXES


def load_table(path: Path, config: DataConfig) -> ImageDataset:
    """Loads the files that a table names, relative to the table's own folder, which they may not leave.

    Labels are whole numbers from 0 throughout, or names: then label k is the k-th name of `data.class_names`
    (or of the text file beside the table), or without these in alphabetical order. Rows count from 1, the header
    aside.

    Raises:
        DataError: one line naming the table, the row and the column, or the image file, and what was expected.
    """
    columns = _read_columns(path)
    file_column, label_column = config.table.file_column, config.table.label_column
    names = _column(columns, file_column, path, "data.table.file_column")
    cells = _column(columns, label_column, path, "data.table.label_column")
    files = [_locate(name, f"{path}: row {row}: {file_column!r}", path) for row, name in enumerate(names, start=1)]
    _check_each_once(names, f"{path}: {file_column!r}")
    labels, class_names = _parse_labels(cells, find_class_names(path, config.class_names), path, label_column)
    parts = _read_parts(columns, config.split, path)
    stack = read_files(files, config, str(path), cells)
    return build_dataset(
        stack.images,
        labels[stack.kept],
        class_names,
        source=str(path),
        own_split=None if parts is None else parts[stack.kept],
        preprocessing=stack.preprocessing,
        skipped=stack.skipped,
        label_key=label_column,
    )


def _read_columns(path: Path) -> Columns:
    try:
        columns = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  pyarrow and csv raise many kinds for damaged files
        raise DataError(f"{path}: cannot be read as a {path.suffix[1:]} table ({short_reason(error)})") from None
    if not columns or not next(iter(columns.values())):
        raise DataError(f"{path}: has no rows; expected one per image, with its file and label")
    return columns


def _read_csv(path: Path) -> Columns:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} cells; expected {len(header)}, as the header")
    return {name.strip(): [row[index].strip() for row in rows] for index, name in enumerate(header)}


def _read_parquet(path: Path) -> Columns:
    from pyarrow import parquet

    table = parquet.read_table(path)
    return {name: [_text(value) for value in table.column(name).to_pylist()] for name in table.column_names}


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _column(columns: Columns, name: str, path: Path, key: str) -> list[str]:
    if name not in columns:
        raise DataError(f"{path}: has no column {name!r} ({key}); {did_you_mean(name, list(columns))}")
    return columns[name]


def _locate(name: str, where: str, table: Path) -> Path:
    if not name:
        raise DataError(f"{where} is empty; expected a path relative to the table")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("~"):
        raise DataError(f"{where} is {name!r}, an absolute path; expected one relative to the table's folder")
    if ".." in PurePosixPath(name).parts:
        raise DataError(f"{where} is {name!r}, which leaves the table's folder; expected a path without '..'")
    return table.parent / name


def _check_each_once(names: Sequence[str], where: str) -> None:
    first_row: dict[str, int] = {}
    for row, name in enumerate(names, start=1):
        if first_row.setdefault(name, row) != row:
            raise DataError(f"{where} is {name!r} in row {first_row[name]} and row {row}; expected each file once")


def _parse_labels(
    cells: Sequence[str], names: tuple[str, ...] | None, path: Path, column: str
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Labels int64 (n,) and their names, if there are any."""
    if "" in cells:
        row = cells.index("") + 1
        raise DataError(f"{path}: row {row}: {column!r} is empty; expected a whole number from 0, or a name")
    numbers = [_number(cell) for cell in cells]
    if all(number is not None for number in numbers):
        return _whole_labels(numbers, cells, path, column), names
    names = names or tuple(sorted(set(cells)))
    positions = {name: label for label, name in enumerate(names)}
    for row, cell in enumerate(cells, start=1):
        if cell not in positions:
            raise DataError(f"{path}: row {row}: {column!r} is {cell!r}, no class name; {did_you_mean(cell, names)}")
    return np.array([positions[cell] for cell in cells], dtype=np.int64), names


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _whole_labels(numbers: Sequence[Any], cells: Sequence[str], path: Path, column: str) -> NDArray[np.int64]:
    for row, (number, cell) in enumerate(zip(numbers, cells, strict=True), start=1):
        if not (0 <= number < 10_000 and number == int(number)):
            raise DataError(f"{path}: row {row}: {column!r} is {cell}; expected a whole number from 0, or a name")
    return np.array(numbers, dtype=np.int64)


def _read_parts(columns: Columns, config: SplitConfig, path: Path) -> NDArray[np.int8] | None:
    if config.column is None:
        return None
    if config.column in columns:
        return _parse_rows(columns[config.column], config.column, path)
    if config.column != SplitConfig().column:
        _column(columns, config.column, path, "data.split.column")
    return None


def _parse_rows(values: Sequence[str], column: str, path: Path) -> NDArray[np.int8]:
    for row, value in enumerate(values, start=1):
        if value not in PARTS:
            raise DataError(f"{path}: row {row}: {column!r} is {value!r}; expected {', '.join(PARTS)}")
    return parse_parts(values, str(path), column)
