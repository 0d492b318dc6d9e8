from __future__ import annotations

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from galaxy_exp.config.data_section import DataConfig, FitsConfig
from galaxy_exp.data import NamedImage, digest_files, find_files, iter_images, load_dataset
from galaxy_exp.data.image_file import read_fits, read_image
from galaxy_exp.errors import DataError


def save(path: Path, values: np.ndarray | Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path)
    return path


def read_all(*paths: Path, batch_size: int = 4) -> list[NamedImage]:
    return [item for batch in iter_images(find_files(paths), batch_size) for item in batch]


class TestReadImage:
    RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
    def test_colours_are_kept(self, tmp_path: Path, suffix: str) -> None:
        np.testing.assert_array_equal(read_image(save(tmp_path / f"x{suffix}", self.RGB)), self.RGB)

    def test_grey_is_repeated(self, tmp_path: Path) -> None:
        image = read_image(save(tmp_path / "x.png", self.RGB[..., 0]))
        np.testing.assert_array_equal(image, self.RGB[..., :1].repeat(3, axis=2))

    @pytest.mark.parametrize("mode", ["P", "1", "CMYK", "L"])
    def test_other_modes(self, tmp_path: Path, mode: str) -> None:
        path = save(tmp_path / "x.tif", Image.fromarray(self.RGB).convert(mode))
        image = read_image(path)
        assert (image.shape, image.dtype) == ((5, 7, 3), np.uint8)

    def test_transparent_pixels_are_sky(self, tmp_path: Path) -> None:
        alpha = np.full((5, 7, 1), 255, np.uint8)
        alpha[2, 3] = 0
        image = read_image(save(tmp_path / "x.png", np.concatenate([self.RGB, alpha], axis=2)))
        assert image[2, 3].tolist() == [0, 0, 0]
        np.testing.assert_array_equal(image[:2], self.RGB[:2])

    @pytest.mark.parametrize(("name", "dtype"), [("x.png", np.uint16), ("x.tif", np.uint16), ("x.tif", np.float32)])
    def test_deep_grey_is_stretched(self, tmp_path: Path, name: str, dtype: type) -> None:
        image = read_image(save(tmp_path / name, np.array([[100, 600, 1100]] * 2, dtype=dtype)))
        assert image[..., 0].tolist() == [[0, 128, 255]] * 2

    @pytest.mark.parametrize(
        ("dtype", "number_type", "photometric", "expected"),
        [
            ("<u4", 1, 1, [0, 128, 255]),
            ("<u2", 1, 0, [255, 128, 0]),
            ("<f4", 3, 0, [255, 128, 0]),
            ("<i4", 2, 1, [0, 128, 255]),
            ("i1", 2, 1, [0, 128, 255]),
        ],
    )
    def test_numbers_of_tiff(
        self, tmp_path: Path, dtype: str, number_type: int, photometric: int, expected: list[int]
    ) -> None:
        kind = np.dtype(dtype)
        low, high = (0, 1e9) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
        pixels = np.array([[low, low // 2 + high // 2 + 1, high]] * 2).astype(kind)
        fields = {256: 3, 257: 2, 258: 8 * kind.itemsize, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 2}
        fields |= {279: pixels.nbytes, 339: number_type}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
        content = b"II*\0" + struct.pack("<I", 8 + pixels.nbytes) + pixels.tobytes() + struct.pack("<H", len(fields))
        (tmp_path / "x.tif").write_bytes(content + entries + bytes(4))
        np.testing.assert_allclose(read_image(tmp_path / "x.tif")[0, :, 0].astype(int), expected, atol=1)

    def test_deep_grey_with_transparency_is_refused(self, tmp_path: Path) -> None:
        rows = b"".join(b"\0" + np.array([[100, 65535], [300, 65535]], ">u2").tobytes() for _ in range(2))
        chunks = {b"IHDR": struct.pack(">IIBBBBB", 2, 2, 16, 4, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
        content = b"\x89PNG\r\n\x1a\n"
        for kind, data in chunks.items():
            content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.png: cannot be read as a picture \(is 16-bit greyscale with transp"):
            read_image(tmp_path / "x.png")

    def test_deep_colours_that_would_become_black_are_refused(self, tmp_path: Path) -> None:
        def write(values: int) -> Path:
            rows = b"".join(b"\0" + np.full((8, 3), values, ">u2").tobytes() for _ in range(8))
            content, header = b"\x89PNG\r\n\x1a\n", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
            for kind, data in {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}.items():
                content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            (tmp_path / "x.png").write_bytes(content)
            return tmp_path / "x.png"

        assert (read_image(write(77 * 256 + 255)) == 77).all()
        with pytest.raises(DataError, match=r"has colours of 16 bit whose upper 8 bits are all 0; scale them to 65535"):
            read_image(write(255))

    def test_flat_deep_grey_is_black(self, tmp_path: Path) -> None:
        assert read_image(save(tmp_path / "x.tif", np.full((4, 4), 7, np.uint16))).max() == 0

    def test_nan(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"x\.tif: cannot be read as a picture \(has NaN or infinite pixels\)"):
            read_image(save(tmp_path / "x.tif", np.full((4, 4), np.nan, np.float32)))

    def test_a_line_break_in_the_name_breaks_no_line(self, tmp_path: Path) -> None:
        (tmp_path / "a\nb.png").write_bytes(b"nothing")
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / "a\nb.png")
        assert str(caught.value).startswith(f"{tmp_path}/a\\nb.png: not a picture that can be read; ")

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
    def test_truncated(self, tmp_path: Path, suffix: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        path = save(tmp_path / f"x{suffix}", noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=rf"x\{suffix}: ") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


class TestIterImages:
    def test_batches_run_across_paths(self, tmp_path: Path, h5_file: Path) -> None:
        picture = save(tmp_path / "x.png", np.zeros((4, 6, 3), np.uint8))
        batches = list(iter_images(find_files([picture, h5_file]), 5))
        assert [len(batch) for batch in batches] == [5, 5, 3]
        assert batches[0][0].name == str(picture)
        assert batches[0][1].name == f"{h5_file}[0]"
        assert batches[2][2].name == f"{h5_file}[11]"

    def test_array_images_are_those_of_the_file(self, h5_file: Path) -> None:
        with h5py.File(h5_file) as file:
            expected = file["images"][:]
        found = [item.image for item in read_all(h5_file, batch_size=5)]
        np.testing.assert_array_equal(np.array(found), expected)

    def test_npz(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", images=np.zeros((3, 5, 5, 3), np.uint8))
        assert [item.name for item in read_all(tmp_path / "x.npz")] == [f"{tmp_path / 'x.npz'}[{i}]" for i in range(3)]

    def test_folders_are_searched_in_order(self, tmp_path: Path) -> None:
        for name in ("b.png", "a/z.jpg", "a/deep/y.tif", "._b.png"):
            save(tmp_path / name, np.zeros((4, 4, 3), np.uint8)) if not name.startswith(".") else None
        (tmp_path / "._b.png").write_bytes(b"resource fork")
        names = [str(Path(item.name).relative_to(tmp_path)) for item in read_all(tmp_path)]
        assert names == ["a/deep/y.tif", "a/z.jpg", "b.png"]

    def test_fits_files_need_a_stretch(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).normal(size=(9, 9))
        fits.PrimaryHDU(pixels).writeto(tmp_path / "b.fits")
        save(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
        (tmp_path / "c.FITS").write_bytes(b"nothing")
        with pytest.raises(DataError, match=r"b\.fits: is a FITS file; expected a stretch for it, as data\.fits"):
            iter_images(find_files([tmp_path]), 4)
        stretch = FitsConfig(stretch="linear")
        picture, cutout, broken = next(iter_images(find_files([tmp_path]), 4, stretch))
        assert picture.image is not None
        np.testing.assert_array_equal(cutout.image, read_fits(tmp_path / "b.fits", stretch))
        assert broken.error is not None
        assert broken.error.startswith(f"{tmp_path / 'c.FITS'}: cannot be read as FITS")

    def test_unreadable_picture_is_an_item(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
        (tmp_path / "b.png").write_bytes(b"nothing")
        good, bad = read_all(tmp_path)
        assert good.error is None
        assert bad.image is None
        assert (bad.error or "").startswith(f"{tmp_path / 'b.png'}: not a picture that can be read; expected PNG, ")

    def test_mistakes_are_reported_before_the_first_image(self, tmp_path: Path, h5_file: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "x.doc").write_text("")
        (tmp_path / "broken.h5").write_text("")
        with h5py.File(tmp_path / "float.h5", "w") as file:
            file["images"] = np.zeros((2, 4, 4, 3))
        for name, message in {
            "none.png": r"none\.png: no such file or folder",
            "empty": "empty: holds no images; expected files ending in",
            "x.doc": r"x\.doc: ends in '\.doc'; expected \.png",
            "broken.h5": r"broken\.h5: cannot be read as an HDF5 file",
            "float.h5": r"float\.h5: 'images' is float64 of shape \(2, 4, 4, 3\); expected uint8",
        }.items():
            with pytest.raises(DataError, match=message):
                find_files([h5_file, tmp_path / name])

    def test_batch_size(self) -> None:
        with pytest.raises(ValueError, match="batch_size is 0; expected at least 1"):
            iter_images([], 0)

    def test_nothing(self) -> None:
        assert list(iter_images([], 4)) == []

    def test_the_first_images_are_skipped(self, tmp_path: Path, h5_file: Path) -> None:
        save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
        files = find_files([tmp_path / "a.png", h5_file, tmp_path / "a.png"])
        names = [item.name for batch in iter_images(files, 5) for item in batch]
        assert sum(file.n_images for file in files) == len(names)
        for skip in (0, 1, 4, len(names) - 1, len(names)):
            batches = iter_images(files, 5, skip=skip)
            assert [item.name for batch in batches for item in batch] == names[skip:]

    def test_a_list_keeps_what_cannot_be_read(self, tmp_path: Path, h5_file: Path) -> None:
        picture = save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
        (tmp_path / "x.txt").write_text("")
        paths = [tmp_path / "none.png", picture, tmp_path / "x.txt"]
        gone, good, other = next(iter_images(find_files(paths, keep_unusable=True), 4))
        assert gone.error == f"{paths[0]}: no such file or folder"
        assert good.image is not None
        assert (other.error or "").startswith(f"{paths[2]}: ends in '.txt'; expected")
        assert (other.error or "").endswith(
            ".hdf5, .npz, or a folder; a table is named on the command line, not in a list"
        )

    def test_digest_tells_other_files_and_changed_ones(self, tmp_path: Path) -> None:
        a, b = (save(tmp_path / name, np.zeros((4, 4, 3), np.uint8)) for name in ("a.png", "b.png"))
        before = digest_files(find_files([a, b]))
        assert before == digest_files(find_files([tmp_path]))
        assert before != digest_files(find_files([b, a]))
        save(a, np.zeros((40, 50, 3), np.uint8))
        assert before != digest_files(find_files([a, b]))

    def test_a_damaged_piece_of_an_hdf5_file_costs_its_images_alone(self, tmp_path: Path) -> None:
        path, images = tmp_path / "x.h5", np.random.default_rng(0).integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
        with h5py.File(path, "w") as file:
            stored = file.create_dataset("images", data=images, chunks=(1, 9, 9, 3), compression="gzip")
            place = stored.id.get_chunk_info(3)
        content = bytearray(path.read_bytes())
        content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
        path.write_bytes(content)
        found = read_all(path, batch_size=4)
        assert [item.error is None for item in found] == [True, True, True, False, True, True]
        assert (found[3].error or "").startswith(f"{path}[3]: cannot be read (")
        np.testing.assert_array_equal(found[4].image, images[4])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://a.org/b/x.h5", "https://a.org/b/x.h5: is an address; expected a file on this machine: download it"),
        ("s3://b/x.parquet", "s3://b/x.parquet: is an address; expected a file on this machine: download it first"),
        ("mydata:Survey", "mydata:Survey: no such file or folder; evaluate takes a class of your own, and from Python"),
    ],
)
def test_what_is_no_file_is_named_as_such(path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_files([Path(path)])
    assert str(caught.value).startswith(message)
    if "://" not in path:
        return
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(source=path))
    assert str(caught.value).startswith(message)
    (tmp_path / "urls.csv").write_text(f"file,label\n{path},a\n")
    with pytest.raises(DataError, match=f"row 1: 'file' is {path}, an address; expected a file on this machine"):
        load_dataset(DataConfig(source=str(tmp_path / "urls.csv")))
