"""The code of docs/how-to-own-data.md is run as it stands there, and what it makes is loaded as a sweep would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from doc_commands import fenced
from PIL import Image

from galaxy_exp.config import parse_sweep
from galaxy_exp.data import load_dataset

PAGE = "how-to-own-data.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_arrays_become_a_file_with_class_names() -> None:
    exec(fenced(PAGE, "python")[0], {})
    dataset = load_dataset(parse_sweep({"data": {"source": "galaxies.h5"}}).data)
    assert (len(dataset), list(dataset.class_names)) == (60, ["smooth", "spiral", "edge-on"])


def test_a_class_of_ones_own_gives_the_arrays(folder: Path) -> None:
    (folder / "mydata.py").write_text(fenced(PAGE, "python")[1], encoding="utf-8")
    stamps = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "stamps.npz", stamps=stamps, types=np.arange(12) % 2)
    config = parse_sweep(yaml.safe_load(fenced(PAGE, "yaml")[1]))
    dataset = load_dataset(config.data)
    assert (len(dataset), list(dataset.class_names)) == (12, ["smooth", "spiral"])


def test_a_table_has_a_split_of_its_own(folder: Path) -> None:
    (table,) = (block for block in fenced(PAGE, "") if block.startswith("file,label,split"))
    (folder / "galaxies.csv").write_text(table, encoding="utf-8")
    (folder / "images").mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / "images" / f"000{number}.png")
    dataset = load_dataset(parse_sweep({"data": {"source": "galaxies.csv"}}).data)
    assert dataset.own_split is not None
    assert list(dataset.class_names) == ["smooth", "spiral"]


def test_a_catalogue_of_ids_finds_its_files(folder: Path) -> None:
    ids = [f"58772298174208409{number}" for number in range(4)]
    for number, name in enumerate(ids):
        (folder / "images_gz2" / name[:6]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / "images_gz2" / name[:6] / f"{name}.jpg")
    rows = [f"{name},{kind}" for name, kind in zip(ids, ["Sb", "Er", "Sb", "Er"], strict=True)]
    (folder / "gz2.csv").write_text("\n".join(["dr7objid,gz2_class", *rows]), encoding="utf-8")
    (block,) = (block for block in fenced(PAGE, "yaml") if "gz2.csv" in block)
    dataset = load_dataset(parse_sweep(yaml.safe_load(block)).data)
    assert dataset.counts == {"Er": 2, "Sb": 2}
