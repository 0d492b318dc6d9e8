from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.registry.prediction import choose_format, write_lines_to_terminal, write_rows, write_rows_to_stdout
from galaxy_exp.registry.prediction_run import PredictionCount, count_rows

COLUMNS = ["name", "label", "class_name", "probability", "p_red", "p_blue, dim", "error"]
NO_TEXT = os.fsdecode(b"\xff.png")


def _row(name: str, *values: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, (name, *values), strict=True))


ROWS = [
    _row("a.png", 0, "red", 0.75, 0.75, 0.25, None),
    _row("b.png", None, None, None, None, None, "b.png: not an image"),
    _row("é,c.png", 1, "blue, dim", 0.75, 0.25, 0.75, None),
]


def test_csv(tmp_path: Path) -> None:
    write_rows(ROWS, COLUMNS, tmp_path / "out.csv", "csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert list(read[0]) == COLUMNS
    assert read[1]["label"] == ""
    assert (read[2]["name"], read[2]["class_name"], float(read[2]["probability"])) == ("é,c.png", "blue, dim", 0.75)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) & 0o400
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]


def test_json_is_a_list_and_jsonl_an_object_a_line(tmp_path: Path) -> None:
    for name in ("json", "jsonl"):
        write_rows(ROWS, COLUMNS, tmp_path / name, name)
    text = (tmp_path / "json").read_text(encoding="utf-8")
    assert json.loads(text) == ROWS
    assert text.count("\n") == len(ROWS) + 2
    assert [json.loads(line) for line in (tmp_path / "jsonl").read_text(encoding="utf-8").splitlines()] == ROWS


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_json_is_utf8_whatever_files_are_called(tmp_path: Path, format: str) -> None:
    write_rows([{**ROWS[1], "name": NO_TEXT, "error": f"{NO_TEXT}: gone"}], COLUMNS, tmp_path / "out", format)
    read = json.loads((tmp_path / "out").read_text(encoding="utf-8"))
    row = read[0] if format == "json" else read
    assert (row["name"], row["error"]) == ("\ufffd.png", "\ufffd.png: gone")


def test_parquet_keeps_numbers_and_gaps(tmp_path: Path) -> None:
    write_rows([*ROWS, _row(NO_TEXT, None, None, None, None, None, "gone")], COLUMNS, tmp_path / "out", "parquet")
    read = pyarrow.parquet.read_table(tmp_path / "out")
    assert read.column_names == COLUMNS
    assert str(read.schema.field("label").type) == "int64"
    assert read.to_pylist()[:3] == ROWS
    assert read["name"][3].as_py() == "\ufffd.png"


def test_parquet_keeps_ids_as_text_whatever_their_column_is_called(tmp_path: Path) -> None:
    row = {"name": "a.png", "p_id": "007", **{key: value for key, value in ROWS[0].items() if key != "name"}}
    write_rows([row], list(row), tmp_path / "out", "parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out").to_pylist() == [row]


@pytest.mark.parametrize("format", ["csv", "json", "jsonl", "parquet"])
def test_no_rows(tmp_path: Path, format: str) -> None:
    write_rows([], COLUMNS, tmp_path / "out", format)
    if format == "csv":
        assert next(csv.reader((tmp_path / "out").open())) == COLUMNS
    elif format == "parquet":
        assert pyarrow.parquet.read_table(tmp_path / "out").column_names == COLUMNS
    else:
        assert (tmp_path / "out").read_text() == ("[]\n" if format == "json" else "")


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows_to_stdout(ROWS[:1], COLUMNS, "csv")
    assert capsys.readouterr().out.splitlines()[0] == 'name,label,class_name,probability,p_red,"p_blue, dim",error'
    stream = io.StringIO()
    write_rows_to_stdout([], COLUMNS, "json", stream)
    assert json.loads(stream.getvalue()) == []


def test_a_line_break_in_the_name_of_a_file_breaks_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**ROWS[0], "name": "a\nb.png"}]
    rows += [{**ROWS[1], "name": "a\nb.png", "error": error} for error in ("a\\nb.png: gone", "image is small")]
    count = PredictionCount()
    write_lines_to_terminal(count_rows(rows, count), 8, 3)
    assert capsys.readouterr().out == "a\\nb.png  red  0.75\na\\nb.png  gone\na\\nb.png  image is small\n"
    assert count.errors == ["a\\nb.png: gone", "a\\nb.png: image is small"]


def test_a_file_name_that_is_no_text(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_rows_to_stdout([{**ROWS[1], "name": NO_TEXT}], COLUMNS, "csv")
    sys.stdout.flush()
    assert capfdbinary.readouterr().out.splitlines()[1].startswith(b"\xff.png,")


def test_a_failure_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("older")

    def failing() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_rows(failing(), COLUMNS, path, "csv")
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere/out\.csv: cannot be written: No such file or directory"):
        write_rows(ROWS, COLUMNS, tmp_path / "nowhere" / "out.csv", "csv")


def test_the_format_is_that_of_the_ending_unless_it_is_stated() -> None:
    assert choose_format(None, None) == "csv"
    assert choose_format(Path("x.PARQUET"), None) == "parquet"
    assert choose_format(Path("x.txt"), "jsonl") == "jsonl"
    with pytest.raises(BadInputError, match=r"--output x\.txt: expected a name ending in one of \.csv, \.json, "):
        choose_format(Path("x.txt"), None)
    with pytest.raises(BadInputError, match="--format parquet: expected --output FILE as well"):
        choose_format(None, "parquet")
