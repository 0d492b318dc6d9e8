"""Arrays given from Python are written once and are a source like any other from then on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from galaxy_exp.config.data_section import DataConfig, FitsConfig, SplitConfig
from galaxy_exp.data import ImageDataset, Preprocessing, build_dataset, load_dataset, prepare_split
from galaxy_exp.data.sources import check_source
from galaxy_exp.data.sources.array_file import store_data
from galaxy_exp.errors import DataError
from galaxy_exp.questions import Question, Questions, Votes

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 9, 10, 3), dtype=np.uint8)
LABELS = np.arange(12) % 2
VOTES = Votes(Questions((Question("shape", ("a", "b")),)), np.ones((12, 2), np.float32), are_counts=True)


def through(data: Any, folder: Path, **config: Any) -> ImageDataset:
    return load_dataset(store_data(data, DataConfig(**config), folder))


def test_arrays_come_back(tmp_path: Path) -> None:
    dataset = through((IMAGES, LABELS), tmp_path / "new")
    np.testing.assert_array_equal(dataset.images, IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.class_names == ("class 0", "class 1")
    assert isinstance(dataset.images, np.memmap)
    assert (dataset.simulated, dataset.own_split) == (False, None)


def test_names(tmp_path: Path) -> None:
    assert through((IMAGES, LABELS, ("a", "b")), tmp_path).class_names == ("a", "b")
    assert through((IMAGES, LABELS), tmp_path, class_names=("c", "d")).class_names == ("c", "d")


@pytest.mark.parametrize(
    "names",
    [np.array(["1", "2"]), [b"1", "2"], pd.Index(["1", "2"]), pd.Series(["1", "2"]), {"1": 0, "2": 0}.keys(), [1, 2]],
)
def test_names_in_other_forms(tmp_path: Path, names: Any) -> None:
    assert through((IMAGES, LABELS, names), tmp_path).class_names == ("1", "2")


def test_a_data_set_keeps_all_it_knows(tmp_path: Path) -> None:
    parts = np.arange(12, dtype=np.int8) % 3
    given = build_dataset(
        IMAGES,
        LABELS,
        ("a", "b"),
        source="x",
        simulated=True,
        own_split=parts,
        preprocessing=Preprocessing(crop=9, fits=FitsConfig(stretch="sqrt")),
    )
    kept = through(given, tmp_path)
    assert (kept.simulated, kept.preprocessing, kept.class_names) == (True, given.preprocessing, ("a", "b"))
    assert kept.digest == given.digest
    assert kept.own_split is not None
    np.testing.assert_array_equal(kept.own_split, parts)


def test_preprocessing_is_done_as_for_any_source(tmp_path: Path) -> None:
    dataset = through((IMAGES, LABELS), tmp_path, crop=8)
    assert dataset.image_shape == (8, 8, 3)
    with pytest.raises(
        DataError, match=r"its images are preprocessed already \(crop 8\); expected the same data\.crop"
    ):
        through(dataset, tmp_path, greyscale=True)


def test_the_options_of_the_source_that_is_replaced_are_gone(tmp_path: Path) -> None:
    stated = DataConfig(source="package.module:Source", options={"path": "x"}, crop=8)
    stored = store_data((IMAGES, LABELS), stated, tmp_path)
    check_source(stored)
    assert (stored.options, stored.crop) == ({}, 8)


def test_written_once(tmp_path: Path) -> None:
    first = store_data((IMAGES, LABELS), DataConfig(), tmp_path)
    written = Path(first.source).stat().st_mtime_ns
    assert store_data((IMAGES.copy(), LABELS.tolist()), DataConfig(), tmp_path) == first
    assert Path(first.source).stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [Path(first.source).name]
    assert store_data((IMAGES, 1 - LABELS), DataConfig(), tmp_path) != first


def test_what_a_source_may_be_is_one(tmp_path: Path) -> None:
    assert store_data("simulated", DataConfig(source="x"), tmp_path).source == "simulated"
    assert store_data(tmp_path / "x.h5", DataConfig(), tmp_path).source == str(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGES, r"^data: found ndarray; expected \(images, labels\)"),
        ((IMAGES,), "^data: found tuple; expected"),
        ((IMAGES / 255, LABELS), "^data: 'images' is float64 from 0 to 1; expected uint8"),
        ((IMAGES, np.full((12, 2), 0.5)), r"^data: 'labels' has shape \(12, 2\) and is not one-hot"),
        ((IMAGES, LABELS, {"a", "b"}), "^data: class_names is {'.', '.'}; expected a list of names, one per class"),
        ((IMAGES, LABELS, {"a": 0, "b": 1}), "^data: class_names is {'a': 0, 'b': 1}; expected a list of names"),
        ((IMAGES, LABELS, "ab"), "^data: class_names is 'ab'; expected a list of names"),
        ((IMAGES, LABELS, np.array([["a", "b"]])), r"^data: class_names is array\(\[\['a', 'b'\]\]"),
        ((IMAGES, LABELS, [None, "b"]), "^data: class_names has the name None; expected text"),
        (([IMAGES[0], IMAGES[1, 1:]], [0, 1]), "^data: 'images' are of different shapes; expected one uint8 array"),
        ((np.ma.masked_less(IMAGES, 9), LABELS), "^data: 'images' has masked pixels; expected a value in each"),
        ((IMAGES, VOTES, ["a", "b"]), r"^data: found votes and class names; expected \(images, votes\)"),
        ((IMAGES, replace(VOTES, values=VOTES.values.tolist())), "^data: votes are float64 of shape"),
        ((IMAGES, replace(VOTES, questions=[])), "^data: votes: the questions are a list; expected Questions"),
        ((IMAGES, LABELS, ["a"]), "^data: 'labels' is 1 at index 1, but there are 1 class names"),
    ],
)
def test_bad_data_is_told_before_anything_is_written(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        store_data(data, DataConfig(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("galaxy_exp.data.sources.array_file.describe_images", fail)
    with pytest.raises(DataError, match=r"\.h5: the data cannot be written \(No space left on device\)"):
        store_data((IMAGES, LABELS), DataConfig(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_prepared_like_any_source(tmp_path: Path) -> None:
    prepared = prepare_split(through((IMAGES, LABELS), tmp_path), SplitConfig(), tmp_path / "cache")
    assert prepared.source.endswith(".h5")
