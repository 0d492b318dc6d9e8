"""`galaxy-exp data` in this process: what is on stdout, what on stderr, and the exit code."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from galaxy_exp.cli.main import run_command
from galaxy_exp.data.sources import SOURCES

SMALL = ("--set", "data.simulated.n_images=100", "--set", "data.simulated.image_size=24")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """20 pictures in two classes, one of them broken; the current folder."""
    rng = np.random.default_rng(0)
    for index in range(20):
        path = tmp_path / "set" / ("spiral", "smooth")[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    (tmp_path / "set" / "spiral" / "broken.png").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_names_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "list", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["source"] for row in rows} >= set(SOURCES)
    assert all(row.keys() == {"source", "what", "where"} for row in rows)


def test_info_as_json_keeps_the_contract(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "info", "set", "--set", "data.on_error=skip", "--set", "data.resize=16", "--format", "json"]
    assert run_command(arguments) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row.keys() >= {"source", "simulated", "images", "width", "height", "digest", "split_digest", "classes"}
    assert (row["images"], row["width"], row["height"]) == (20, 16, 16)
    assert row["preprocessing"] == ["resize 16"]
    assert len(row["channel_means"]) == len(row["channel_deviations"]) == 3
    assert row["skipped"] == [
        "set/spiral/broken.png: not a picture that can be read; expected PNG, JPEG or another format that Pillow reads"
    ]
    assert row["classes"][0] == {"label": 0, "class": "smooth", "train": 6, "validation": 2, "test": 2, "all": 10}
    assert row["classes"][-1]["all"] == 20


def test_info_of_votes(capsys: pytest.CaptureFixture[str]) -> None:
    volunteers = ("--set", "data.simulated.volunteers=[20, 30]", "--set", "data.votes.agreement=0.7")
    assert run_command(["data", "info", "simulated", *SMALL, *volunteers, "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["votes"], row["agreement"]) == ("counts", 0.7)
    assert row["questions"][1] == "edge-on after smooth-or-featured.featured (yes, no)"
    assert 20 <= row["median_votes"][0] <= 30
    assert 0 < row["agreed"] < 1
    assert [each["class"] for each in row["classes"]] == ["smooth", "featured", "all"]
    assert run_command(["data", "info", "simulated", *SMALL, *volunteers]) == 0
    assert "median_votes" in capsys.readouterr().out
    assert run_command(["data", "info", "simulated", *SMALL, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["votes"] is None


def test_info_as_table_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "info", "simulated", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "Disk, Edge-on, Boxy Bulge" in printed
    assert "channel_means" in printed
    assert run_command(["data", "info", "simulated", *SMALL, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["all"] for row in rows] == ["10"] * 10 + ["100"]


def test_info_of_a_sweep_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "sweep.yaml").write_text("data: {source: set, on_error: skip, greyscale: true}")
    assert run_command(["data", "info", "sweep.yaml", "--set", "data.crop=18", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["source"], row["preprocessing"]) == ("set", ["crop 18", "greyscale"])


def test_info_of_a_source_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my_galaxies.py").write_text(
        "import numpy as np\n"
        "class Mine:\n"
        "    def load(self):\n"
        "        images = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)\n"
        "        return {'images': images, 'labels': np.arange(12) % 2}\n"
    )
    assert run_command(["data", "info", "my_galaxies:Mine", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["images"] == 12


def test_preview_writes_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "preview", "simulated", *SMALL, "--per-class", "3", "-o", "x.png"]) == 0
    assert capsys.readouterr() == ("", "wrote x.png\n")
    assert Image.open(folder / "x.png").format == "PNG"


def test_preview_of_data_that_cannot_be_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.npz", images=np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), np.uint8), ans=[0, 1] * 2)
    assert run_command(["data", "preview", "x.npz"]) == 0
    assert "cannot be split: x.npz: class 0 ('class 0') has 2 different images" in capsys.readouterr().err
    assert (folder / "preview.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "set"], "error: set/spiral/broken.png: not a picture that can be read"),
        (["info", "nowhere.h5"], "error: nowhere.h5: no such file"),
        (["info", "set", "--set", "data.rezise=3"], 'error: --set data.rezise: unknown key; did you mean "resize"?'),
        (["preview", "set", "-o", "x.jpg"], "error: --output x.jpg: expected a name ending in .png"),
        (["fetch", "galaxy10"], 'error: galaxy10: cannot be fetched; did you mean "galaxy10-sdss"?'),
    ],
)
def test_bad_input_is_one_line(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1
