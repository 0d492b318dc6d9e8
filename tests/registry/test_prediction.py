from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxy_exp.errors import BadInputError
from galaxy_exp.registry.champion import Predictions
from galaxy_exp.registry.prediction import PredictionCount, predict_to_rows, write_predictions

from .conftest import coloured

COLUMNS = ["name", "label", "class_name", "probability", "p_red", "p_green", "p_blue, dim", "error"]


@dataclass(frozen=True)
class _Image:
    name: str
    image: np.ndarray | None
    error: str | None = None


class _Brightest:
    """Takes images of at least 8 x 8 pixels."""

    class_names = ("red", "green", "blue, dim")

    def refusal(self, image: np.ndarray) -> str | None:
        return None if len(image) >= 8 else "has 4 x 4 pixels; expected at least 8 x 8"

    def predict(self, images: Any) -> Predictions:
        probabilities = np.stack([image.mean(axis=(0, 1)) / image.mean() / 3 for image in images]).astype(np.float32)
        labels = probabilities.argmax(axis=1)
        return Predictions(labels, [self.class_names[label] for label in labels], probabilities)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    batches = [
        [_Image("a.png", coloured(0)), _Image("b.png", None, "not an image"), _Image("é,c.png", coloured(2))],
        [_Image("small.png", coloured(1, 4, 4))],
        [_Image("none.png", None)],
        [],
    ]
    return list(predict_to_rows(_Brightest(), batches))


def test_every_image_has_its_row_in_order(rows: list[dict[str, Any]]) -> None:
    assert [list(row) for row in rows] == [COLUMNS] * 5
    assert [row["name"] for row in rows] == ["a.png", "b.png", "é,c.png", "small.png", "none.png"]
    assert [row["class_name"] for row in rows] == ["red", None, "blue, dim", None, None]
    assert [row["error"] for row in rows] == [
        None,
        "not an image",
        None,
        "image has 4 x 4 pixels; expected at least 8 x 8",
        "could not be read",
    ]
    assert rows[0]["probability"] == rows[0]["p_red"] == pytest.approx(220 / 260, abs=1e-6)


def test_rows_come_a_batch_at_a_time() -> None:
    def batches() -> Iterator[list[_Image]]:
        yield [_Image("a", coloured(0))]
        raise RuntimeError("read too far")

    assert next(predict_to_rows(_Brightest(), batches()))["name"] == "a"


def test_csv(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    counted = write_predictions(rows, tmp_path / "out.csv")
    assert counted == PredictionCount(5, 3)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert list(read[0]) == COLUMNS
    assert read[1]["label"] == ""
    assert read[2]["class_name"] == "blue, dim"
    assert float(read[2]["probability"]) == rows[2]["probability"]
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) & 0o400
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]


def test_json(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    write_predictions(rows, tmp_path / "out.json", "json")
    text = (tmp_path / "out.json").read_text(encoding="utf-8")
    assert json.loads(text) == rows
    assert text.count("\n") == len(rows) + 2
    stream = io.StringIO()
    assert write_predictions([], None, "json", stream) == PredictionCount(0, 0)
    assert json.loads(stream.getvalue()) == []


def test_standard_output(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions(rows[:1], None)
    assert (
        capsys.readouterr().out.splitlines()[0] == 'name,label,class_name,probability,p_red,p_green,"p_blue, dim",error'
    )


def test_a_failure_leaves_the_older_file(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("older")

    def failing() -> Iterator[dict[str, Any]]:
        yield rows[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_predictions(failing(), path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere/out\.csv: cannot be written: No such file or directory"):
        write_predictions(rows, tmp_path / "nowhere" / "out.csv")
