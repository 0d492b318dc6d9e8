from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from written_records import started

from galaxy_exp.config.data_section import SplitConfig
from galaxy_exp.data import ImageDataset, PreparedData, build_dataset, image_arrays, prepare_split, split_dataset
from galaxy_exp.errors import DataError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import parse_event
from galaxy_exp.journal.replay import replay
from galaxy_exp.sweep_images import load_prepared

MakeDataset = Callable[..., ImageDataset]


def test_files_hold_the_split(make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(30, 20)
    monkeypatch.setattr(image_arrays, "CHUNK_BYTES", 3 * dataset.images[0].nbytes)
    prepared = prepare_split(dataset, SplitConfig(), tmp_path)
    split = split_dataset(dataset, SplitConfig())
    pairs = [
        (prepared.files.train_images, prepared.files.train_labels, split.train),
        (prepared.files.validation_images, prepared.files.validation_labels, split.validation),
        (prepared.held_out.images, prepared.held_out.labels, split.test),
    ]
    for images, labels, indices in pairs:
        mapped = np.load(images, mmap_mode="r")
        assert mapped.dtype == np.uint8
        np.testing.assert_array_equal(mapped, dataset.images[indices])
        np.testing.assert_array_equal(np.load(labels), dataset.labels[indices])


def test_describes_the_data(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(30, 20)
    prepared = prepare_split(dataset, SplitConfig(), tmp_path)
    assert prepared.digest == dataset.digest
    assert prepared.folder.name == f"{dataset.digest[:16]}-{prepared.split_digest[:16]}"
    assert prepared.counts["test"] == {"class 0": 4, "class 1": 3}
    assert sum(prepared.counts["train"].values()) == 36
    assert (prepared.image_shape, prepared.source, prepared.simulated) == ((8, 8, 3), "test", False)


def test_split_files_do_not_reveal_the_held_out_test_set(make_dataset: MakeDataset, tmp_path: Path) -> None:
    files = prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path).files
    assert not [
        value
        for value in asdict(files).values()
        if isinstance(value, Path) and {"sealed", "test_images.npy"} & {*value.parts}
    ]


def test_loads_back_equal(make_dataset: MakeDataset, tmp_path: Path) -> None:
    prepared = prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    assert PreparedData.load(prepared.folder) == prepared


def test_is_written_once(make_dataset: MakeDataset, tmp_path: Path) -> None:
    first = prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    before = first.files.train_images.stat().st_mtime_ns
    assert prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path) == first
    assert first.files.train_images.stat().st_mtime_ns == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([first.folder.name, "groups"])


def test_each_sweep_states_its_own_facts_of_the_same_images(make_dataset: MakeDataset, tmp_path: Path) -> None:
    first = prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    parts = np.zeros(18, np.int8)
    for code, part in enumerate(("train", "validation", "test")):
        parts[split_dataset(make_dataset(9, 9), SplitConfig())[part]] = code  # type: ignore[index]
    copy = replace(make_dataset(9, 9), source="copy", simulated=True, own_split=parts, skipped=("bad.png: no image",))
    second = prepare_split(copy, SplitConfig(), tmp_path)
    facts = [(each.source, each.simulated, each.own_split, each.skipped) for each in (first, second)]
    assert facts == [("test", False, False, ()), ("copy", True, True, ("bad.png: no image",))]
    assert second.folder == first.folder, "the images are on the disk once"

    event = started(data_folder=str(second.folder), data_source="copy", own_split=True, n_near=2, skipped=["bad.png"])
    record = replay([parse_event(event.model_dump_json())], "test")
    loaded = load_prepared(record, SweepFolder(tmp_path / "sweep"))
    assert (loaded.source, loaded.own_split, loaded.n_near, loaded.skipped) == ("copy", True, 2, ("bad.png",))
    earlier = load_prepared(replay([started(data_folder=str(first.folder))], "test"), SweepFolder(tmp_path / "sweep"))
    assert (earlier.own_split, earlier.n_identical, earlier.skipped) == (False, 0, ()), "of a release without them"


def test_leftovers_of_a_killed_writer_are_removed(make_dataset: MakeDataset, tmp_path: Path) -> None:
    prepared = prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    shutil.rmtree(prepared.folder)
    old, young = (tmp_path / f".{prepared.folder.name}.{name}" for name in ("old", "young"))
    old.mkdir()
    young.mkdir()
    os.utime(old, (0, 0))
    prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    assert not old.exists()
    assert young.exists()
    os.utime(young, (0, 0))
    prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    assert not young.exists(), "also where the images are prepared already"


def test_another_seed_gets_another_folder(make_dataset: MakeDataset, tmp_path: Path) -> None:
    folders = {prepare_split(make_dataset(9, 9), SplitConfig(seed=seed), tmp_path).folder for seed in (1, 2)}
    assert len(folders) == 2


def test_damaged_folder_is_made_anew(make_dataset: MakeDataset, tmp_path: Path) -> None:
    prepared = prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    prepared.files.train_images.write_bytes(prepared.files.train_images.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"train_images\.npy: missing or damaged"):
        PreparedData.load(prepared.folder)
    prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path)
    assert PreparedData.load(prepared.folder) == prepared


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "{", r"meta\.json: damaged \(JSONDecodeError"),
        (lambda text: "[]", r"meta\.json: damaged"),
        (lambda text: json.dumps({**json.loads(text), "extra": 1}), r"meta\.json: damaged \(TypeError"),
        (lambda text: json.dumps({**json.loads(text), "format": 0}), r"meta\.json: has format 0; expected 2"),
        (lambda text: text.replace('"class 0": 7', '"class 0": 8'), r"train_images\.npy: has shape .*; expected"),
    ],
)
def test_damaged_meta(make_dataset: MakeDataset, tmp_path: Path, damage: Callable[[str], str], message: str) -> None:
    folder = prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path).folder
    meta = folder / "meta.json"
    meta.write_text(damage(meta.read_text()))
    with pytest.raises(DataError, match=message) as caught:
        PreparedData.load(folder)
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/meta\.json: no such file"):
        PreparedData.load(tmp_path / "nowhere")


def test_cache_folder_that_is_a_file(make_dataset: MakeDataset, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        prepare_split(make_dataset(9, 9), SplitConfig(), tmp_path / "cache")


def _prepare(folder: Path) -> str:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    return str(prepare_split(build_dataset(images, np.arange(200) % 4, source="x"), SplitConfig(), folder).folder)


def test_two_processes_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.map(_prepare, [tmp_path] * 4, chunksize=1)
        pool.close()
        pool.join()  # or they get SIGTERM, in the handler of which coverage may wait for a lock for ever
    assert len(set(folders)) == 1
    assert {str(entry) for entry in tmp_path.iterdir()} == {folders[0], str(tmp_path / "groups")}
    assert len(list((tmp_path / "groups").iterdir())) == 1


def test_records_what_the_split_is_made_of(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(9, 9)
    images = dataset.images.copy()
    images[5] = images[4]
    own = np.array([0, 1, 2] * 6, np.int8)
    own[5] = own[4]
    dataset = build_dataset(images, np.repeat([0, 1], 9), source="x", own_split=own, skipped=["a.png: broken"])
    prepared = PreparedData.load(prepare_split(dataset, SplitConfig(), tmp_path).folder)
    assert (prepared.own_split, prepared.n_identical, prepared.n_near) == (True, 1, 0)
    assert prepared.skipped == ("a.png: broken",)
    for part, folder in (("train", "."), ("validation", "."), ("test", "sealed")):
        indices = np.load(prepared.folder / folder / f"{part}_indices.npy")
        np.testing.assert_array_equal(indices, split_dataset(dataset, SplitConfig())[part])
