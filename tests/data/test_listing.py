"""Training and prediction find the same images in a folder, and count what else is in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data import find_files, load_dataset
from galaxy_exp.data.image_file import picture_endings, read_image
from galaxy_exp.data.listing import list_images
from galaxy_exp.errors import DataError

RNG = np.random.default_rng(0)


def noise(side: int = 24) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (side, side, 3), dtype=np.uint8))


def writable_endings() -> list[str]:
    """Of the endings that are read, those for which this Pillow has a writer too."""
    return sorted(ending for ending, format in picture_endings().items() if format in Image.SAVE)


def write(path: Path, ending: str) -> Path:
    """A picture of 24x24 or, where the format has sizes of its own, another square."""
    mode = {".blp": "P", ".pbm": "1", ".pgm": "L", ".pfm": "F", ".msp": "1", ".xbm": "1"}.get(ending, "RGB")
    path = path.with_name(path.name + ending)
    noise().convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three pictures."""
    for index in range(6):
        path = tmp_path / "set" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise().save(path)
    return tmp_path / "set"


class TestFormats:
    def test_usual_ones_are_read_and_those_of_other_readers_are_not(self) -> None:
        usual = {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2", ".tga"}
        assert usual <= set(picture_endings())
        assert not {".fits", ".fit", ".h5", ".hdf", ".eps", ".ps", ".pdf", ".mpg", ".wmf", ".txt"} & set(
            picture_endings()
        )

    @pytest.mark.filterwarnings("ignore:IM image format is deprecated")
    @pytest.mark.parametrize("ending", writable_endings())
    def test_what_pillow_writes_is_read_whole_and_refused_in_part(self, tmp_path: Path, ending: str) -> None:
        path = write(tmp_path / "x", ending)
        image = read_image(path)
        assert (image.ndim, image.shape[2], image.dtype) == (3, 3, np.uint8)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        with pytest.raises(DataError) as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("ending", [ending.upper() for ending in writable_endings()])
    def test_of_any_ending_is_listed(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"x{ending}"
        path.touch()
        assert list_images(tmp_path).images == [file.path for file in find_files([path])] == [path]

    @pytest.mark.parametrize(
        ("format", "ending"), [("JPEG", ".png"), ("PNG", ".jpg"), ("GIF", ".webp"), ("BMP", ".tif")]
    )
    def test_the_content_decides(self, tmp_path: Path, format: str, ending: str) -> None:
        noise().save(tmp_path / f"x{ending}", format=format)
        assert read_image(tmp_path / f"x{ending}").shape == (24, 24, 3)

    @pytest.mark.parametrize(
        "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.4", b"SIMPLE  ="]
    )
    def test_a_program_or_document_called_png_is_not_run(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.png: not a picture that can be read"):
            read_image(tmp_path / "x.png")

    @pytest.mark.parametrize("ending", [".gif", ".png", ".webp", ".tif"])
    def test_of_several_images_the_first_is_taken(self, tmp_path: Path, ending: str) -> None:
        grey = [Image.new("L", (9, 9), shade).convert("RGB") for shade in (0, 255)]
        grey[0].save(tmp_path / f"x{ending}", save_all=True, append_images=grey[1:])
        assert read_image(tmp_path / f"x{ending}").max() == 0

    def test_orientation_is_ignored(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        noise().crop((0, 0, 20, 10)).save(tmp_path / "x.jpg", exif=exif)
        assert read_image(tmp_path / "x.jpg").shape == (10, 20, 3)


NOTHING: dict[str, Callable[[Path], object]] = {
    "resource fork": lambda folder: (folder / "a" / "._0.png").write_bytes(b"x"),
    "hidden file": lambda folder: (folder / "a" / ".DS_Store").touch(),
    "hidden folder of a class": lambda folder: noise().save(make(folder / ".cache" / "a" / "0.png")),
    "hidden folder in a class": lambda folder: noise().save(make(folder / "a" / ".ipynb_checkpoints" / "0.png")),
    "zip of macOS": lambda folder: noise().save(make(folder / "__MACOSX" / "a" / "0.png")),
    "thumbnails of Windows": lambda folder: (folder / "a" / "Thumbs.db").touch(),
    "settings of Windows": lambda folder: (folder / "b" / "Desktop.ini").touch(),
}


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def both(folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[int, int, list[str]]:
    """The numbers of images to train on and to predict on, and what was reported."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        return len(load_dataset(DataConfig(source=str(folder)))), len(find_files([folder])), caplog.messages


@pytest.mark.parametrize("kind", NOTHING)
def test_what_systems_leave_behind_is_nothing(folder: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    NOTHING[kind](folder)
    assert both(folder, caplog) == (6, 6, [])


def test_other_files_are_counted_by_ending_everywhere(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a/x.txt", "a/y.TXT", "b/z.txt", "b/z.pdf", "a/no ending"):
        (folder / name).touch()
    line = f"{folder}: skipped 3 .txt, 1 without an ending, 1 .pdf"
    assert both(folder, caplog) == (6, 6, [line, line])
    assert load_dataset(DataConfig(source=str(folder))).other_files == "3 .txt, 1 without an ending, 1 .pdf"


def test_a_folder_without_images_names_what_it_has(tmp_path: Path) -> None:
    for name in ("a/x.txt", "b/x.txt"):
        make(tmp_path / name).touch()
    with pytest.raises(DataError, match=r"a: holds no images; expected files ending in \.png, .*; found 1 \.txt$"):
        load_dataset(DataConfig(source=str(tmp_path)))
    with pytest.raises(DataError, match=r": holds no images; expected files ending in \.png, .*; found 2 \.txt$"):
        find_files([tmp_path])


def test_each_file_is_listed_once_however_folders_are_linked(tmp_path: Path) -> None:
    places = {name: tmp_path / "s" / name for name in "abc"}
    for name, place in places.items():
        noise().save(make(place / f"{name}.png"))
    for place in places.values():
        for name, target in places.items():
            (place / f"to {name}").symlink_to(target)
            (place / f"{name}.jpg").symlink_to(target / f"{name}.png")
    (places["a"] / "elsewhere").symlink_to(make(tmp_path / "other" / "o.png").parent)
    noise().save(tmp_path / "other" / "o.png")
    found = list_images(tmp_path / "s", deep=True).images
    assert [path for path in found if path.suffix == ".png"] == [
        *(places["a"] / name for name in ("a.png", "elsewhere/o.png")),
        *(places[name] / f"{name}.png" for name in "bc"),
    ]
    assert len(found) == 4 + 3 * 3
    assert len(list_images(places["a"], deep=True).images) == len(found)


def test_links_are_followed_and_those_that_lead_nowhere_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for index, name in enumerate("ab"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
        os.symlink(folder, folder / name / "loop")  # noqa: PTH211  which has to end
        assert len(list_images(folder / name, deep=True).images) == 3
        (folder / name / "loop").unlink()
        (folder / f"{index}.png").symlink_to(folder / name / f"{index}.png")
    assert len(load_dataset(DataConfig(source=str(tmp_path / "linked")))) == len(find_files([tmp_path / "linked"])) == 6
    (folder / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        load_dataset(DataConfig(source=str(folder)))
    assert folder / "a" / "gone.png" in [file.path for file in find_files([folder])]
