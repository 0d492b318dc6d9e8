"""`predict` and `evaluate` on a table: a row for each of its rows, with its id as it was."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from galaxy_exp.cli.main import run_command
from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.config.votes_section import VotesConfig
from galaxy_exp.data import load_dataset
from galaxy_exp.registry.labelled import align_questions, list_predictions
from galaxy_exp.registry.packaging import ModelVersionRef

from .conftest import CLASS_NAMES, Store, coloured

RED, GREEN, _ = CLASS_NAMES
IDS = ["587722981742084097", "587722981742084099", "588015509806252104", "587727178986356823"]
MISSING = 2

Command = Callable[..., list[str]]


@pytest.fixture
def command(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs in a folder where `stamps` has the images of all ids but one."""
    uri = register("of-tables").uri
    (tmp_path / "stamps").mkdir()
    for channel, name in enumerate(IDS):
        if channel != MISSING:
            Image.fromarray(coloured(channel % 3)).save(tmp_path / "stamps" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return lambda name, *more: [name, *more, "--model", uri, "--uri", store.uri]


def as_csv(folder: Path) -> str:
    lines = [f"{name};{kind};0.5" for name, kind in zip(IDS, [RED, GREEN, GREEN, RED], strict=True)]
    (folder / "set.csv").write_text("\n".join(["\ufeffobjid;class;ra", *lines]), encoding="utf-8")
    return "set.csv"


def as_parquet(folder: Path) -> str:
    columns = {"objid": [int(name) for name in IDS], "class": [RED, GREEN, GREEN, RED]}
    parquet.write_table(pyarrow.table(columns), folder / "set.parquet")
    return "set.parquet"


def as_paths(folder: Path) -> str:
    lines = [f"stamps/{name}.png\t{name}\t{kind}" for name, kind in zip(IDS, [RED, GREEN, GREEN, RED], strict=True)]
    (folder / "set.txt").write_text("\n".join(["file_loc\tobjid\tlabel", *lines]))
    return "set.txt"


TABLES = [
    (as_csv, ["--image-folder", "stamps", "--file-suffix", ".png"]),
    (as_parquet, ["--set", "data.image_folder=stamps", "--set", "data.file_suffix=png"]),
    (as_paths, []),
]


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def read_json(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


@pytest.mark.parametrize(("write", "flags"), TABLES)
@pytest.mark.parametrize(("output", "read"), [("o.csv", read_csv), ("o.parquet", read_parquet), ("o.json", read_json)])
def test_predict_gives_a_row_for_each_row(
    command: Command, tmp_path: Path, write: Any, flags: list[str], output: str, read: Any
) -> None:
    assert run_command(command("predict", write(tmp_path), *flags, "-o", output)) == 3
    rows = read(tmp_path / output)
    assert [row["objid"] for row in rows] == IDS
    assert [row["class_name"] or None for row in rows] == [RED, GREEN, None, RED]
    assert rows[MISSING]["error"] == f"stamps/{IDS[MISSING]}.png: no such file"
    assert list(rows[0])[:3] == ["name", "objid", "label"]


@pytest.mark.parametrize("column", ["p_id", f"p_{CLASS_NAMES[0]}", "probability"])
@pytest.mark.parametrize(("output", "read"), [("o.csv", read_csv), ("o.parquet", read_parquet)])
def test_an_id_column_may_be_called_like_a_probability(
    command: Command, tmp_path: Path, column: str, output: str, read: Any
) -> None:
    (tmp_path / "set.tsv").write_text("\n".join([f"file\t{column}", *(f"stamps/{name}.png\tx{name}" for name in IDS)]))
    assert run_command(command("predict", "set.tsv", "--set", f"data.table.id_column={column}", "-o", output)) == 3
    called = column if column == "p_id" else f"{column} (table)"
    assert [row[called] for row in read(tmp_path / output)] == [f"x{name}" for name in IDS]


@pytest.mark.parametrize("name", ["predict", "evaluate"])
@pytest.mark.parametrize("folder", ["😀", "null", "a: [b]", "{x}", "é #1"])
def test_a_flag_takes_text_as_it_is_typed(command: Command, tmp_path: Path, name: str, folder: str) -> None:
    Image.fromarray(coloured(MISSING)).save(tmp_path / "stamps" / f"{IDS[MISSING]}.png")
    (tmp_path / "stamps").rename(tmp_path / folder)
    flags = ["--image-folder", folder, "--file-suffix", ".png", "-o", "o.csv" if name == "predict" else "out"]
    assert run_command(command(name, as_csv(tmp_path), *flags)) == 0


@pytest.mark.parametrize("name", ["predict", "evaluate"])
@pytest.mark.parametrize("flag", ["--image-folder", "--file-suffix"])
def test_a_mistake_is_blamed_on_the_flag(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, flag: str
) -> None:
    assert run_command(command(name, as_csv(tmp_path), flag, "")) == 2
    assert f"{flag}: found ''; expected" in capsys.readouterr().err


@pytest.mark.parametrize(("write", "flags"), TABLES)
def test_evaluate_gives_a_row_for_each_row(command: Command, tmp_path: Path, write: Any, flags: list[str]) -> None:
    arguments = [write(tmp_path), *flags, "-o", "out", "--format", "json"]
    assert run_command(command("evaluate", *arguments)) == 2
    assert run_command(command("evaluate", *arguments, "--set", "data.on_error=skip")) == 0
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert [row["objid"] for row in rows] == IDS
    assert [row["class_name"] for row in rows] == [RED, GREEN, "", RED]
    assert [row["true_class"] for row in rows] == [RED, GREEN, "", RED]
    assert rows[MISSING]["error"].startswith(f"stamps/{IDS[MISSING]}.png: no such file")
    assert float(rows[0][f"p_{RED}"]) == float(rows[0]["probability"]) > 0.9


def test_evaluate_names_the_files_of_a_folder(command: Command, tmp_path: Path) -> None:
    for index, kind in enumerate([RED, GREEN]):
        (tmp_path / "labelled" / kind).mkdir(parents=True)
        Image.fromarray(coloured(index)).save(tmp_path / "labelled" / kind / "x.png")
        (tmp_path / "labelled" / kind / "a.png").write_bytes(b"broken")
    assert run_command(command("evaluate", "labelled", "--set", "data.on_error=skip", "-o", "out")) == 0
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    expected = [(f"labelled/{GREEN}/x.png", GREEN), (f"labelled/{RED}/x.png", RED)]
    assert [(row["name"], row["class_name"]) for row in rows] == expected


def test_images_keep_their_numbers_where_others_have_no_votes(tmp_path: Path) -> None:
    votes = np.array([[0, 0], [3, 1], [0, 0], [1, 5]], np.float32)
    np.savez(tmp_path / "votes.npz", images=np.stack([coloured(0)] * 4), votes=votes)
    questions = ({"name": "smooth", "answers": ("yes", "no")},)
    stated = VotesConfig.model_validate({"missing": "drop", "questions": questions})
    dataset = load_dataset(DataConfig(source=str(tmp_path / "votes.npz"), votes=stated))
    assert dataset.votes is not None
    alignment = align_questions(dataset.votes.questions, dataset)
    assert alignment is not None
    _, rows = list_predictions(dataset, alignment, np.full((2, 2), 0.5, np.float32))
    assert [row["name"] for row in rows] == [f"{tmp_path}/votes.npz[1]", f"{tmp_path}/votes.npz[3]"]


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ("objid\n" + "\n".join(IDS), [], f"set.csv: 4 of its 4 image files not found: {IDS[0]}, "),
        ("objid\n" + IDS[0], ["--image-folder", "stamps"], f"({IDS[0]}.png is there: data.file_suffix: .png)"),
        ("objid\n" + IDS[0], ["--image-folder", "none"], "data.image_folder: none: no such folder"),
        ("ra,dec\n1,2", [], "has no column 'file' (data.table.file_column); known: ra, dec"),
        (IDS[0], [], f"its first line holds '{IDS[0]}', which is not a column name"),
        ("objid\n5.87e+17", ["--file-suffix", ".png"], "row 1: 'objid' is 5.87e+17, an id that has lost digits"),
        ("", [], "set.csv: has no rows"),
        ("objid\n1", ["--set", "data.class_names=[a,b]"], "--set data.class_names=[a,b]: expected data.fits.KEY=VALUE"),
    ],
)
def test_a_table_that_is_no_use_is_one_line(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, flags: list[str], message: str
) -> None:
    (tmp_path / "set.csv").write_text(content)
    assert run_command(command("predict", "set.csv", *flags, "-o", "o.csv")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


def test_rows_of_no_use_keep_their_place(command: Command, tmp_path: Path) -> None:
    """Beside a plain file, and with an id column that is called as one of ours."""
    (tmp_path / "set.csv").write_text(f"file,error\nstamps/{IDS[0]}.png,7\n,8\n/etc/passwd,9\nset.csv,10\nstamps,11\n")
    flags = ["--set", "data.table.id_column=error", "-o", "o.csv"]
    assert run_command(command("predict", "set.csv", f"stamps/{IDS[1]}.png", *flags)) == 3
    rows = read_csv(tmp_path / "o.csv")
    assert [row["error (table)"] for row in rows] == ["7", "8", "9", "10", "11", ""]
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, True, False]
    assert rows[1]["error"].startswith("set.csv: row 2: 'file' is empty")
    assert "absolute path" in rows[2]["error"]
    assert rows[4]["error"] == "stamps: is a folder; expected an image file"


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.glob("*.partial"))
