from __future__ import annotations

import errno
import json
import logging
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from tiny_disks import tiny_disk

from galaxy_exp.config.data_section import DataConfig, FitsConfig, SplitConfig
from galaxy_exp.data import PreparedData, image_arrays, load_dataset, prepare_split
from galaxy_exp.data.image_arrays import Preprocessing
from galaxy_exp.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)


def test_nothing_is_the_default() -> None:
    assert Preprocessing.from_config(DataConfig()) == Preprocessing()
    np.testing.assert_array_equal(Preprocessing().apply(RGB, "x"), RGB)


def test_crop_is_central() -> None:
    np.testing.assert_array_equal(Preprocessing(crop=10).apply(RGB, "x"), RGB[5:15, 10:20])


def test_resize_crops_to_a_square_first() -> None:
    square = Image.fromarray(RGB[:, 4:25])
    expected = np.asarray(square.resize((9, 9), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(Preprocessing(resize=9).apply(RGB, "x"), expected)


def test_resize_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = Preprocessing(resize=16).apply(stripes, "x")
    assert abs(small[:, 2:-2].astype(int) - 127).max() <= 1


def test_grey_is_the_mean_rounded() -> None:
    image = np.array([[[0, 0, 1], [0, 1, 1], [255, 255, 255], [10, 20, 31]]], np.uint8)
    assert Preprocessing(greyscale=True).apply(image, "x")[0].tolist() == [[0] * 3, [1] * 3, [255] * 3, [20] * 3]


@pytest.mark.parametrize(
    "steps", [Preprocessing(10, 8, True), Preprocessing(fits=FitsConfig(stretch="lupton", black=0.5, bands=(0, 1, 2)))]
)
def test_record_goes_there_and_back(steps: Preprocessing) -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(steps.to_dict()))) == steps


def test_without_fits_files_the_record_is_that_of_earlier_releases() -> None:
    assert Preprocessing(resize=8).to_dict() == {"crop": None, "resize": 8, "greyscale": False}


def test_described_in_the_order_of_the_steps() -> None:
    assert Preprocessing().describe() == []
    steps = Preprocessing(10, 8, True, FitsConfig(stretch="sqrt"))
    assert steps.describe() == ["FITS stretch sqrt", "crop 10", "resize 8", "greyscale"]


def test_too_small_for_the_crop(h5_file: Path) -> None:
    with pytest.raises(DataError, match=r"galaxies\.h5: is 9x10 pixels; expected at least 10x10 \(data\.crop\)"):
        load_dataset(DataConfig(source=str(h5_file), crop=10))


def test_whole_data_set_and_its_digest(h5_file: Path) -> None:
    plain = load_dataset(DataConfig(source=str(h5_file)))
    cropped = load_dataset(DataConfig(source=str(h5_file), crop=8, greyscale=True))
    assert cropped.image_shape == (8, 8, 3)
    np.testing.assert_array_equal(cropped.images[3], Preprocessing(8, None, True).apply(plain.images[3], "x"))
    grey = load_dataset(DataConfig(source=str(h5_file), greyscale=True))
    assert len({plain.digest, cropped.digest, grey.digest}) == 3


def test_digest_tells_steps_that_changed_nothing(h5_file: Path) -> None:
    with h5py.File(h5_file, "a") as file:
        file["images"][...] = file["images"][..., :1]
    plain, grey = (load_dataset(DataConfig(source=str(h5_file), greyscale=grey)) for grey in (False, True))
    np.testing.assert_array_equal(plain.images, grey.images)
    assert plain.digest != grey.digest


def test_prepared_data_knows_the_side_of_images_that_were_enlarged(h5_file: Path, tmp_path: Path) -> None:
    """The digest is of the images, and that of earlier releases."""
    for steps, expected in (({"resize": 30}, 9), ({"crop": 8, "resize": 30}, 8), ({"resize": 9}, None)):
        dataset = load_dataset(DataConfig(source=str(h5_file), **steps))
        prepared = prepare_split(dataset, SplitConfig(), tmp_path / "cache")
        assert PreparedData.load(prepared.folder).preprocessing.raw_side == expected
        bare = replace(dataset, preprocessing=Preprocessing(**steps))
        assert bare.digest == dataset.digest


def test_prepared_data_remembers(h5_file: Path, tmp_path: Path) -> None:
    dataset = load_dataset(DataConfig(source=str(h5_file), resize=8))
    prepared = prepare_split(dataset, SplitConfig(), tmp_path / "cache")
    assert PreparedData.load(prepared.folder).preprocessing == Preprocessing(resize=8)


def test_large_results_lie_on_disk(h5_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = load_dataset(DataConfig(source=str(h5_file), resize=8))
    monkeypatch.setattr(image_arrays, "IN_MEMORY_BYTES", 100)
    on_disk = load_dataset(DataConfig(source=str(h5_file), resize=8))
    assert isinstance(on_disk.images, np.memmap)
    assert on_disk.digest == in_memory.digest


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_arrays, "IN_MEMORY_BYTES", 100)
    with tiny_disk(tmp_path / "disk", 1) as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        message = f"{disk}: no room for 0.1 GiB of images (No space left on device); expected TMPDIR"
        with pytest.raises(DataError, match=re.escape(message)):
            image_arrays.allocate_images((1000, 200, 200, 3))


def test_a_file_system_that_reserves_nothing_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(image_arrays, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    assert image_arrays.allocate_images((10, 9, 9, 3)).shape == (10, 9, 9, 3)


def test_large_compressed_hdf5_goes_to_disk_piece_by_piece(h5_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_dataset(DataConfig(source=str(h5_file)))
    packed_file = h5_file.with_name("packed.h5")
    with h5py.File(packed_file, "w") as file:
        file.create_dataset("images", data=plain.images, chunks=(5, 10, 9, 3), compression="gzip")
        file["ans"] = plain.labels
    monkeypatch.setattr(image_arrays, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr("galaxy_exp.data.image_arrays.CHUNK_BYTES", plain.images[:7].nbytes)
    packed = load_dataset(DataConfig(source=str(packed_file)))
    assert isinstance(packed.images, np.memmap)
    assert packed.digest == plain.digest


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for index in range(8):
            path = tmp_path / "set" / ("spiral", "edge-on")[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20 + index, 24), (20 * index,) * 3).save(path)
        return tmp_path / "set"

    @pytest.mark.parametrize(
        ("steps", "side"), [({"resize": 16}, 16), ({"crop": 18}, 18), ({"crop": 18, "resize": 9}, 9)]
    )
    def test_mixed_sizes_become_one(self, folder: Path, steps: dict[str, int], side: int) -> None:
        dataset = load_dataset(DataConfig(source=str(folder), **steps))
        assert dataset.image_shape == (side, side, 3)
        assert dataset.preprocessing == Preprocessing(**steps)
        assert dataset.preprocessing.raw_side is None
        assert load_dataset(DataConfig(source=str(folder), resize=50)).preprocessing.raw_side == 20

    def test_mixed_sizes_otherwise_say_what_to_do(self, folder: Path) -> None:
        with pytest.raises(
            DataError, match=r"3\.png: is 23x24 pixels; expected 21x24, as .*1\.png \(data\.resize brings"
        ):
            load_dataset(DataConfig(source=str(folder), on_error="skip"))

    def test_too_small_for_the_crop_names_the_file(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"edge-on/1\.png: is 21x24 pixels; expected at least 22x22"):
            load_dataset(DataConfig(source=str(folder), crop=22))

    def test_broken_files_are_skipped_listed_and_logged_once(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        broken = [folder / "spiral" / "0.png", folder / "edge-on" / "5.png"]
        for path in broken:
            path.write_bytes(path.read_bytes()[:50])
        with caplog.at_level(logging.WARNING):
            dataset = load_dataset(DataConfig(source=str(folder), on_error="skip", resize=16))
        assert dataset.counts == {"edge-on": 3, "spiral": 3}
        assert sorted(line.split(": ")[0] for line in dataset.skipped) == sorted(map(str, broken))
        (record,) = caplog.records
        assert f"{folder}: skipped 2 of 8 image files: {broken[1]}: cannot be read" in record.getMessage()
        with pytest.raises(DataError, match=r"5\.png: cannot be read as a picture"):
            load_dataset(DataConfig(source=str(folder), resize=16))

    def test_nothing_that_can_be_read(self, folder: Path) -> None:
        for path in folder.glob("*/*.png"):
            path.write_bytes(b"nothing")
        with pytest.raises(
            DataError, match=r"none of its 8 image files can be read; the first: .*1\.png: not a picture"
        ):
            load_dataset(DataConfig(source=str(folder), on_error="skip"))
