"""What HDF5 and .npz files may have under a key: links, parts in other files, filters, enumerations, no array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data import ImageDataset, find_files, iter_images, load_dataset
from galaxy_exp.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
CLASSES = np.array(["a", "b", "c"])

Fill = Callable[[h5py.File], Any]


def write(folder: Path, fill: Fill = lambda file: None, **arrays: Any) -> Path:
    """An HDF5 file with images and labels; of these, None stands for none."""
    with h5py.File(folder / "x.h5", "w") as file:
        for key, value in {"images": IMAGES, "ans": LABELS, **arrays}.items():
            if value is not None:
                file[key] = value
        fill(file)
    return folder / "x.h5"


def write_npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "x.npz", **{"images": IMAGES, "labels": LABELS, **arrays})
    return folder / "x.npz"


def load(path: Path, **settings: Any) -> ImageDataset:
    return load_dataset(DataConfig(source=str(path), **settings))


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_images_may_be_of_an_array_type(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("images", (12,), np.dtype(("u1", (9, 9, 3))))[...] = IMAGES

    path = write(tmp_path, fill, images=None)
    np.testing.assert_array_equal(load(path).images, IMAGES)
    read = [item.image for batch in iter_images(find_files([path]), 5) for item in batch]
    np.testing.assert_array_equal(np.array(read), IMAGES)


@pytest.mark.parametrize("save", [write, write_npz])
def test_labels_under_two_keys_are_told_if_they_differ(tmp_path: Path, save: Callable[..., Path]) -> None:
    assert load(save(tmp_path, ans=LABELS, labels=LABELS.astype(float))).notes == ()
    dataset = load(save(tmp_path, ans=LABELS, labels=CLASSES[LABELS].astype("S")))
    assert dataset.notes == ("has both 'ans' and 'labels'; the labels are those of 'ans'",)
    assert dataset.labels.tolist() == LABELS.tolist()
    records = np.zeros(len(LABELS), [("t01", float), ("t02", float)])
    dataset = load(save(tmp_path, ans=LABELS, labels=records))
    assert dataset.labels.tolist() == LABELS.tolist()


def link(key: str, target: h5py.SoftLink | h5py.ExternalLink) -> Fill:
    return lambda file: file.__setitem__(key, target)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(IMAGES.shape, "u1")
    layout[:6] = h5py.VirtualSource("one.h5", "images", (6, 9, 9, 3))
    layout[6:] = h5py.VirtualSource("two.h5", "images", (6, 9, 9, 3))
    file.create_virtual_dataset("images", layout)


def raw(path: Path) -> Fill:
    segments = [(str(path), 10, h5py.h5f.UNLIMITED)]
    return lambda file: file.create_dataset("images", IMAGES.shape, "u1", external=segments)


def filtered(key: str, mask: int = 0) -> Fill:
    """Under `key`, an array with a filter that no HDF5 has; with `mask` 1 it was not applied."""

    def fill(file: h5py.File) -> None:
        values = file.pop(key)[()].astype(np.uint8)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(values.shape)
        properties.set_filter(32767, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(values.shape)
        created = h5py.h5d.create(file.id, key.encode(), h5py.h5t.NATIVE_UINT8, space, properties)
        created.write_direct_chunk((0,) * values.ndim, values.tobytes(), mask)

    return fill


class TestOtherFiles:
    def test_a_linked_file(self, tmp_path: Path) -> None:
        write(tmp_path).rename(tmp_path / "images.h5")
        path = write(tmp_path, link("images", h5py.ExternalLink("images.h5", "/images")), images=None, more=IMAGES + 1)
        np.testing.assert_array_equal(load(path).images, IMAGES)

    def test_a_virtual_data_set(self, tmp_path: Path) -> None:
        for name, part in (("one.h5", IMAGES[:6]), ("two.h5", IMAGES[6:])):
            write(tmp_path, images=part).rename(tmp_path / name)
        path = write(tmp_path, virtual, images=None)
        np.testing.assert_array_equal(load(path).images, IMAGES)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "y.h5").symlink_to(path)
        np.testing.assert_array_equal(load(tmp_path / "elsewhere" / "y.h5").images, IMAGES)
        (tmp_path / "two.h5").unlink()
        expected = f"'images' is a virtual data set, and its file two.h5 is not there; expected it in {tmp_path}"
        assert refusal(path) == expected

    def test_a_virtual_data_set_of_too_few_images(self, tmp_path: Path) -> None:
        for name, part in (("one.h5", IMAGES[:6]), ("two.h5", IMAGES[6:10])):
            write(tmp_path, images=part).rename(tmp_path / name)
        path = write(tmp_path, virtual, images=None)
        of_two = f"'images' is a virtual data set of 'images' in {tmp_path / 'two.h5'}, which"
        assert refusal(path) == f"{of_two} has shape (4, 9, 9, 3); expected {6 * 9 * 9 * 3:,} values"

        def a_part(file: h5py.File) -> None:
            layout = h5py.VirtualLayout(IMAGES.shape, "u1")
            layout[:] = h5py.VirtualSource("two.h5", "images", (20, 9, 9, 3))[3:15]
            file.create_virtual_dataset("images", layout)

        a_part_of_two = write(tmp_path, a_part, images=None)
        assert refusal(a_part_of_two) == f"{of_two} has shape (4, 9, 9, 3); expected at least (15, 9, 9, 3)"
        with h5py.File(tmp_path / "two.h5", "w") as file:
            file["pictures"] = IMAGES[6:]
        assert refusal(path) == f"{of_two} is not there; expected a data set of that name in that file"
        (tmp_path / "two.h5").write_bytes(b"no HDF5")
        assert refusal(path).startswith(f"{of_two} cannot be read (")

    @pytest.mark.parametrize("file_name", [".", "other.h5"])
    def test_a_virtual_data_set_of_as_many_images_as_there_are(self, tmp_path: Path, file_name: str) -> None:
        write(tmp_path, images=None, stored=IMAGES).rename(tmp_path / "other.h5")

        def growing(file: h5py.File) -> None:
            layout = h5py.VirtualLayout(IMAGES.shape, "u1", maxshape=(None, *IMAGES.shape[1:]))
            source = h5py.VirtualSource(file_name, "stored", IMAGES.shape, maxshape=layout.maxshape)
            layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
            file.create_virtual_dataset("images", layout)

        np.testing.assert_array_equal(load(write(tmp_path, growing, images=None, stored=IMAGES)).images, IMAGES)

    def test_a_raw_file(self, tmp_path: Path) -> None:
        file = tmp_path / "raw"
        file.write_bytes(bytes(10) + IMAGES.tobytes())
        path = write(tmp_path, raw(file), images=None)
        np.testing.assert_array_equal(load(path).images, IMAGES)
        file.write_bytes(bytes(2000))
        assert refusal(path) == f"'images' is in the external file {file}, which has 2,000 bytes; expected 2,926"

    @pytest.mark.parametrize("key", ["images", "ans", "split"])
    @pytest.mark.parametrize(
        ("target", "text"),
        [(h5py.SoftLink("/none"), "/none"), (h5py.ExternalLink("none.h5", "/images"), "none.h5/images")],
    )
    def test_a_link_that_leads_nowhere(self, tmp_path: Path, key: str, target: Any, text: str) -> None:
        path = write(tmp_path, link(key, target), **{key: None})
        assert refusal(path).startswith(f"{key!r} is a link to {text}, which cannot be read (")

    def test_a_link_to_a_damaged_file(self, tmp_path: Path) -> None:
        (tmp_path / "damaged.h5").write_bytes(b"nothing")
        path = write(tmp_path, link("images", h5py.ExternalLink("damaged.h5", "/images")), images=None)
        assert "link to damaged.h5/images, which cannot be read" in refusal(path)

    def test_prediction_needs_the_images_only(self, tmp_path: Path) -> None:
        path = write(tmp_path, link("ans", h5py.SoftLink("/none")), ans=None)
        assert len(next(iter_images(find_files([path]), 99))) == 12
        path = write(tmp_path, link("images", h5py.SoftLink("/none")), images=None)
        with pytest.raises(DataError, match="'images' is a link to /none, which cannot be read"):
            find_files([path])


@pytest.mark.parametrize("key", ["images", "ans"])
def test_a_filter_that_is_not_installed(tmp_path: Path, key: str) -> None:
    found = refusal(write(tmp_path, filtered(key)))
    assert found.startswith(f"{key!r} is compressed with filter 32767, which is not installed; set HDF5_PLUGIN_PATH")


def test_a_filter_that_was_not_applied_is_not_needed(tmp_path: Path) -> None:
    np.testing.assert_array_equal(load(write(tmp_path, filtered("images", mask=1))).images, IMAGES)


@pytest.mark.parametrize("key", ["images", "ans", "split"])
def test_no_array(tmp_path: Path, key: str) -> None:
    path = write(tmp_path, **{key: h5py.Empty("u1")})
    assert refusal(path) == f"{key!r} is a data set without shape and values; expected an array"
    path = write(tmp_path, lambda file: file.create_group(key), **{key: None})
    assert refusal(path) == f"{key!r} is a group; expected a data set"


@pytest.mark.parametrize("key", ["images", "labels", "split"])
def test_python_objects(tmp_path: Path, key: str) -> None:
    path = write_npz(tmp_path, **{key: np.array([None, "a"], object)})
    assert refusal(path).startswith(f"{key!r} holds Python objects, which are not read; expected one array of numbers")


@pytest.mark.parametrize("text", ["[1]", "hello", 3])
def test_an_attribute_that_is_called_as_ours(tmp_path: Path, text: Any) -> None:
    path = write(tmp_path, lambda file: file.attrs.__setitem__("galaxy_exp", text), ans=LABELS + 1)
    assert load(path, first_label=1).labels.tolist() == LABELS.tolist()


class TestClassNames:
    @pytest.mark.parametrize("names", [CLASSES, CLASSES.astype("S")])
    def test_in_an_array(self, tmp_path: Path, names: Any) -> None:
        assert load(write(tmp_path, class_names=names.astype("S"))).class_names == ("a", "b", "c")
        assert load(write_npz(tmp_path, class_names=names)).class_names == ("a", "b", "c")

    def test_an_attribute_comes_first(self, tmp_path: Path) -> None:
        path = write(tmp_path, lambda file: file.attrs.__setitem__("class_names", ["x", "y", "z"]), class_names=[b"a"])
        assert load(path).class_names == ("x", "y", "z")

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (5, "is np.int64(5); expected a list of names, one per class in label order"),
            (h5py.Empty("S3"), "is Empty(dtype=dtype('S3')); expected a list of names"),
            ("abc", "is 'abc'; expected a list of names"),
            (CLASSES.astype("S")[None], "is array([[b'a', b'b', b'c']], dtype='|S1'); expected a list of names"),
            (np.array([b"a", b"\xe9"]), "has the name b'\\xe9'; expected text that is UTF-8"),
            ([0.5, 1.5], "has the name np.float64(0.5); expected text"),
        ],
    )
    def test_others(self, tmp_path: Path, names: Any, message: str) -> None:
        path = write(tmp_path, lambda file: file.attrs.__setitem__("class_names", names))
        assert refusal(path).startswith(f"the attribute 'class_names' {message}")

    def test_wrong_number(self, tmp_path: Path) -> None:
        assert "but there are 2 class names" in refusal(write_npz(tmp_path, class_names=CLASSES[:2]))

    @pytest.mark.parametrize("names", [np.array("abc", "S"), CLASSES[LABELS].astype("S"), h5py.Empty("S1")])
    def test_a_key_of_something_else_is_ignored(
        self, tmp_path: Path, names: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert load(write(tmp_path, class_names=names)).class_names == ("class 0", "class 1", "class 2")
        assert "'class_names'" in caplog.text
        assert "it is ignored" in caplog.text


class TestEnumeration:
    @staticmethod
    def write(folder: Path, labels: Any = 10 * LABELS, **members: int) -> Path:
        members = members or {"spiral": 0, "smooth": 10, "artifact": 20, "unsure": 30}
        dtype = h5py.enum_dtype(members, basetype="i1")
        return write(folder, lambda file: file.create_dataset("ans", data=labels, dtype=dtype), ans=None)

    def test_has_names(self, tmp_path: Path) -> None:
        dataset = load(self.write(tmp_path))
        assert dataset.class_names == ("spiral", "smooth", "artifact")
        assert dataset.labels.tolist() == LABELS.tolist()
        assert load(self.write(tmp_path, 10 * LABELS[:, None])).labels.tolist() == LABELS.tolist()

    def test_is_matched_with_other_names(self, tmp_path: Path) -> None:
        dataset = load(self.write(tmp_path), class_names=("artifact", "smooth", "spiral"))
        assert dataset.labels.tolist() == (2 - LABELS).tolist()

    def test_is_of_numbers_if_the_classes_have_other_names(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, LABELS, x=0, y=1, z=2)
        assert load(path, class_names=("a", "b", "c")).labels.tolist() == LABELS.tolist()

    def test_of_one_class_has_the_names_of_all(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, np.full(12, 10))
        assert set(load(path, split={"column": None}).class_names) == {"spiral", "smooth", "artifact", "unsure"}

    def test_is_of_numbers_if_a_name_is_spelt_otherwise(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, LABELS, smooth=0, edge=1, spiral=2)
        assert load(path, class_names=("Smooth", "Edge on", "spiral")).labels.tolist() == LABELS.tolist()

    def test_has_no_other_numbers(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, LABELS, x=0, y=1)
        assert refusal(path) == "'ans' is 2 at index 2; expected a number of its enumeration {'x': 0, 'y': 1}"
