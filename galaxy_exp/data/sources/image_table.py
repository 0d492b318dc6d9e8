"""Tables that list image files, as paths or as ids, with or without labels.

Ids stay text, so that all 18 digits of a survey's object id are kept; a table whose ids lost digits is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from galaxy_exp.config.data_section import DataConfig, SplitConfig, TableConfig
from galaxy_exp.config.votes_section import VotesConfig
from galaxy_exp.data.class_labels import LabelsAt, find_class_names, normalise_name, parse_labels
from galaxy_exp.data.dataset import ImageDataset, TableRows, build_dataset
from galaxy_exp.data.image_file import read_files
from galaxy_exp.data.listing import list_images
from galaxy_exp.data.sources.vote_columns import (
    find_total_columns,
    find_vote_columns,
    read_vote_cells,
    recognise_questions,
)
from galaxy_exp.data.split import parse_parts
from galaxy_exp.data.table_file import SEPARATORS, Table, is_table, open_table
from galaxy_exp.errors import DataError
from galaxy_exp.records import AGREEMENT

__all__ = ["ImageTable", "load_table", "open_image_table", "recognise_votes"]

_ROWS_TRIED = 5

_ID_COLUMNS = (
    "id_str", "id", "objid", "dr7objid", "dr8objid", "iauname", "galaxyid", "galaxy_id", "object_id", "objectid",
    "image_id", "asset_id",
)  # fmt: skip
_PATH_COLUMNS = (
    "file_loc", "filename", "file_name", "filepath", "file_path", "path", "image_path", "image_file", "image",
    "img_path", "img", "png_loc", "jpg_loc", "name",
)  # fmt: skip
_LABEL_COLUMNS = (
    "labels", "class", "class_name", "label_name", "classification", "category", "target", "morphology", "gz2_class",
    "gz2class",
)  # fmt: skip
"""Usual column names in catalogues, in lower case and with _ for blanks; the first that exists is used.

Files of Galaxy Zoo 2 are named by `asset_id`, those of the DESI and DECaLS catalogues by `iauname` or `id_str`.
"""
_NAME_COLUMNS = ("class_name", "label_name")
"""Those that may hold names beside labels that are numbers."""

_ROUNDED = re.compile(r"[+-]?\d+([.,]\d*e[+-]?|e[+-])\d+|[+-]?\d{16,}[.,]\d*", re.IGNORECASE)
"""A number that was stored as floating point and may have lost digits; 12e45678 may be an id."""


@dataclass(frozen=True, eq=False)
class _Folder:
    """The folder that contains all image files of a table."""

    path: Path
    is_stated: bool
    """Whether `data.image_folder` names it; then its subfolders are searched too."""

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        """The images of the folder and its subfolders by name; empty if the folder is not stated."""
        found: dict[str, list[Path]] = {}
        for image in list_images(self.path, deep=True).images if self.is_stated else ():
            found.setdefault(image.name, []).append(image)
        return found


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A table of image files. Rows count from 0, and from 1 in messages."""

    table: Table
    file_column: str
    id_column: str
    """Column that identifies a galaxy, else that of the files."""
    cells: dict[str, list[str]]
    """The columns that were read, by name."""
    folder: _Folder
    config: DataConfig

    @property
    def ids(self) -> list[str]:
        """One per row, unchanged."""
        return self.cells[self.id_column]

    def locate(self, row: int) -> Path:
        """The path of the file of a row; the file may be missing.

        Raises:
            DataError: the cell is empty, an id that lost digits, or a path outside the folder.
        """
        cell = self.cells[self.file_column][row]
        where = f"{self.table.path}: row {row + 1}: {self.file_column!r}"
        if not cell:
            raise DataError(f"{where} is empty; expected a path relative to the table, or an id (data.file_suffix)")
        if _is_rounded(cell):
            raise DataError(_describe_rounded(where, cell))
        if "://" in cell:
            raise DataError(f"{where} is {cell}, an address; expected a file on this machine: download it first")
        name = self._with_suffix(cell)
        path = _place(name, where, self.folder.path)
        if Path(name).name != name or path.exists():
            return path
        found = self.folder.by_name.get(name, [path])
        if len(found) > 1:
            raise DataError(f"{where} is {cell}, and there are {found[0]} and {found[1]}; expected the path of one")
        return found[0]

    def has_files(self) -> bool:
        """Whether the file of one of the first rows exists."""
        for row in range(min(len(self.ids), _ROWS_TRIED)):
            with suppress(DataError):
                if self.locate(row).is_file():
                    return True
        return False

    def describe_missing(self, missing: Sequence[Path]) -> str:
        """One line on missing files: how many, the first ones, and similar files that exist."""
        first, tail = missing[0], self.config.file_suffix or ""
        stem = first.name.removesuffix(tail)
        beside = [path.name for path in first.parent.iterdir()] if first.parent.is_dir() else []
        there = sorted([*beside, *self.folder.by_name])
        longer = (name for name in there if name.startswith(stem))
        other = next((name for name in longer if re.match(r"[\W_]", name[len(stem) :])), None)  # not 10.png for 1
        hint = f" ({other} is there: data.file_suffix: {other[len(stem) :]})" if other and stem else ""
        alike = next((name for name in there if _loosely(name) == _loosely(first.name) and name != first.name), None)
        if alike and not hint:
            hint = f" ({alike} is there: leading zeros, upper case or the encoding of accents differ)"
        listed = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
        return (
            f"{self.table.path}: {len(missing)} of its {len(self.ids)} image files not found: {listed}{hint}; expected "
            f"those of column {self.file_column!r} (data.table.file_column) below the table's folder, or as "
            "data.image_folder and data.file_suffix say"
        )

    @property
    def notes(self) -> list[str]:
        """How the table was understood, if that is not obvious: the columns, and a separator other than the comma."""
        separator = SEPARATORS[self.table.separator or ","]
        if self.file_column == "file" and separator == "comma":
            return []
        mark = "" if separator == "comma" else f"; cells are separated by {separator}"
        ids = f", ids in {self.id_column!r}" if self.id_column != self.file_column else ""
        return [f"files are in column {self.file_column!r}{ids}{mark}"]

    def _with_suffix(self, cell: str) -> str:
        suffix = self.config.file_suffix or ""
        if cell.lower().endswith(suffix.lower()):
            return cell
        whole = cell.partition(".")[0] if re.fullmatch(r"\d+\.0*", cell) else cell  # an id from a column of floats
        return whole + suffix


def _loosely(name: str) -> str:
    """A name as catalogues and disks may change it: a number without its leading zeros, accents, upper case."""
    return normalise_name(name).casefold().lstrip("0")


def _find_file_columns(table: Table, config: DataConfig) -> list[str]:
    """Columns that may contain files or ids, best first: ids if there is a `file_suffix`. Raises as `Table.find`."""
    ids = ("asset_id", *_ID_COLUMNS)
    known = (*ids, *_PATH_COLUMNS) if config.file_suffix else (*_PATH_COLUMNS, *ids)
    return table.find(config.table.file_column, "data.table.file_column", TableConfig().file_column, known)


def open_image_table(
    table: Table, config: DataConfig, more: Sequence[str] = (), base: Path | None = None
) -> ImageTable:
    """Finds the columns of files and ids and the folder of the files, and reads them and the columns in `more`.

    If several columns may contain the files, the first one whose files exist is used. A relative image folder starts at
    `base`, by default the current folder, or else at the folder of the table.

    Raises:
        DataError: no such column or folder, ids that lost digits, or the table cannot be read.
    """
    file_columns, stated = _find_file_columns(table, config), config.table.id_column
    id_columns = table.find(stated, "data.table.id_column") if stated else table.among(_ID_COLUMNS)[:1]
    cells = table.read(list(dict.fromkeys([*file_columns, *id_columns, *more])))
    folder = _Folder(_find_folder(table.path, config.image_folder, base or Path()), config.image_folder is not None)
    tables = [
        ImageTable(table, name, _choose_id_column(table, cells, id_columns, name, stated), cells, folder, config)
        for name in file_columns
    ]
    return next((each for each in tables if each.has_files()), tables[0])


def _choose_id_column(
    table: Table, cells: dict[str, list[str]], id_columns: Sequence[str], file_column: str, stated: str | None
) -> str:
    """The id column, else that of the files; a column whose ids lost digits is an error if it is configured."""
    for name in id_columns:
        rounded = next((row for row, cell in enumerate(cells[name]) if _is_rounded(cell)), None)
        if rounded is None:
            return name
        if stated:
            raise DataError(_describe_rounded(f"{table.path}: row {rounded + 1}: {name!r}", cells[name][rounded]))
    return file_column


def _find_folder(table: Path, image_folder: str | None, base: Path) -> Path:
    if image_folder is None:
        return table.parent
    path = Path(os.path.expanduser(image_folder))  # noqa: PTH111  Path.expanduser raises for an unknown user
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
    expanded = Path(os.path.expanduser(name))  # noqa: PTH111  Path.expanduser raises for an unknown user
    is_absolute = expanded.is_absolute() or bool(PureWindowsPath(name).drive) or name.startswith("~")
    relative = folder.joinpath(*PurePosixPath(name.replace("\\", "/")).parts)
    path = Path(os.path.normpath(expanded if is_absolute else relative))
    if path.is_relative_to(os.path.normpath(folder)) or path.is_relative_to(os.path.abspath(folder)):  # noqa: PTH100
        return path
    wrong = (
        "an absolute path; expected one relative to the table's folder, or below the folder that data.image_folder "
        "names"
        if is_absolute
        else "which leaves the table's folder; expected a path without '..', or data.image_folder: a folder above it"
    )
    raise DataError(f"{where} is {name!r}, {wrong}")


def _names_beside(labels: Sequence[str], names: Sequence[str], first_label: int) -> tuple[str, ...] | None:
    """The names in label order, if the labels are numbers without a gap and each goes with one name; else None."""
    pairs = set(zip(labels, names, strict=True))
    if not all(label.isdecimal() and name and not name.isdecimal() for label, name in pairs):
        return None
    found = {int(label): name for label, name in pairs}
    wanted = range(first_label, first_label + len(pairs))
    if sorted(found) != list(wanted) or len(set(found.values())) < len(pairs):
        return None
    return tuple(found[label] for label in wanted)


def load_table(path: Path, config: DataConfig, base: Path | None = None) -> ImageDataset:
    """Loads the labelled files of a table, from the table's folder or `data.image_folder`, which starts at `base`.

    Labels are read by `parse_labels`, with the names of `data.class_names` or of the text file beside the table. Rows
    count from 1, without the header and blank lines.

    Raises:
        DataError: one line that names the table, row and column, or the image file, and what was expected.
    """
    table = open_table(path)
    _find_file_columns(table, config)  # first, so that an error names this column if both are missing
    part_column = _find_part_column(table, config.split)
    if config.has_stated_votes:
        return _load_votes(table, config, part_column, base)
    if config.votes.model_copy(update={"agreement": AGREEMENT}) != VotesConfig():
        raise DataError(
            f"{path}: data.votes is stated without data.votes.questions; expected the questions (galaxy-exp init "
            "--data writes those of Galaxy Zoo), or labels and no data.votes"
        )
    default = TableConfig().label_column
    label_column = table.find(config.table.label_column, "data.table.label_column", default, _LABEL_COLUMNS)[0]
    usable = (each for each in table.among(_NAME_COLUMNS) if each not in table.nested and table.names.count(each) == 1)
    name_columns = [each for each in usable if each != label_column]
    more = [label_column, *name_columns, *([part_column] if part_column else [])]
    images = open_image_table(table, config, more, base)
    files = _locate_all(images)
    names = find_class_names(path, config.class_names)
    beside = None
    if names is None and name_columns:
        names = beside = _names_beside(images.cells[label_column], images.cells[name_columns[0]], config.first_label)
    cells, at = images.cells[label_column], LabelsAt(str(path), label_column, by_row=True)
    labels = parse_labels(cells, names, at, len(files), config.first_label)
    parts = parse_parts(images.cells[part_column], str(path), part_column, by_row=True) if part_column else None
    _refuse_missing(images, files)
    stack = read_files(files, config, str(path), cells)
    plain = not images.notes and label_column == default
    used = f"labels are in column {label_column!r}" + (f", the split in {part_column!r}" if part_column else "")
    if beside is not None:
        plain, used = False, f"{used}, the names of the classes in {name_columns[0]!r}"
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


_GZ2_CLASSES = ("gz2_class", "gz2class")
"""Columns with Galaxy Zoo 2's abbreviations of a galaxy's votes, hundreds of different ones: no classes."""


def recognise_votes(config: DataConfig) -> tuple[VotesConfig, str | None] | None:
    """Galaxy Zoo's questions by the columns of the table that is the source, and a column with classes, if any.

    Keys of `data.votes` that are stated stay; Galaxy Zoo 2's abbreviations are no classes.

    Returns:
        None if the source is no table or has no such columns, or if the questions are stated.

    Raises:
        DataError: the table cannot be read.
    """
    path = config.source_path
    if config.has_stated_votes or not (is_table(path) and path.is_file()):
        return None
    table = open_table(path)
    votes = recognise_questions(table.names)
    if votes is None:
        return None
    labels = table.among([each for each in _LABEL_COLUMNS if each not in _GZ2_CLASSES])
    if config.table.label_column in table.names:
        labels = [config.table.label_column]
    stated = config.votes.model_dump(exclude_unset=True)
    return votes.model_copy(update=stated), next(iter(labels), None)


def _load_votes(table: Table, config: DataConfig, part_column: str | None, base: Path | None) -> ImageDataset:
    """As `load_table`, with the votes of `data.votes` in place of labels; rows without votes may be left out."""
    answers, totals = find_vote_columns(table, config.votes), find_total_columns(table, config.votes)
    images = open_image_table(table, config, [*answers, *totals, *([part_column] if part_column else [])], base)
    files, name = _locate_all(images), str(table.path)
    read = read_vote_cells(images.cells, answers, totals, config.votes, name)
    parts = parse_parts(images.cells[part_column], name, part_column, by_row=True) if part_column else None
    voted = [files[row] for row in read.kept.tolist()]
    _refuse_missing(images, voted)
    questions = read.votes.questions
    winners = questions.winners(read.votes.values).tolist()
    stack = read_files(voted, config, name, [questions.class_names[winner] for winner in winners])
    kept = read.kept[stack.kept]
    failed = np.setdiff1d(read.kept, kept).tolist()
    left_out = {**read.dropped, **dict(zip(failed, stack.skipped, strict=True))}
    return build_dataset(
        stack.images,
        None,
        source=name,
        own_split=None if parts is None else parts[kept],
        preprocessing=stack.preprocessing,
        skipped=[left_out[row] for row in sorted(left_out)],
        notes=[*images.notes, *([read.note] if read.note else [])],
        rows=TableRows(images.id_column, tuple(images.ids), tuple(map(str, files)), kept),
        votes=replace(read.votes, values=read.votes.values[stack.kept]),
    )


def _locate_all(images: ImageTable) -> list[Path]:
    """The file of each row; refuses a file that is in two rows."""
    files = [images.locate(row) for row in range(len(images.ids))]
    _check_each_once(files, images.cells[images.file_column], f"{images.table.path}: {images.file_column!r}")
    return files


def _refuse_missing(images: ImageTable, files: Sequence[Path]) -> None:
    missing = [] if images.config.on_error == "skip" else [file for file in files if not file.exists()]
    if missing:
        raise DataError(f"{images.describe_missing(missing)}; data.on_error: skip leaves such rows out")


def _find_part_column(table: Table, config: SplitConfig) -> str | None:
    default = SplitConfig().column
    if config.column is None or config.column == default:
        return next(iter(table.among([default])), None) if config.column and default else None
    return table.find(config.column, "data.split.column")[0]


def _check_each_once(files: Sequence[Path], cells: Sequence[str], where: str) -> None:
    """Compares files, as different cells may name the same file."""
    first_row: dict[str, int] = {}
    for row, (file, cell) in enumerate(zip(files, cells, strict=True)):
        first = first_row.setdefault(os.path.abspath(file), row)  # noqa: PTH100  Path.absolute keeps ..
        if first != row:
            again = "" if cell == cells[first] else f" {cell!r}, the same file, in"
            raise DataError(
                f"{where} is {cells[first]!r} in row {first + 1} and{again} row {row + 1}; expected each file once"
            )
