from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.data import SOURCES, ImageDataset, load_dataset
from galaxy_exp.data.sources import check_source
from galaxy_exp.errors import DataError


def write_picture(path: Path, size: tuple[int, int] = (9, 10), shade: int = 50) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)


def load_one_line_error(source: Path | str, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(source=str(source), **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestChoice:
    def test_unknown_name_suggests_the_nearest(self) -> None:
        message = load_one_line_error("galaxy10_sdds")
        assert 'did you mean "galaxy10-sdss"? known: simulated, galaxy10-sdss, galaxy10-decals, a path' in message

    def test_other_kind_of_file(self, tmp_path: Path) -> None:
        (tmp_path / "x.fits").write_text("")
        endings = ".h5, .hdf5, .npz, .csv, .tsv, .txt, .parquet, .csv.gz, .tsv.gz"
        message = load_one_line_error(tmp_path / "x.fits")
        assert f"x.fits ends in '.fits'; expected {endings}, or a folder (astropy.table writes a FITS table" in message

    def test_relative_path_starts_at_the_base(self, h5_file: Path) -> None:
        assert len(load_dataset(DataConfig(source="galaxies.h5"), h5_file.parent)) == 12

    def test_missing_file(self, tmp_path: Path) -> None:
        assert "none.h5: no such file" in load_one_line_error(tmp_path / "none.h5")


class TestArrayFile:
    def test_reads_hdf5(self, h5_file: Path) -> None:
        dataset = load_dataset(DataConfig(source=str(h5_file)))
        with h5py.File(h5_file) as file:
            np.testing.assert_array_equal(dataset.images, file["images"][:])
        assert dataset.labels.tolist() == [0, 1, 2] * 4
        assert dataset.class_names == ("class 0", "class 1", "class 2")
        assert dataset.source == str(h5_file)

    def test_maps_plain_images_and_reads_compressed_ones(self, h5_file: Path) -> None:
        plain = load_dataset(DataConfig(source=str(h5_file)))
        assert isinstance(plain.images, np.memmap)
        packed_file = h5_file.with_name("packed.hdf5")
        with h5py.File(packed_file, "w") as file:
            file.create_dataset("images", data=plain.images, compression="gzip")
            file["labels"] = plain.labels
        packed = load_dataset(DataConfig(source=str(packed_file)))
        assert not isinstance(packed.images, np.memmap)
        assert packed.digest == plain.digest

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    @pytest.mark.parametrize("key", ["ans", "labels"])
    def test_reads_npz(self, tmp_path: Path, save: Callable[..., None], key: str) -> None:
        images = np.random.default_rng(0).integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
        save(tmp_path / "x.npz", images=images, **{key: np.arange(6) % 2})
        dataset = load_dataset(DataConfig(source=str(tmp_path / "x.npz")))
        np.testing.assert_array_equal(dataset.images, images)

    def test_truncated(self, h5_file: Path) -> None:
        h5_file.write_bytes(h5_file.read_bytes()[:-500])
        assert "galaxies.h5: cannot be read as an HDF5 file (" in load_one_line_error(h5_file)

    @pytest.mark.parametrize("name", ["x.h5", "x.npz"])
    @pytest.mark.parametrize("content", [b"", b"not at all", b"PK\x03\x04 nearly", b"\x93NUMPY"])
    def test_another_kind_of_content(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        assert f"{name}: cannot be read as a" in load_one_line_error(tmp_path / name)

    def test_npy_under_the_name_npz(self, tmp_path: Path) -> None:
        with (tmp_path / "x.npz").open("wb") as file:
            np.save(file, np.zeros(3))
        assert "x.npz: is a .npy file of one array; expected a NumPy .npz file" in load_one_line_error(
            tmp_path / "x.npz"
        )

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"image": [1]}, "has the keys ['image']; expected 'images'"),
            ({"images": [1]}, "has the keys ['images']; expected labels under 'ans' or 'labels'"),
            ({"images": [1], "ans": [0]}, "'images' has shape (1,); expected uint8 of shape (n, height, width, 3)"),
            ({"images/x": [1]}, "'images' is a group"),
        ],
    )
    def test_wrong_keys(self, tmp_path: Path, keys: dict[str, list[int]], message: str) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for key, value in keys.items():
                file[key] = value
        assert message in load_one_line_error(tmp_path / "x.h5")


class TestClassNames:
    def test_configured_names_come_first(self, h5_file: Path) -> None:
        h5_file.with_name("classes.txt").write_text("x\ny\nz\n")
        assert load_dataset(DataConfig(source=str(h5_file), class_names=("a", "b", "c"))).class_names == ("a", "b", "c")

    def test_then_the_file_beside_the_data(self, h5_file: Path) -> None:
        with h5py.File(h5_file, "a") as file:
            file.attrs["class_names"] = ["a", "b", "c"]
        h5_file.with_name("classes.txt").write_text("x\ny\nz\n")
        assert load_dataset(DataConfig(source=str(h5_file))).class_names == ("x", "y", "z")
        h5_file.with_name("galaxies.h5.classes.txt").write_text("\ufeffü\n\nv \nw", encoding="utf-8")
        assert load_dataset(DataConfig(source=str(h5_file))).class_names == ("ü", "v", "w")

    @pytest.mark.parametrize("holder", ["/", "ans"])
    @pytest.mark.parametrize("names", [["a", "b", "c"], np.array([b"a", b"b", b"c"])])
    def test_then_the_attributes(self, h5_file: Path, holder: str, names: Any) -> None:
        with h5py.File(h5_file, "a") as file:
            file[holder].attrs["class_names"] = names
        assert load_dataset(DataConfig(source=str(h5_file))).class_names == ("a", "b", "c")

    def test_too_few(self, h5_file: Path) -> None:
        message = load_one_line_error(h5_file, class_names=("a", "b"))
        assert "'ans' is 2 at index 2, but there are 2 class names; expected 3 names (data.class_names)" in message

    def test_empty_file(self, h5_file: Path) -> None:
        h5_file.with_name("classes.txt").write_text("\n")
        assert "classes.txt: is empty; expected one class name a line" in load_one_line_error(h5_file)


class TestImageFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for index, name in enumerate(
            ["spiral/1.png", "spiral/2.JPG", "edge-on/a.tif", "edge-on/b.png", "edge-on/c.jpeg"]
        ):
            write_picture(tmp_path / "set" / name, shade=20 * index)
        (tmp_path / "set" / "spiral" / "notes.txt").write_text("")
        (tmp_path / "set" / ".hidden").mkdir()
        return tmp_path / "set"

    def test_reads_one_class_per_subfolder(self, folder: Path) -> None:
        dataset = load_dataset(DataConfig(source=str(folder)))
        assert dataset.counts == {"edge-on": 3, "spiral": 2}
        assert dataset.images.shape == (5, 10, 9, 3)
        assert dataset.images[:, 0, 0, 0].tolist() == [40, 60, 80, 0, 20]

    def test_current_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        assert len(load_dataset(DataConfig(source="."))) == 5

    def test_new_names_in_the_same_order(self, folder: Path) -> None:
        assert load_dataset(DataConfig(source=str(folder), class_names=("E", "S"))).counts == {"E": 3, "S": 2}

    def test_same_names_in_another_order(self, folder: Path) -> None:
        (folder / "classes.txt").write_text("spiral\nedge-on\n")
        dataset = load_dataset(DataConfig(source=str(folder)))
        assert dataset.counts == {"spiral": 2, "edge-on": 3}
        assert dataset.labels.tolist() == [0, 0, 1, 1, 1]

    def test_wrong_number_of_names(self, folder: Path) -> None:
        assert "3 class names for 2 subfolders" in load_one_line_error(folder, class_names=("a", "b", "c"))

    def test_mixed_sizes(self, folder: Path) -> None:
        write_picture(folder / "spiral" / "3.png", (12, 10))
        message = load_one_line_error(folder)
        assert f"{folder / 'spiral' / '3.png'}: is 12x10 pixels; expected 9x10, as" in message

    def test_unreadable(self, folder: Path) -> None:
        (folder / "spiral" / "3.png").write_bytes(b"nothing")
        assert f"{folder / 'spiral' / '3.png'}: not a picture that can be read" in load_one_line_error(folder)

    def test_empty_class(self, folder: Path) -> None:
        (folder / "lens").mkdir()
        assert f"{folder / 'lens'}: holds no images; expected files ending in .png" in load_one_line_error(folder)

    def test_no_subfolders(self, tmp_path: Path) -> None:
        assert "has no subfolders; expected one per class" in load_one_line_error(tmp_path)


def test_simulated_says_so() -> None:
    dataset: ImageDataset = load_dataset(DataConfig(simulated=SimulatedConfig(n_images=60, image_size=24)))
    assert (dataset.source, dataset.simulated, dataset.n_classes) == ("simulated", True, 10)
    assert "simulated" in SOURCES


class TestOwnSplitInAFile:
    PARTS = ("train", "validation", "test") * 4

    def test_of_an_hdf5_file(self, h5_file: Path) -> None:
        with h5py.File(h5_file, "a") as file:
            file["split"] = list(self.PARTS)
            file["fold"] = np.array(self.PARTS[::-1], dtype="S")
        dataset = load_dataset(DataConfig(source=str(h5_file)))
        other = load_dataset(DataConfig(source=str(h5_file), split=SplitConfig(column="fold")))
        assert dataset.own_split is not None
        assert other.own_split is not None
        assert dataset.own_split.tolist() == [0, 1, 2] * 4
        assert other.own_split.tolist() == [2, 1, 0] * 4
        assert load_dataset(DataConfig(source=str(h5_file), split=SplitConfig(column=None))).own_split is None

    def test_of_an_npz_file(self, tmp_path: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)
        np.savez(tmp_path / "x.npz", images=images, ans=np.arange(12) % 2, split=np.array(self.PARTS))
        assert load_dataset(DataConfig(source=str(tmp_path / "x.npz"))).own_split is not None

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (["train"] * 11 + ["out"], "galaxies.h5: 'split' is 'out' at index 11; expected train, validation, test"),
            ([0, 1, 2] * 4, "'split' is 0 at index 0; expected train, validation, test"),
            ([["train"]] * 12, "'split' has shape (12, 1); expected (n,), one part per image"),
            (["train"], "data.split.column has 1 entries; expected 12, one per image"),
        ],
    )
    def test_other_values(self, h5_file: Path, values: list[Any], message: str) -> None:
        with h5py.File(h5_file, "a") as file:
            file["split"] = values
        assert message in load_one_line_error(h5_file)

    def test_missing(self, h5_file: Path) -> None:
        message = load_one_line_error(h5_file, split=SplitConfig(column="fold"))
        assert "has the keys ['ans', 'images']; expected 'fold' (data.split.column)" in message


@pytest.mark.parametrize("source", ["nowhere", "nowhere.h5", "nowhere.csv", "x" * 300 + ".h5"])
def test_a_source_that_is_not_there_is_refused_in_the_same_words_before_it_is_read(source: str) -> None:
    with pytest.raises(DataError) as caught:
        check_source(DataConfig(source=source))
    assert str(caught.value) == load_one_line_error(source)


@pytest.mark.parametrize("source", ["simulated", "."])
def test_options_that_no_class_would_get_are_refused(source: str) -> None:
    with pytest.raises(DataError, match=r"^data\.options: .* takes none; they are for a class of your own"):
        check_source(DataConfig(source=source, options={"path": "x"}))
    check_source(DataConfig(source="package.module:Source", options={"path": "x"}))


@pytest.mark.parametrize("source", ["simulated", "galaxy10-sdss", "package.module:Source", "."])
def test_a_source_that_may_be_there_is_let_pass(source: str) -> None:
    check_source(DataConfig(source=source))
