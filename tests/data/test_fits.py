from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import LuptonAsinhStretch
from PIL import Image
from pydantic import ValidationError

from galaxy_exp.config.data_section import DataConfig, FitsConfig, SplitConfig
from galaxy_exp.data import Preprocessing, load_dataset, prepare_split
from galaxy_exp.data.image_file import read_fits, stretch_bands
from galaxy_exp.errors import DataError
from galaxy_exp.registry.prediction import choose_stretch

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
@pytest.mark.parametrize("name", ["x.fits", "x.fit", "x.fits.gz", "x.FTS", "x.fit.bz2"])
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
    assert "HDU 0 is not an image; images are in [1, 2] (data.fits.hdu)" in read_one_line_error(
        path, LINEAR.model_copy(update={"hdu": 0})
    )


def test_hdus_of_one_shape_become_red_green_and_blue(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ramp = np.arange(64, dtype=np.float32).reshape(8, 8)
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        save(tmp_path / "set" / name / "x.fits", ramp, ramp + 1, (ramp + 2)[None])
    config = choose_stretch(LINEAR.model_copy(update={"hdu": (2, 1, 0)}).record(), {}, "x", "y")
    assert read_fits(tmp_path / "set" / "a" / "x.fits", config)[-1, 0].tolist() == [2, 1, 0]
    coloured = load_dataset(DataConfig(source=str(tmp_path / "set"), fits=config))
    assert coloured.images[0, -1, 0].tolist() == [2, 1, 0]
    assert not caplog.messages
    assert load_dataset(DataConfig(source=str(tmp_path / "set"), fits=LINEAR)).images[0, -1, 0].tolist() == [0, 0, 0]
    assert caplog.messages == [
        f"{tmp_path}/set/a/x.fits: has images in HDUs [0, 1, 2]; the first is used (data.fits.hdu)"
    ]
    save(tmp_path / "x.fits", ramp, ramp[1:], ramp)
    assert "HDUs [2, 1, 0] have images of shapes (8, 8), (7, 8), (8, 8); expected one shape" in read_one_line_error(
        tmp_path / "x.fits", config
    )
    with pytest.raises(ValidationError, match=r"hdu is \[2, 1, 0\]; expected one HDU, or three and no bands"):
        FitsConfig(hdu=(2, 1, 0), bands=(0, 1, 2))


def test_axes_of_length_1_before_the_planes_are_left_out(tmp_path: Path) -> None:
    assert read_fits(save(tmp_path / "x.fits", RAMP[None, None]), LINEAR).shape == (3, 4, 3)
    planes = np.stack([RAMP, RAMP + 1, RAMP + 2])[None]
    assert read_fits(save(tmp_path / "y.fits", planes), LINEAR)[-1, 0].tolist() == [2, 1, 0]


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


CUBE = np.stack([np.full((12, 20), 10 * plane, np.float32) for plane in range(1, 6)])
"""Five planes of 12x20 pixels, of the values 10, 20, 30, 40, 50."""


class TestPlanes:
    @pytest.mark.parametrize("last", [False, True])
    @pytest.mark.parametrize(
        ("n_planes", "bands", "colours"),
        [
            (5, (4, 2, 0), [50, 30, 10]),
            (5, (3,), [40, 40, 40]),
            (5, (1, 1, 1), [20, 20, 20]),
            (2, (0, 1, 1), [10, 20, 20]),
            (3, (2,), [30, 30, 30]),
            (3, None, [30, 20, 10]),
            (1, None, [10, 10, 10]),
            (1, (0, 1, 2), [10, 10, 10]),
            (1, (0,), [10, 10, 10]),
        ],
    )
    def test_by_number(
        self, tmp_path: Path, last: bool, n_planes: int, bands: tuple[int, ...] | None, colours: list[int]
    ) -> None:
        cube = np.moveaxis(CUBE[:n_planes], 0, -1) if last else CUBE[:n_planes]
        config = FitsConfig(**LINEAR.model_dump(exclude={"bands"}), **({} if bands is None else {"bands": bands}))
        image = read_fits(save(tmp_path / "x.fits", np.ascontiguousarray(cube)), config)
        assert image.shape == (12, 20, 3)
        assert image[0, 0].tolist() == colours

    @pytest.mark.parametrize(
        ("n_planes", "bands", "line"),
        [
            (5, (5, 1, 0), "has no plane 5, for which data.fits.bands asks; it has 5, counted from 0"),
            (3, (0, 1, 3), "has no plane 3, for which data.fits.bands asks; it has 3, counted from 0"),
            (2, (2, 1, 0), "has no plane 2, for which data.fits.bands asks; it has 2, counted from 0"),
            (1, (4, 3, 2), "has no plane 4, for which data.fits.bands asks; it has 1, counted from 0"),
            (1, (1,), "has no plane 1, for which data.fits.bands asks; it has 1, counted from 0"),
            (5, None, "its image has shape (5, 12, 20); expected (height, width), (1, height, width) or (3, height, "),
            (2, None, "planes last too, or other planes by number (data.fits.bands)"),
        ],
    )
    def test_that_are_not_there(self, tmp_path: Path, n_planes: int, bands: tuple[int, ...] | None, line: str) -> None:
        config = FitsConfig() if bands is None else FitsConfig(bands=bands)
        found = read_one_line_error(save(tmp_path / "x.fits", CUBE[:n_planes]), config)
        assert found.startswith(f"{tmp_path / 'x.fits'}: ")
        assert line in found

    @pytest.mark.parametrize("bands", [(), (0, 1), (0, 1, 2, 3), (-1,), ("g",), True, -1])
    def test_of_another_number_are_refused_with_the_sweep_file(self, bands: object) -> None:
        with pytest.raises(ValidationError, match="bands"):
            FitsConfig.model_validate({"bands": bands})

    def test_one_needs_no_brackets(self) -> None:
        assert FitsConfig.model_validate({"bands": 3}).bands == (3,)

    @pytest.mark.parametrize("bands", [None, (2, 1, 0), (0, 1, 2), (3,)])
    @pytest.mark.parametrize("changes", [{}, {"nan": 0}])
    def test_are_the_same_by_every_record(self, tmp_path: Path, bands: Any, changes: dict[str, Any]) -> None:
        """What a sweep or model keeps has all keys, and none is taken for stated that was not."""
        path, config = save(tmp_path / "x.fits", CUBE), FitsConfig(bands=bands, black=0.0, white=255.0, **changes)
        steps = Preprocessing(fits=config)
        kept = [FitsConfig.model_validate(json.loads(config.model_dump_json())), steps.from_dict(steps.to_dict()).fits]
        kept += [choose_stretch(config.record(), stated, path, "m") for stated in ({}, changes, {"white": 255.0})]
        for again in kept:
            assert again == config
            if bands is None:
                assert "has shape (5, 12, 20); expected (height, width)" in read_one_line_error(path, again)
            else:
                np.testing.assert_array_equal(read_fits(path, again), read_fits(path, config))

    def test_in_a_packed_file(self, tmp_path: Path) -> None:
        path = tmp_path / "x.fits.fz"
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(CUBE.astype(np.int16))]).writeto(path)
        assert read_fits(path, LINEAR.model_copy(update={"bands": (4, 2, 0)}))[0, 0].tolist() == [50, 30, 10]


class TestNaN:
    """One plane of 0 to 220 in which the pixel in row 1, column 2 is no number."""

    @pytest.fixture(params=["NaN", "infinite", "BLANK of int16", "BLANK of uint16", "BLANK, scaled", "packed"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path, kind = tmp_path / "x.fits", str(request.param)
        values = RAMP.copy()
        if kind in ("NaN", "infinite", "packed"):
            values[1, 2] = np.inf if kind == "infinite" else np.nan
            hdu = fits.CompImageHDU(values) if kind == "packed" else fits.PrimaryHDU(values)
            fits.HDUList([fits.PrimaryHDU(), hdu] if kind == "packed" else [hdu]).writeto(path)
            return path
        fits.PrimaryHDU(values.astype(np.uint16 if "uint16" in kind else np.int16)).writeto(path)
        fits.setval(path, "BLANK", value=120 - (32768 if "uint16" in kind else 0))
        if "scaled" in kind:
            fits.setval(path, "BSCALE", value=1.0)
            fits.setval(path, "BZERO", value=0.0)
        return path

    def test_is_refused_unless_a_policy_is_stated(self, path: Path) -> None:
        message = (
            "x.fits: 1 pixels are NaN or infinite, the first in band 0 at row 1, column 2; expected numbers, or "
            "data.fits.nan: 0 or median"
        )
        assert message in read_one_line_error(path)

    @pytest.mark.parametrize(("policy", "value"), [(0, 0), ("median", 100)])
    def test_is_filled_and_nothing_else_changes(self, path: Path, policy: str | int, value: int) -> None:
        image = read_fits(path, FitsConfig(**LINEAR.model_dump(exclude={"nan"}), nan=policy))
        expected = RAMP.copy()
        expected[1, 2] = value
        np.testing.assert_array_equal(image[::-1, :, 0], expected.astype(np.uint8))

    @pytest.mark.parametrize("policy", [0, "median"])
    def test_does_not_move_black_and_white(self, tmp_path: Path, policy: str | int) -> None:
        values = np.linspace(100, 200, 10_100).reshape(100, 101)
        whole = read_fits(save(tmp_path / "whole.fits", values), FitsConfig(black_percentile=0, white_percentile=100))
        values[40:60, 40:60] = np.nan
        config = FitsConfig(nan=policy, black_percentile=0, white_percentile=100)
        image = read_fits(save(tmp_path / "x.fits", values), config)
        np.testing.assert_array_equal(image[:40], whole[:40])

    @pytest.mark.parametrize("policy", ["refuse", 0, "median"])
    def test_throughout_is_refused_by_every_policy(self, tmp_path: Path, policy: str | int) -> None:
        path = save(tmp_path / "x.fits", np.full((4, 4), np.nan))
        assert "x.fits: all its pixels are NaN or infinite" in read_one_line_error(path, FitsConfig(nan=policy))

    def test_the_median_is_that_of_the_plane(self, tmp_path: Path) -> None:
        cube = CUBE[:3].copy()
        cube[:, 0, 0] = np.nan
        image = read_fits(save(tmp_path / "x.fits", cube), LINEAR.model_copy(update={"nan": "median"}))
        assert image[-1, 0].tolist() == [30, 20, 10]
        cube[1] = np.nan
        line = read_one_line_error(save(tmp_path / "y.fits", cube), LINEAR.model_copy(update={"nan": "median"}))
        assert "y.fits: all pixels of a plane are NaN or infinite, so it has no median (data.fits.nan)" in line

    @pytest.mark.parametrize("policy", ["zero", "skip", False, 1])
    def test_other_policies_are_refused_with_the_sweep_file(self, policy: object) -> None:
        with pytest.raises(ValidationError, match="nan"):
            FitsConfig.model_validate({"nan": policy})

    def test_the_policy_goes_with_the_images(self) -> None:
        for policy in ("refuse", 0, "median"):
            steps = Preprocessing(fits=FitsConfig(nan=policy))
            assert Preprocessing.from_dict(json.loads(json.dumps(steps.to_dict()))) == steps

    def test_digests_of_earlier_releases_hold(self) -> None:
        earlier = {"stretch": "asinh", "softening": 10.0, "black": None, "white": None, "black_percentile": 1.0}
        earlier |= {"white_percentile": 99.8, "bands": [2, 1, 0], "hdu": None}
        assert list(Preprocessing(fits=FitsConfig()).to_dict()["fits"].items()) == list(earlier.items())
        assert Preprocessing.from_dict({"fits": earlier}).fits == FitsConfig()
        assert Preprocessing(fits=FitsConfig(bands=(0, 1, 2))).to_dict()["fits"] == {**earlier, "bands": [0, 1, 2]}


class TestSkipped:
    """Of FITS files that cannot be read, as of pictures, none is left out in silence."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for index in range(8):
            values = np.random.default_rng(index).normal(size=(12, 12))
            if index in (1, 3, 5):  # three of four of class b
                values[0, 0] = np.nan
            (tmp_path / "set" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
            save(tmp_path / "set" / "ab"[index % 2] / f"{index}.fits", values)
        return tmp_path / "set"

    def test_some_are_counted_and_listed(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        dataset = load_dataset(DataConfig(source=str(folder), on_error="skip"))
        assert (dataset.counts, len(dataset.skipped)) == ({"a": 4, "b": 1}, 3)
        assert "skipped 3 of 8 image files: " in caplog.text
        assert len(load_dataset(DataConfig(source=str(folder), fits=FitsConfig(nan="median")))) == 8

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"hdu": 4}, "none of its 8 image files can be read; the first: "),
            ({"bands": (7,)}, "none of its 8 image files can be read; the first: "),
            ({}, "no image of class 'b' is left, as none of its 4 files can be read; the first: "),
        ],
    )
    def test_all_or_all_of_a_class_are_an_error(self, folder: Path, changes: dict[str, Any], line: str) -> None:
        (folder / "b" / "7.fits").write_bytes(b"nothing")
        with pytest.raises(DataError) as caught:
            load_dataset(DataConfig(source=str(folder), on_error="skip", fits=FitsConfig(**changes)))
        assert f"{folder}: {line}" in str(caught.value)


@pytest.mark.parametrize("shape", [(4,), (2, 4, 4), (4, 4, 3), (2, 3, 4, 4)])
def test_other_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    message = read_one_line_error(save(tmp_path / "x.fits", np.zeros(shape, np.float32)))
    assert (
        f"x.fits: its image has shape {(1, *shape) if len(shape) == 2 else shape}; expected (height, width)" in message
    )


def test_flat(tmp_path: Path) -> None:
    path = save(tmp_path / "x.fits", np.full((4, 4), 7.0))
    assert "black is 7 and white is 7; expected black < white, and" in read_one_line_error(path, FitsConfig())


def test_a_range_that_no_number_holds(tmp_path: Path) -> None:
    path = save(tmp_path / "x.fits", np.where(np.eye(8), 1e308, -1e308))
    assert "is 1e+308; expected black < white, and a finite difference" in read_one_line_error(path, FitsConfig())


def test_without_image(tmp_path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "x.fits")
    assert "x.fits: holds no image in its 1 HDUs" in read_one_line_error(tmp_path / "x.fits")


def test_a_packed_file_that_was_cut_before_its_image_asks_whether_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "x.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.arange(100, dtype=np.int32).reshape(10, 10))]).writeto(path)
    path.write_bytes(path.read_bytes()[:4000])
    assert read_one_line_error(path).endswith("; is the file complete?")


@pytest.mark.parametrize("size", [0, 100, 2880, 4000])
def test_truncated(tmp_path: Path, size: int) -> None:
    path = save(tmp_path / "x.fits", np.random.default_rng(0).normal(size=(40, 40)))
    path.write_bytes(path.read_bytes()[:size])
    assert "x.fits: cannot be read as FITS (" in read_one_line_error(path)


def test_another_kind_of_content(tmp_path: Path) -> None:
    (tmp_path / "x.fits").write_bytes(b"not a picture of the sky")
    assert "x.fits: cannot be read as FITS (" in read_one_line_error(tmp_path / "x.fits")
