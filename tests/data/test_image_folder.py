"""Every layout of a folder that we know of: what is made of it, or the line it gives. `{}` stands for the folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from galaxy_exp.config.data_section import DataConfig, SplitConfig
from galaxy_exp.data import ImageDataset, load_dataset, split_dataset
from galaxy_exp.errors import DataError

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


def fill(folder: Path, names: Iterable[str], images: int = 4) -> Path:
    """That many different pictures in each of the subfolders; a name that ends in / is an empty one."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([*str(name).encode()])
        for index in range(0 if name.endswith("/") else images):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def load(folder: Path, **settings: Any) -> ImageDataset:
    return load_dataset(DataConfig(source=str(folder), **settings))


def error_of(folder: Path, **settings: Any) -> str:
    config = DataConfig(source=str(folder), **settings)
    with pytest.raises(DataError) as caught:
        split_dataset(load_dataset(config), config.split)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "{}")


def by_folder(dataset: ImageDataset, folder: Path) -> dict[str, set[str]]:
    """For each subfolder, the classes that its pictures have become."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.png")):
        pixels = np.asarray(Image.open(path))
        index = int((dataset.images == pixels).all(axis=(1, 2, 3)).argmax())
        found.setdefault(path.parent.name, set()).add(dataset.class_names[dataset.labels[index]])
    return found


NAMES = {
    "spaces": ("edge on", "face on"),
    "accents": ("étoile", "galaxie à barre", "星系"),
    "numbers": ("0", "1", "10", "2"),
    "like parts": ("spiral", "test"),
    "a dot": ("z0.5", "z1.0"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_picture_has_the_class_of_its_folder(tmp_path: Path, kind: str) -> None:
    dataset = load(fill(tmp_path / "set", NAMES[kind]))
    assert by_folder(dataset, tmp_path / "set") == {name: {name} for name in NAMES[kind]}
    assert dataset.own_split is None


class TestOwnSplit:
    @pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
    @pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
    @pytest.mark.parametrize("test", ["test", "Testing"])
    def test_folders_of_parts_are_one(self, tmp_path: Path, train: str, validation: str, test: str) -> None:
        tops = (train, validation, test)
        dataset = load(fill(tmp_path / "set", [f"{top}/{name}" for top in tops for name in "ba"], images=2))
        assert dataset.class_names == ("a", "b")
        assert by_folder(dataset, tmp_path / "set") == {"a": {"a"}, "b": {"b"}}
        split = split_dataset(dataset, SplitConfig(validation=0.3))
        assert split.user_defined
        assert (len(split.train), len(split.validation), len(split.test)) == (4, 4, 4)
        for code, top in enumerate(tops):
            pixels = np.asarray(Image.open(tmp_path / "set" / top / "a" / "0.png"))
            index = int((dataset.images == pixels).all(axis=(1, 2, 3)).argmax())
            assert index in split[("train", "validation", "test")[code]]  # type: ignore[index]

    def test_it_can_be_declined(self, tmp_path: Path) -> None:
        folder = fill(tmp_path / "set", [f"{part}/{name}" for part in ("train", "val") for name in "ab"])
        assert load(folder, split=SplitConfig(column=None)).own_split is None

    @pytest.mark.parametrize("there", [("train", "test"), ("train", "val"), ("train",)])
    def test_what_it_lacks_is_taken_from_train(
        self, tmp_path: Path, there: tuple[str, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        dataset = load(fill(tmp_path / "set", [f"{part}/{name}" for part in there for name in "ab"], images=10))
        split = split_dataset(dataset, SplitConfig(validation=0.2, test=0.2))
        lengths = {"train": len(split.train), "val": len(split.validation), "test": len(split.test)}
        assert lengths == {part: 20 if part in there else 4 for part in lengths} | {"train": 20 - 4 * (3 - len(there))}
        assert split.digest == split_dataset(dataset, SplitConfig(validation=0.2, test=0.2)).digest
        assert f"{tmp_path / 'set'}: your split has no " in caplog.text


REFUSED: dict[str, tuple[list[str], str]] = {
    "one folder too many": (
        ["galaxies/a", "galaxies/b"],
        "{}: 'galaxies' has images in further subfolders 'a', 'b'; expected one subfolder per class, holding its "
        "images, or only train, val and test, holding such subfolders; should data.source be {}/galaxies?",
    ),
    "classes in classes": (
        ["a", "b", "b/c"],
        "{}: 'b' has images in further subfolders 'c'; expected one subfolder per",
    ),
    "deeper": (["a", "b/x/y"], "{}: 'b' has images in further subfolders 'x'; expected"),
    "parts and something else": (
        ["train/a", "train/b", "val/a", "zoo"],
        "{}: 'train' has images in further subfolders",
    ),
    "parts without classes": (["train", "test"], "{}/test: has no subfolders, but 4 images; expected one per class"),
    "an empty part": (["train/a", "train/b", "val/"], "{}/val: has no subfolders; expected one per class"),
    "two folders for a part": (
        ["train/a", "val/a", "valid/a"],
        "{}: 'val' and 'valid' are both validation; expected one",
    ),
    "a class without images": (["a", "b", "c/"], "{}/c: holds no images; expected files ending in .png"),
    "one class": (["a"], "{}: only one class, 'a'; expected at least 2"),
    "one class in parts": (["train/a", "test/a"], "{}: only one class, 'a'; expected at least 2"),
    "no class": ([], "{}: has no subfolders; expected one per class, holding its images"),
    "a class missing from a part": (
        ["train/a", "train/b", "val/a", "test/a", "test/b"],
        "{}: your split has no image of class 1 ('b') in validation; expected one at least, or data.split.column: null",
    ),
    "a class missing from train": (
        ["train/a", "train/b", "val/a", "val/b", "val/c", "test/a", "test/b", "test/c"],
        "{}: your split has no image of class 2 ('c') in train; expected one at least",
    ),
    "only a test part": (["test/a", "test/b"], "{}: your split has no image of class 0 ('a') in train"),
    "names that differ in case": (
        ["Spiral", "spiral"],
        "{}/spiral: its name and that of {}/Spiral differ only in upper",
    ),
    "and between parts": (["train/a", "train/b", "val/A", "val/b"], "{}/val/A: its name and that of {}/train/a differ"),
    "names in two encodings": ([f"x{NFC}", f"x{NFD}"], "differ only in upper and lower case, or in how accents are"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_layouts_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    names, line = REFUSED[kind]
    assert line in error_of(fill(tmp_path / "set", names))


@pytest.mark.parametrize("name", ["c", "train/c"])
def test_a_link_to_nothing_that_may_be_a_class_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    folder = fill(tmp_path / "set", ["a", "b"] if name == "c" else ["train/a", "train/b", "test/a", "test/b"])
    (folder / "notes.txt").symlink_to("nowhere")
    (folder / name).symlink_to("gone")
    assert load(folder).class_names == ("a", "b")
    assert f"{folder / name}: is a link to gone, which does not exist; it is left out" in caplog.messages


def test_a_part_that_is_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "set", ["train/a", "train/b", "test/a", "test/b"])
    (folder / "val").symlink_to("gone")
    assert error_of(folder) == "{}/val: is a link to gone, which does not exist; expected a folder of classes"


def test_pictures_beside_the_classes_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fill(tmp_path / "set", ["", "train/a", "train/b", "train"])
    (folder / "README.md").touch()
    assert len(load(folder)) == 8
    assert f"{folder}: skipped 8 images beside the class folders, 1 .md" in caplog.messages


CLASSES_TXT: dict[str, tuple[str, tuple[str, ...], str | dict[str, str]]] = {
    "their order": ("c\na\nb\n", ("a", "b", "c"), {"c": "c", "a": "a", "b": "b"}),
    "comments, blank lines, BOM, CRLF": (
        "\ufeff# of the survey\r\nc\r\n\r\n  # and\r\n a \r\nb",
        ("a", "b", "c"),
        {"c": "c", "a": "a", "b": "b"},
    ),
    "accents encoded otherwise": (f"b\n{NFD}\n", ("b", NFC), {"b": "b", NFC: NFC}),
    "one name in two encodings": (
        f"{NFC}\n{NFD}\n",
        (NFC, "x"),
        "matches the subfolders of {} only in part: names without a subfolder [], subfolders without a name ['x']",
    ),
    "names for numbers": ("smooth\nspiral\n", ("0", "1"), {"0": "smooth", "1": "spiral"}),
    "matching in part": (
        "c\na\nB\n",
        ("a", "b", "c"),
        "matches the subfolders of {} only in part: names without a subfolder ['B'], subfolders without a name ['b']",
    ),
    "too few": ("a\nb\n", ("a", "b", "c"), "names without a subfolder [], subfolders without a name ['c']"),
    "too many": ("a\nb\nc\n", ("a", "b"), "names without a subfolder ['c'], subfolders without a name []"),
    "other case": ("A\nB\n", ("a", "b"), "has none of the subfolders a, b of {}; expected these in label order"),
    "other names": (
        "spiral\nsmooth\n",
        ("S", "E"),
        "has none of the subfolders E, S of {}; expected these in label order",
    ),
    "names for numbers out of order": (
        "\n".join("abcdefghijk"),
        tuple(map(str, range(11))),
        "are numbers whose alphabetical order, 0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9, is not that of the numbers",
    ),
    "another number of other names": (
        "x\ny\nz\n",
        ("0", "1"),
        "3 class names for 2 subfolders of {}; expected one for each",
    ),
    "a name twice": ("a\nb\na\n", ("a", "b"), "names 'a' twice; expected each class once"),
    "only comments": ("# a\n", ("a", "b"), "is empty; expected one class name a line"),
}


@pytest.mark.parametrize("place", ["set/classes.txt", "set.classes.txt"])
@pytest.mark.parametrize("kind", CLASSES_TXT)
def test_a_file_of_names_never_changes_a_class_in_silence(tmp_path: Path, kind: str, place: str) -> None:
    text, folders, expected = CLASSES_TXT[kind]
    folder = fill(tmp_path / "set", folders)
    (tmp_path / place).write_bytes(text.encode())
    if isinstance(expected, str):
        found = error_of(folder)
        assert expected in found
        assert "classes.txt: " in found
        return
    dataset = load(folder)
    assert dataset.class_names == tuple(expected.values())
    assert by_folder(dataset, folder) == {name: {expected[name]} for name in folders}
    assert dataset.other_files == ""


def test_names_of_the_sweep_file_may_replace_all_which_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = fill(tmp_path / "set", ("E", "S"))
    assert by_folder(load(folder, class_names=("smooth", "spiral")), folder) == {"E": {"smooth"}, "S": {"spiral"}}
    assert "E is smooth, S is spiral" in caplog.text
    assert "data.class_names: matches the subfolders of {} only in part" in error_of(
        folder, class_names=("E", "spiral")
    )


class TestSkippedFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = fill(tmp_path / "set", ("a", "b"))
        for index in range(3):
            (folder / "b" / f"{index}.png").write_bytes(b"nothing")
        return folder

    def test_are_counted_and_listed(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        dataset = load(folder, on_error="skip")
        assert dataset.counts == {"a": 4, "b": 1}
        assert [line.split(":")[0] for line in dataset.skipped] == [str(folder / "b" / f"{i}.png") for i in range(3)]
        assert f"{folder}: skipped 3 of 8 image files: " in caplog.text

    @pytest.mark.parametrize("source", ["folder", "table"])
    def test_a_whole_class_of_them_is_an_error(self, folder: Path, source: str) -> None:
        (folder / "b" / "3.png").write_bytes(b"nothing")
        path = folder
        if source == "table":
            path = folder.with_suffix(".csv")
            rows = [f"{file.relative_to(path.parent)},{file.parent.name}" for file in sorted(folder.rglob("*.png"))]
            path.write_text("\n".join(["file,label", *rows]))
        found = error_of(path, on_error="skip").replace(str(folder), "{}")
        assert (
            "no image of class 'b' is left, as none of its 4 files can be read; the first: {}/b/0.png: not a" in found
        )
