from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import LuptonAsinhStretch
from PIL import Image

from galaxy_exp.config.data_formats import FitsConfig
from galaxy_exp.config.sweep import DataConfig, SplitConfig
from galaxy_exp.data import Preprocessing, load_dataset, prepare_split
from galaxy_exp.data.fits_file import read_fits, stretch_bands
from galaxy_exp.errors import DataError

LINEAR = FitsConfig(stretch="linear", black=0.0, white=255.0)
RAMP = np.arange(12, dtype=np.float32).reshape(3, 4) * 20


def save(path: Path, *planes: np.ndarray) -> Path:
    fits.HDUList([fits.PrimaryHDU(planes[0]), *(fits.ImageHDU(plane) for plane in planes[1:])]).writeto(path)
    return path


def read_one_line_error(path: Path, config: FitsConfig = LINEAR) -> str:
    with pytest.raises(DataError) as caught:
        read_fits(path, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["x.fits", "x.fit", "x.fits.gz"])
def test_one_band_is_repeated_and_north_stays_up(tmp_path: Path, dtype: type, name: str) -> None:
    image = read_fits(save(tmp_path / name, RAMP.astype(dtype)), LINEAR)
    assert (image.shape, image.dtype) == ((3, 4, 3), np.uint8)
    np.testing.assert_array_equal(image, RAMP[::-1, :, None].repeat(3, axis=2).astype(np.uint8))


def test_a_single_plane_is_one_band(tmp_path: Path) -> None:
    assert read_fits(save(tmp_path / "x.fits", RAMP[None]), LINEAR).shape == (3, 4, 3)


def test_three_planes_run_from_blue_to_red(tmp_path: Path) -> None:
    path = save(tmp_path / "x.fits", np.stack([RAMP, RAMP + 1, RAMP + 2]))
    assert read_fits(path, LINEAR)[-1, 0].tolist() == [2, 1, 0]
    assert read_fits(path, LINEAR.model_copy(update={"bands": (0, 1, 2)}))[-1, 0].tolist() == [0, 1, 2]


def test_the_first_image_or_the_one_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(RAMP), fits.ImageHDU(RAMP + 3)]).writeto(path)
    assert read_fits(path, LINEAR)[-1, 0, 0] == 0
    assert read_fits(path, LINEAR.model_copy(update={"hdu": 2}))[-1, 0, 0] == 3
    assert "HDU 0 is no image; images are in [1, 2] (data.fits.hdu)" in read_one_line_error(
        path, LINEAR.model_copy(update={"hdu": 0})
    )


def test_limits_are_percentiles_unless_they_are_given(tmp_path: Path) -> None:
    path = save(tmp_path / "x.fits", np.linspace(100, 200, 10_100).reshape(100, 101))
    image = read_fits(path, FitsConfig(stretch="linear", black_percentile=0, white_percentile=50))
    assert (image.min(), image.max()) == (0, 255)
    assert (image == 255).mean() == pytest.approx(0.5, abs=0.01)


class TestStretch:
    X = np.linspace(0, 1, 11).reshape(1, 1, 11)

    def test_ends_stay(self) -> None:
        for stretch in ("linear", "sqrt", "asinh", "lupton"):
            y = stretch_bands(self.X, FitsConfig(stretch=stretch))
            assert (y[0, 0, 0], y[0, 0, -1]) == (0, pytest.approx(1))
            assert (np.diff(y[0, 0]) > 0).all()

    def test_of_one_band_lupton_is_asinh(self) -> None:
        np.testing.assert_allclose(
            stretch_bands(self.X, FitsConfig(stretch="lupton")), stretch_bands(self.X, FitsConfig(stretch="asinh"))
        )

    def test_lupton_follows_astropy_in_brightness(self) -> None:
        ours = stretch_bands(self.X, FitsConfig(stretch="lupton", softening=8))[0, 0]
        theirs = LuptonAsinhStretch(stretch=1, Q=8)(self.X[0, 0] * 1.0)
        np.testing.assert_allclose(ours, np.arcsinh(8 * self.X[0, 0]) / np.arcsinh(8), atol=1e-12)
        np.testing.assert_allclose(ours, theirs / theirs[-1], atol=1e-6)

    def test_lupton_keeps_the_colour_of_bright_pixels(self) -> None:
        bands = np.array([4.0, 2.0, 1.0]).reshape(3, 1, 1)
        colours = stretch_bands(bands, FitsConfig(stretch="lupton")).ravel()
        np.testing.assert_allclose(colours, [1.0, 0.5, 0.25])
        np.testing.assert_allclose(stretch_bands(bands, FitsConfig(stretch="asinh")).ravel(), [1, 1, 1])


class TestTheStretchGoesWithTheImages:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Six pictures; tests add FITS files."""
        rng = np.random.default_rng(0)
        for index in range(6):
            path = tmp_path / "set" / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
        return tmp_path / "set"

    def test_into_the_prepared_data(self, folder: Path) -> None:
        save(folder / "a" / "9.fits", np.arange(144.0).reshape(12, 12))
        stretch = FitsConfig(stretch="sqrt", white=100.0)
        dataset = load_dataset(DataConfig(source=str(folder), fits=stretch, crop=8))
        prepared = prepare_split(dataset, SplitConfig(), folder.parent / "cache")
        assert prepared.preprocessing == dataset.preprocessing == Preprocessing(crop=8, fits=stretch)

    def test_from_a_table(self, folder: Path) -> None:
        save(folder / "a" / "9.fits", np.arange(144.0).reshape(12, 12))
        folder.with_suffix(".csv").write_text("file,label\nset/a/9.fits,a\nset/b/1.png,b\n")
        assert load_dataset(DataConfig(source=str(folder.with_suffix(".csv")))).preprocessing.fits == FitsConfig()

    def test_pictures_have_none(self, folder: Path) -> None:
        (folder / "a" / "9.fits").write_bytes(b"broken")
        dataset = load_dataset(DataConfig(source=str(folder), on_error="skip"))
        assert dataset.preprocessing == Preprocessing()


def test_nan(tmp_path: Path) -> None:
    values = RAMP.copy()
    values[1, 2] = np.nan
    message = "1 pixels are NaN or infinite, the first in band 0 at row 1, column 2; expected numbers"
    assert message in read_one_line_error(save(tmp_path / "x.fits", values))


@pytest.mark.parametrize("shape", [(4,), (2, 4, 4), (4, 4, 3), (1, 3, 4, 4)])
def test_other_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    message = read_one_line_error(save(tmp_path / "x.fits", np.zeros(shape, np.float32)))
    assert (
        f"x.fits: its image has shape {(1, *shape) if len(shape) == 2 else shape}; expected (height, width)" in message
    )


def test_flat(tmp_path: Path) -> None:
    path = save(tmp_path / "x.fits", np.full((4, 4), 7.0))
    assert "black is 7 and white is 7; expected black < white (data.fits)" in read_one_line_error(path, FitsConfig())


def test_without_image(tmp_path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "x.fits")
    assert "x.fits: holds no image in its 1 HDUs" in read_one_line_error(tmp_path / "x.fits")


@pytest.mark.parametrize("size", [0, 100, 2880, 4000])
def test_truncated(tmp_path: Path, size: int) -> None:
    path = save(tmp_path / "x.fits", np.random.default_rng(0).normal(size=(40, 40)))
    path.write_bytes(path.read_bytes()[:size])
    assert "x.fits: cannot be read as FITS (" in read_one_line_error(path)


def test_another_kind_of_content(tmp_path: Path) -> None:
    (tmp_path / "x.fits").write_bytes(b"not a picture of the sky")
    assert "x.fits: cannot be read as FITS (" in read_one_line_error(tmp_path / "x.fits")
