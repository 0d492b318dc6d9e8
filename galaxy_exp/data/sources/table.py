"""Labelled images from a table of files, or ids, and labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from galaxy_exp.config.data_section import DataConfig, SplitConfig, TableConfig
from galaxy_exp.data.dataset import ImageDataset, TableRows, build_dataset
from galaxy_exp.data.image_table import LABEL_COLUMNS, find_file_columns, open_image_table
from galaxy_exp.data.labels import LabelsAt, parse_labels
from galaxy_exp.data.parts import parse_parts
from galaxy_exp.data.sources.class_names import find_class_names
from galaxy_exp.data.sources.file_stack import read_files
from galaxy_exp.data.table_file import Table, open_table
from galaxy_exp.errors import DataError

__all__ = ["load_table"]


def load_table(path: Path, config: DataConfig, base: Path | None = None) -> ImageDataset:
    """Loads the files that a table names, below the table's own folder or `data.image_folder`.

    Labels are as `parse_labels` reads them, names among `data.class_names` or those of the text file beside the table.
    Rows count from 1, the header and blank lines aside.

    Args:
        path: one of `TABLE_SUFFIXES`.
        config: the `data` section of a sweep file.
        base: where a relative image folder starts; by default the current folder.

    Raises:
        DataError: one line naming the table, the row and the column, or the image file, and what was expected.
    """
    table = open_table(path)
    find_file_columns(table, config)  # before the labels, so that of two columns not there the files' is named
    default = TableConfig().label_column
    label_column = table.find(config.table.label_column, "data.table.label_column", default, LABEL_COLUMNS)[0]
    part_column = _find_part_column(table, config.split)
    images = open_image_table(table, config, [label_column, *([part_column] if part_column else [])], base)
    files = [images.locate(row) for row in range(len(images.ids))]
    _check_each_once(files, images.cells[images.file_column], f"{path}: {images.file_column!r}")
    names = find_class_names(path, config.class_names)
    cells, at = images.cells[label_column], LabelsAt(str(path), label_column, by_row=True)
    labels = parse_labels(cells, names, at, len(files), config.first_label)
    parts = parse_parts(images.cells[part_column], str(path), part_column, by_row=True) if part_column else None
    missing = [] if config.on_error == "skip" else [file for file in files if not file.exists()]
    if missing:
        raise DataError(f"{images.describe_missing(missing)}; data.on_error: skip leaves such rows out")
    stack = read_files(files, config, str(path), cells)
    plain = not images.notes and label_column == default
    used = f"labels are in column {label_column!r}" + (f", the split in {part_column!r}" if part_column else "")
    return build_dataset(
        stack.images,
        labels.values[stack.kept],
        labels.class_names,
        source=str(path),
        own_split=None if parts is None else parts[stack.kept],
        preprocessing=stack.preprocessing,
        skipped=stack.skipped,
        label_key=label_column,
        notes=[*images.notes, *([] if plain else [used])],
        rows=TableRows(images.id_column, tuple(images.ids), tuple(map(str, files)), stack.kept),
    )


def _find_part_column(table: Table, config: SplitConfig) -> str | None:
    default = SplitConfig().column
    if config.column is None or config.column == default:
        return next(iter(table.among([default])), None) if config.column and default else None
    return table.find(config.column, "data.split.column")[0]


def _check_each_once(files: Sequence[Path], cells: Sequence[str], where: str) -> None:
    """Compares the files, as cells that differ may name one."""
    first_row: dict[str, int] = {}
    for row, (file, cell) in enumerate(zip(files, cells, strict=True)):
        first = first_row.setdefault(os.path.abspath(file), row)  # noqa: PTH100  Path.absolute keeps ..
        if first != row:
            again = "" if cell == cells[first] else f" {cell!r}, the same file, in"
            raise DataError(
                f"{where} is {cells[first]!r} in row {first + 1} and{again} row {row + 1}; expected each file once"
            )
