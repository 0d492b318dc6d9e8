from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from PIL import Image
from pyarrow import parquet

from galaxy_exp.config.data_section import DataConfig, SplitConfig, TableConfig
from galaxy_exp.data import ImageDataset, load_dataset
from galaxy_exp.errors import DataError

ROWS = [("a/1.png", "spiral"), ("a/2.png", "edge-on"), ("3.png", "spiral"), ("4.png", "edge-on")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    for index, (name, _) in enumerate(ROWS):
        Image.new("RGB", (9, 10), (20 * index,) * 3).save(tmp_path / name)
    return tmp_path


def write_csv(folder: Path, rows: Any = ROWS, header: str = "file,label") -> Path:
    path = folder / "galaxies.csv"
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def load(path: Path, **settings: Any) -> ImageDataset:
    return load_dataset(DataConfig(source=str(path), **settings))


def load_one_line_error(path: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_are_sorted(folder: Path) -> None:
    dataset = load(write_csv(folder))
    assert dataset.class_names == ("edge-on", "spiral")
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    assert dataset.images[:, 0, 0, 0].tolist() == [0, 20, 40, 60]
    assert dataset.source == str(folder / "galaxies.csv")


def test_names_beside_numbers_are_those_of_the_classes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    numbered = [(name, int(label == "edge-on"), label) for name, label in ROWS]
    assert load(write_csv(folder, numbered, "file,label,class_name")).class_names == ("spiral", "edge-on")
    assert "labels are in column 'label', the names of the classes in 'class_name'" in caplog.messages[-1]
    caplog.clear()
    for other in ([*numbered[:3], (*numbered[3][:2], "other")], [*numbered[:3], (*numbered[3][:2], "")]):
        assert load(write_csv(folder, other, "file,label,class_name")).class_names == ("class 0", "class 1")
    assert not caplog.messages


def test_configured_names_give_the_order(folder: Path) -> None:
    assert load(write_csv(folder), class_names=("spiral", "edge-on")).labels.tolist() == [0, 1, 0, 1]
    message = load_one_line_error(write_csv(folder), class_names=("spiral", "edge on"))
    assert "row 2: 'label' is 'edge-on', no class name; did you mean \"edge on\"? known: spiral, edge on" in message


@pytest.mark.parametrize("numbers", [[0, 1, 0, 1], [0.0, 1.0, 0.0, 1.0]])
def test_whole_numbers_are_labels(folder: Path, numbers: list[float]) -> None:
    path = write_csv(folder, [(name, label) for (name, _), label in zip(ROWS, numbers, strict=True)])
    assert load(path).class_names == ("class 0", "class 1")
    assert load(path, class_names=("E", "S")).counts == {"E": 2, "S": 2}


def test_parquet_is_the_same(folder: Path) -> None:
    columns = {"name": [name for name, _ in ROWS], "kind": pa.array([label for _, label in ROWS]).dictionary_encode()}
    parquet.write_table(pa.table(columns), folder / "galaxies.parquet")
    table = TableConfig(file_column="name", label_column="kind")
    assert load(folder / "galaxies.parquet", table=table).digest == load(write_csv(folder)).digest


def test_bytes_in_parquet_are_text_or_refused(folder: Path) -> None:
    path, files = folder / "galaxies.parquet", [name for name, _ in ROWS]
    parquet.write_table(pa.table({"file": files, "label": [b"caf\xc3\xa9", b"x"] * 2}), path)
    assert load(path).class_names == ("caf\u00e9", "x")
    parquet.write_table(pa.table({"file": files, "label": [b"x", b"caf\xe9", b"caf\xe8", b"x"]}), path)
    expected = f"{path}: row 2: 'label' is b'caf\\xe9'; expected text in UTF-8"
    assert load_one_line_error(path) == expected


def test_pictures_in_parquet_are_named_shortly(folder: Path) -> None:
    path, (files, labels) = folder / "galaxies.parquet", zip(*ROWS, strict=True)
    parquet.write_table(pa.table({"image": [(folder / name).read_bytes() for name in files], "label": labels}), path)
    expected = f"{path}: row 1: 'image' is a picture; expected text or numbers; write its pictures to files, or into"
    assert load_one_line_error(path).startswith(expected)
    parquet.write_table(pa.table({"image": [b"\xff" * 10_000 for _ in files], "label": labels}), path)
    assert len(load_one_line_error(path)) < 400


def test_nested_columns_of_parquet_are_refused_if_they_are_needed(folder: Path) -> None:
    path, (files, labels) = folder / "galaxies.parquet", zip(*ROWS, strict=True)
    pictures = [{"bytes": (folder / name).read_bytes(), "path": name} for name in files]
    parquet.write_table(pa.table({"image": pictures, "label": labels}), path)
    expected = "'image' is of type struct<bytes: binary, path: string>; expected text or numbers; write its pictures to"
    assert expected in load_one_line_error(path)
    parquet.write_table(pa.table({"image": pictures, "filename": files, "label": labels}), path)
    assert load(path).digest == load(write_csv(folder)).digest
    parquet.write_table(pa.table({"file": files, "label": [[each] for each in labels]}), path)
    message = load_one_line_error(path)
    assert message.startswith(f"{path}: 'label' is of type list<")
    assert message.endswith(">; expected text or numbers")


def test_utf8_mark_blank_lines_and_blanks(folder: Path) -> None:
    path = folder / "galaxies.csv"
    path.write_text("\ufefffile , label\n\n" + "\n".join(f"{name}, {label}" for name, label in ROWS), encoding="utf-8")
    assert load(path).counts == {"edge-on": 2, "spiral": 2}


def test_a_header_may_have_a_line_break_in_a_cell(folder: Path) -> None:
    path = write_csv(folder, [(name, "x", label) for name, label in ROWS], 'file,"a note\n(long)",label')
    assert load(path).counts == {"edge-on": 2, "spiral": 2}
    path.write_text(path.read_text().replace(",", ";"))
    assert load(path).counts == {"edge-on": 2, "spiral": 2}


@pytest.mark.parametrize(
    ("cell", "why"), [("x" * 140_000, "field larger than field limit (131072)"), ('"x', "unexpected end of data")]
)
def test_a_cell_that_csv_cannot_have_is_named_by_its_line(folder: Path, cell: str, why: str) -> None:
    path = write_csv(folder, [*ROWS[:2], ("3.png", cell), ROWS[3]])
    expected = f"{path}: cannot be read as a csv table ({why}, in the row that begins in line 4)"
    assert load_one_line_error(path) == expected


@pytest.mark.parametrize("name", ["packed.csv", "packed.csv.gz", "plain.csv.gz"])
def test_gzip_is_recognised_whatever_the_name(folder: Path, name: str) -> None:
    text = write_csv(folder).read_bytes()
    (folder / name).write_bytes(text if name.startswith("plain") else gzip.compress(text))
    assert load(folder / name).counts == {"edge-on": 2, "spiral": 2}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file,étiquette\n".encode("latin-1"), "invalid continuation byte"),
        ("file,label\n".encode("utf-16-le"), "it has"),
    ],
)
def test_text_in_another_encoding(folder: Path, text: bytes, why: str) -> None:
    path = folder / "galaxies.csv"
    path.write_bytes(text)
    message = load_one_line_error(path)
    assert message.startswith(f"{path}: is not text in UTF-8 ({why}")
    assert message.endswith("); save it as CSV in UTF-8")


@pytest.mark.parametrize(("stated", "there"), [("7", "007"), ("NGC1", "ngc1"), ("\u00e9", "e\u0301")])
def test_a_file_whose_name_is_nearly_the_stated_one_is_named(folder: Path, stated: str, there: str) -> None:
    shutil.copy(folder / ROWS[0][0], folder / f"{there}.png")
    message = load_one_line_error(write_csv(folder, [(f"{stated}.png", "spiral"), *ROWS]))
    assert f"({there}.png is there: leading zeros, upper case or the encoding of accents differ)" in message


def test_fits_among_pictures(folder: Path) -> None:
    fits.PrimaryHDU(np.arange(90.0).reshape(10, 9)).writeto(folder / "5.fits")
    assert load(write_csv(folder, [*ROWS, ("5.fits", "spiral")])).images[4].max() == 255


class TestSplitColumn:
    PARTS = ("train", "validation", "test", "train")

    def write(self, folder: Path, column: str = "split", parts: tuple[str, ...] = PARTS) -> Path:
        return write_csv(folder, [(*row, part) for row, part in zip(ROWS, parts, strict=True)], f"file,label,{column}")

    def test_is_honoured(self, folder: Path) -> None:
        dataset = load(self.write(folder))
        assert dataset.own_split is not None
        assert dataset.own_split.tolist() == [0, 1, 2, 0]

    def test_by_another_name(self, folder: Path) -> None:
        path = self.write(folder, "fold")
        assert load(path).own_split is None
        assert load(path, split=SplitConfig(column="fold")).own_split is not None
        message = load_one_line_error(path, split=SplitConfig(column="flod"))
        assert "has no column 'flod' (data.split.column); did you mean \"fold\"?" in message

    def test_can_be_left_aside(self, folder: Path) -> None:
        assert load(self.write(folder), split=SplitConfig(column=None)).own_split is None

    def test_other_values(self, folder: Path) -> None:
        path = self.write(folder, parts=("train", "holdout", "test", "train"))
        assert (
            "row 2: 'split' is 'holdout'; expected train, validation, test (data.split.column: null ignores it)"
            in load_one_line_error(path)
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ("/etc/1.png", "spiral"),
            "row 5: 'file' is '/etc/1.png', an absolute path; expected one relative to the table",
        ),
        (("C:\\1.png", "spiral"), "row 5: 'file' is 'C:\\\\1.png', an absolute path"),
        (("~/1.png", "spiral"), "row 5: 'file' is '~/1.png', an absolute path"),
        (
            ("a/../../1.png", "spiral"),
            "row 5: 'file' is 'a/../../1.png', which leaves the table's folder; expected a path without",
        ),
        (("", "spiral"), "row 5: 'file' is empty"),
        (("3.png", "spiral"), "'file' is '3.png' in row 3 and row 5; expected each file once"),
        (("none.png", "spiral"), "galaxies.csv: 1 of its 5 image files not found: "),
        (("4.png", ""), "row 5: 'label' is empty; expected a whole number from 0, or a name"),
        (("5.png", "spiral", "x"), "row 5 has 3 cells; expected 2, as the header"),
    ],
)
def test_wrong_row(folder: Path, row: tuple[str, ...], message: str) -> None:
    rows = [*ROWS, row] if row[0] != "4.png" else [*ROWS[:3], ROWS[3], ("5.png", "")]
    assert message in load_one_line_error(write_csv(folder, rows))


@pytest.mark.parametrize("label", ["1.5", "-1", "nan", "inf"])
def test_numbers_that_are_no_labels(folder: Path, label: str) -> None:
    rows = [(name, 0) for name, _ in ROWS[:3]] + [("4.png", label)]
    assert f"row 4: 'label' is {label}; expected a whole number from 0" in load_one_line_error(write_csv(folder, rows))


def test_wrong_columns(folder: Path) -> None:
    path = write_csv(folder, header="stamp,types")
    assert "has no column 'file' (data.table.file_column); known: stamp, types" in load_one_line_error(path)
    message = load_one_line_error(path, table=TableConfig(file_column="stamp", label_column="type"))
    assert "has no column 'type' (data.table.label_column); did you mean \"types\"?" in message


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"file,label\n"])
def test_not_a_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    message = load_one_line_error(tmp_path / name)
    expected = (
        f"{name}: cannot be read as a {name[2:]} table (",
        f"{name}: has no rows",
        f"{name}: is not text in UTF-8",
    )
    assert any(each in message for each in expected)


def test_skips_broken_and_missing_files_and_keeps_labels_and_parts(folder: Path) -> None:
    (folder / "a" / "2.png").write_bytes(b"nothing")
    rows = [(*row, part) for row, part in zip(ROWS, ("train", "test", "validation", "test"), strict=True)]
    path = write_csv(folder, [*rows, ("none.png", "spiral", "train")], "file,label,split")
    dataset = load(path, on_error="skip")
    assert dataset.labels.tolist() == [1, 1, 0]
    assert dataset.own_split is not None
    assert dataset.own_split.tolist() == [0, 1, 2]
    assert [line.split(": ")[0] for line in dataset.skipped] == [str(folder / "a/2.png"), str(folder / "none.png")]
