"""Every kind of bad data that we know of, with the very line that it gives. `{}` stands for the folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data import find_files, load_dataset, split_dataset
from galaxy_exp.data.listing import EXPECTED_ENDINGS
from galaxy_exp.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3

Write = Callable[[Path], Any]


def h5(images: Any = IMAGES, labels: Any = LABELS, **more: Any) -> Write:
    def write(folder: Path) -> None:
        with h5py.File(folder / "set", "w") as file:
            for key, value in {"images": images, "ans": labels, **more}.items():
                file[key] = value
        (folder / "set").rename(folder / "set.h5")

    return write


def npz(images: Any = IMAGES, labels: Any = LABELS) -> Write:
    return lambda folder: np.savez(folder / "set.npz", images=images, ans=labels)


def with_nan() -> np.ndarray:
    images = IMAGES.astype(np.float32)
    images[7, 3, 4, 1] = np.nan
    return images


def truncated(share: float) -> Write:
    def write(folder: Path) -> None:
        h5()(folder)
        content = (folder / "set.h5").read_bytes()
        (folder / "set.h5").write_bytes(content[: int(len(content) * share)])

    return write


def pictures(change: Write = lambda folder: None) -> Write:
    def write(folder: Path) -> None:
        for index, image in enumerate(IMAGES):
            path = folder / "set" / "abc"[index % 3] / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        change(folder / "set")

    return write


def table(text: str) -> Write:
    def write(folder: Path) -> None:
        pictures()(folder)
        (folder / "set" / "set.csv").write_text(text)
        (folder / "set.csv").write_text(text)

    return write


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(labels: np.ndarray, index: int, value: float) -> np.ndarray:
    labels = labels.astype(np.int64 if float(value).is_integer() else float)
    labels[index] = value
    return labels


LABEL = "expected a whole number from 0, or a name"
GAP = "where a label is missing, leave the image out"
SHAPE = "expected uint8 of shape (n, height, width, 3)"

CASES: dict[str, tuple[Write, str, str]] = {
    "wrong shape": (h5(IMAGES[..., 0]), "set.h5", f"{{}}/set.h5: 'images' has shape (12, 16, 16); {SHAPE}; for grey *"),
    "channels first": (
        h5(IMAGES.transpose(0, 3, 1, 2)),
        "set.h5",
        f"{{}}/set.h5: 'images' has shape (12, 3, 16, 16); {SHAPE}; for colours first: numpy.moveaxis(images, 1, -1)",
    ),
    "tiny": (
        h5(IMAGES[:, :4]),
        "set.h5",
        "{}/set.h5: 'images' has shape (12, 4, 16, 3); expected sides of at least 8 pixels",
    ),
    "no images": (h5(IMAGES[:0], LABELS[:0]), "set.h5", f"{{}}/set.h5: 'images' holds none; {SHAPE}, n >= 1"),
    "wrong dtype": (
        h5(IMAGES / 255),
        "set.h5",
        f"{{}}/set.h5: 'images' is float64 from 0 to 1; {SHAPE}, values 0 to 255",
    ),
    "four channels": (
        npz(images=np.concatenate([IMAGES, IMAGES[..., :1]], axis=-1)),
        "set.npz",
        f"{{}}/set.npz: 'images' has shape (12, 16, 16, 4); {SHAPE}",
    ),
    "NaN": (
        h5(with_nan()),
        "set.h5",
        f"{{}}/set.h5: 'images' is float32 with NaN or infinity at index 7; {SHAPE}, values 0 to 255",
    ),
    "no key images": (
        lambda folder: h5py.File(folder / "set.h5", "w").create_dataset("image", data=IMAGES).file.close(),
        "set.h5",
        "{}/set.h5: has the keys ['image']; expected 'images'",
    ),
    "label below 0": (
        h5(labels=changed(LABELS, 4, -1)),
        "set.h5",
        f"{{}}/set.h5: 'ans' is -1 at index 4; {LABEL}; {GAP}",
    ),
    "label no integer": (
        h5(labels=changed(LABELS, 4, 1.5)),
        "set.h5",
        f"{{}}/set.h5: 'ans' is 1.5 at index 4; {LABEL}; fractions, such as shares of votes, are no classes: take the "
        "class with the most votes, or see data.votes",
    ),
    "one name for all labels": (
        h5(labels=["a"] * 12),
        "set.h5",
        "{}/set.h5: only one class, 'a'; expected at least 2",
    ),
    "label without a name": (
        h5(labels=changed(LABELS, 4, 3)),
        "set.h5 class_names=a,b,c",
        "{}/set.h5: 'ans' is 3 at index 4, but there are 3 class names; expected 4 names (data.class_names)",
    ),
    "labels from 1 with names from 0": (
        h5(labels=LABELS + 1),
        "set.h5 class_names=a,b,c",
        "{}/set.h5: 'ans' is 3 at index 2, but there are 3 class names; expected 4 names (data.class_names); these "
        "labels start at 1: data.first_label: 1",
    ),
    "labels from 1 without names": (
        h5(labels=LABELS + 1),
        "set.h5",
        "{}/set.h5: class 0 ('class 0') has 0 different images (0 in all); expected at least 3, one each for training, "
        "validation and test; if the labels start at 1: data.first_label: 1",
    ),
    "labels are Python objects": (
        npz(labels=np.array(["a"] * 12, dtype=object)),
        "set.npz",
        "{}/set.npz: 'ans' holds Python objects, which are not read; expected one array of numbers, or of text "
        "(.astype(str))",
    ),
    "shares of votes": (
        h5(labels=np.full((12, 3), 1 / 3)),
        "set.h5",
        "{}/set.h5: 'ans' has shape (12, 3) and is not one-hot, as it holds other numbers than 0 and 1, such as shares "
        "of votes; expected one class per image, such as the one with the most votes, or votes in "
        "data.votes",
    ),
    "label NaN": (
        h5(labels=changed(LABELS, 4, np.nan)),
        "set.h5",
        f"{{}}/set.h5: 'ans' is nan at index 4; {LABEL}; {GAP}",
    ),
    "labels under another key": (
        lambda folder: np.savez(folder / "set.npz", images=IMAGES, labels=changed(LABELS, 4, -1)),
        "set.npz",
        f"{{}}/set.npz: 'labels' is -1 at index 4; {LABEL}; {GAP}",
    ),
    "too few labels": (
        h5(labels=LABELS[:11]),
        "set.h5",
        "{}/set.h5: 'ans' has shape (11,); expected (12,), one label per image",
    ),
    "empty class in a file": (
        h5(labels=LABELS + LABELS // 2),
        "set.h5",
        "{}/set.h5: class 2 ('class 2') has 0 different images (0 in all); expected at least 3, one each for training, "
        "validation and test",
    ),
    "fewer images than a split needs": (
        h5(labels=changed(changed(LABELS % 2, 0, 2), 1, 2)),
        "set.h5",
        "{}/set.h5: class 2 ('class 2') has 2 different images (2 in all); expected at least 3, one each for training, "
        "validation and test",
    ),
    "all alike": (
        h5(np.repeat(IMAGES[:1], 12, axis=0)),
        "set.h5",
        "{}/set.h5: class 0 ('class 0') has 1 different images (4 in all); expected at least 3, one each for training, "
        "validation and test",
    ),
    "truncated HDF5": (truncated(0.7), "set.h5", "{}/set.h5: cannot be read as an HDF5 file (*); is it complete?"),
    "empty npz": (
        lambda folder: (folder / "set.npz").touch(),
        "set.npz",
        "{}/set.npz: cannot be read as a NumPy .npz file (*); is it complete?",
    ),
    "empty HDF5": (truncated(0), "set.h5", "{}/set.h5: cannot be read as an HDF5 file (*); is it complete?"),
    "empty class in a folder": (
        pictures(lambda folder: (folder / "d").mkdir()),
        "set",
        f"{{}}/set/d: holds no images; expected files ending in {EXPECTED_ENDINGS}",
    ),
    "unreadable picture": (
        pictures(lambda folder: (folder / "b" / "01.png").write_bytes(b"nothing")),
        "set",
        "{}/set/b/01.png: not a picture that can be read; expected PNG, JPEG or another format that Pillow reads",
    ),
    "truncated picture": (
        pictures(lambda folder: cut_in_half(folder / "b" / "01.png")),
        "set",
        "{}/set/b/01.png: cannot be read as a picture (*)",
    ),
    "picture of no bytes": (
        pictures(lambda folder: (folder / "b" / "01.png").write_bytes(b"")),
        "set",
        "{}/set/b/01.png: not a picture that can be read; expected PNG, JPEG or another format that Pillow reads",
    ),
    "tiny picture": (
        pictures(lambda folder: Image.new("RGB", (16, 5)).save(folder / "a" / "00.png")),
        "set",
        "{}/set/a/00.png: is 16x5 pixels; expected sides of at least 8 pixels",
    ),
    "class name that is no text": (
        pictures(lambda folder: (folder / "b").rename(folder / os.fsdecode(b"b\xff"))),
        "set",
        "{}/set: class name 'b\\udcff'; expected text that can be written as UTF-8, without NUL",
    ),
    "two bands": (
        pictures(lambda folder: fits.PrimaryHDU(np.zeros((2, 16, 16))).writeto(folder / "b" / "x.fits")),
        "set",
        "{}/set/b/x.fits: its image has shape (2, 16, 16); expected (height, width), (1, height, width) or *",
    ),
    "mixed sizes": (
        pictures(lambda folder: Image.new("RGB", (20, 18)).save(folder / "b" / "01.png")),
        "set",
        "{}/set/b/01.png: is 20x18 pixels; expected 16x16, as {}/set/a/00.png (data.resize brings images to one size)",
    ),
    "smaller than the crop": (
        pictures(),
        "set crop=20",
        "{}/set/a/00.png: is 16x16 pixels; expected at least 20x20 (data.crop)",
    ),
    "path out of the table's folder": (
        table("file,label\n../x.png,a\n"),
        "set/set.csv",
        "{}/set/set.csv: row 1: 'file' is '../x.png', which leaves the table's folder; expected a path without '..', "
        "or data.image_folder: a folder above it",
    ),
    "absolute path in a table": (
        table("file,label\n/x.png,a\n"),
        "set.csv",
        "{}/set.csv: row 1: 'file' is '/x.png', an absolute path; expected one relative to the table's folder, or "
        "below the folder that data.image_folder names",
    ),
    "empty label in a table": (
        table("file,label\nset/a/00.png,a\nset/b/01.png,\n"),
        "set.csv",
        f"{{}}/set.csv: row 2: 'label' is empty; {LABEL}; {GAP}",
    ),
    "folder in a table": (
        table("file,label\nset/a,a\nset/b/01.png,b\n"),
        "set.csv",
        "{}/set/a: cannot be read as a picture (Is a directory)",
    ),
    "file missing from a table": (
        table("file,label\nset/a/99.png,a\n"),
        "set.csv",
        "{}/set.csv: 1 of its 1 image files not found: {}/set/a/99.png; expected those of column 'file' "
        "(data.table.file_column) below the table's folder, or as data.image_folder and data.file_suffix say; "
        "data.on_error: skip leaves such rows out",
    ),
    "one class only": (
        table("file,label\nset/a/00.png,a\nset/b/01.png,a\n"),
        "set.csv",
        "{}/set.csv: only one class, 'a'; expected at least 2",
    ),
    "own split with a class missing": (
        h5(split=["train"] * 10 + ["validation", "test"]),
        "set.h5",
        "{}/set.h5: your split has no image of class 0 ('class 0') in validation; expected one at least, or "
        "data.split.column: null to have it split by fractions",
    ),
    "own split with another word": (
        h5(split=["train"] * 11 + ["holdout"]),
        "set.h5",
        "{}/set.h5: 'split' is 'holdout' at index 11; expected train, validation, test (data.split.column: null*",
    ),
    "no such source": (
        pictures(),
        "galaxy10_sdss",
        "data.source: '{}/galaxy10_sdss' is neither a source nor a file or folder here (*); known: simulated, *",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_gives_one_line(tmp_path: Path, case: str) -> None:
    write, arguments, line = CASES[case]
    write(tmp_path)
    name, _, settings = arguments.partition(" ")
    config = _config(str(tmp_path / name), settings)
    with pytest.raises(DataError) as caught:
        split_dataset(load_dataset(config), config.split)
    found = str(caught.value)
    assert "\n" not in found
    position = 0
    for piece in line.replace("{}", str(tmp_path)).split("*"):
        assert piece in found[position:], found
        position = found.index(piece, position) + len(piece)
    assert line.endswith("*") or position == len(found)


def forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The administrator, who may run these tests, is let in everywhere: so looking into a folder is refused by hand."""

    def refusing(listing: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Any) -> Any:
            if os.fspath(path) == str(folder):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return listing(path)

        return refuse

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures()(tmp_path)
    forbid(monkeypatch, tmp_path / "set" / "b")
    for read in (lambda path: load_dataset(DataConfig(source=str(path))), lambda path: find_files([path])):
        with pytest.raises(DataError) as caught:
            read(tmp_path / "set")
        assert str(caught.value) == f"{tmp_path / 'set' / 'b'}: cannot be read (Permission denied)"


@pytest.mark.parametrize("name", ["set.h5", "set.npz", "set.csv"])
def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    path.write_text("x")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "as the library says it", str(path))

    for place in ("h5py.File", "numpy.load", "pathlib.Path.open"):
        monkeypatch.setattr(place, refuse)
    with pytest.raises(DataError, match=rf"^{path}: cannot be read as .* \(Permission denied\)$"):
        load_dataset(DataConfig(source=str(path)))


def _config(source: str, settings: str) -> DataConfig:
    key, _, value = settings.partition("=")
    changes: dict[str, Any] = {"class_names": {"class_names": tuple(value.split(","))}, "crop": {"crop": 20}}
    return DataConfig(source=source, **(changes[key] if key else {}))
