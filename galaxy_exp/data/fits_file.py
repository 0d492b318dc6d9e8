"""Reading one FITS cutout of one or three bands as 8-bit red, green, blue, by the stretch stated in the sweep file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_formats import FitsConfig
from galaxy_exp.data.reasons import short_reason
from galaxy_exp.errors import DataError

__all__ = ["FITS_SUFFIXES", "has_fits_name", "is_fits_file", "read_fits", "stretch_bands"]

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz")


def has_fits_name(path: Path) -> bool:
    """Whether `path` ends like FITS."""
    return path.name.lower().endswith(FITS_SUFFIXES)


def is_fits_file(path: Path) -> bool:
    """Whether `path` is a file that ends like FITS and is not hidden."""
    return has_fits_name(path) and not path.name.startswith(".") and path.is_file()


def read_fits(path: Path, config: FitsConfig) -> NDArray[np.uint8]:
    """Reads an image of (height, width), (1, height, width) or (3, height, width) as uint8 (height, width, 3).

    FITS counts rows from below, pictures from above: rows are turned round, so that north stays up.

    Raises:
        DataError: one line naming the file: unreadable, truncated, no image, other dimensions, NaN, a flat image.
    """
    planes = _check_planes(_read_planes(path, config.hdu), path)
    if len(planes) == 3:
        planes = planes[list(config.bands)]
    black, white = _limits(planes, config)
    if not black < white:
        raise DataError(f"{path}: black is {black:g} and white is {white:g}; expected black < white (data.fits)")
    colours = stretch_bands((planes - black) / (white - black), config)
    pixels = np.rint(colours * 255).astype(np.uint8)[:, ::-1]
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(pixels, (3, *pixels.shape[1:])), 0, -1))


def stretch_bands(scaled: NDArray[np.float64], config: FitsConfig) -> NDArray[np.float64]:
    """Black 0 and white 1 in, 0..1 out; both (bands, height, width). See `FitsConfig` for the formulas."""
    if config.stretch == "lupton":
        return _stretch_lupton(np.maximum(scaled, 0.0), config.softening)
    x = np.clip(scaled, 0.0, 1.0)
    if config.stretch == "asinh":
        return np.asarray(np.arcsinh(config.softening * x) / np.arcsinh(config.softening))
    return np.sqrt(x) if config.stretch == "sqrt" else x


def _stretch_lupton(x: NDArray[np.float64], softening: float) -> NDArray[np.float64]:
    intensity = x.mean(axis=0)
    bright = np.arcsinh(softening * intensity) / np.arcsinh(softening)
    colours = x * np.divide(bright, intensity, out=np.zeros_like(bright), where=intensity > 0)
    return np.asarray(colours / np.maximum(colours.max(axis=0), 1.0))


def _read_planes(path: Path, hdu: int | None) -> NDArray[Any]:
    import warnings

    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*truncated")  # astropy itself goes on
            with fits.open(path, memmap=False) as file:
                return _find_image(file, hdu, path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a FITS file") from None
    except Exception as error:  # noqa: BLE001  damaged files make astropy raise almost anything
        raise DataError(f"{path}: cannot be read as FITS ({short_reason(error)})") from None


def _find_image(file: Any, hdu: int | None, path: Path) -> NDArray[Any]:
    images = {index: entry for index, entry in enumerate(file) if entry.is_image and entry.header.get("NAXIS")}
    if hdu is not None and hdu not in images:
        raise DataError(f"{path}: HDU {hdu} is no image; images are in {list(images) or 'none'} (data.fits.hdu)")
    if not images:
        raise DataError(f"{path}: holds no image in its {len(file)} HDUs; expected (height, width) or three bands")
    return np.asarray(images[next(iter(images)) if hdu is None else hdu].data)


def _check_planes(planes: NDArray[Any], path: Path) -> NDArray[np.float64]:
    """float64 (1 or 3, height, width)."""
    expected = "expected (height, width), (1, height, width) or (3, height, width)"
    if planes.ndim == 2:
        planes = planes[np.newaxis]
    if planes.ndim != 3 or len(planes) not in (1, 3):
        raise DataError(f"{path}: its image has shape {planes.shape}; {expected}")
    planes = planes.astype(np.float64)
    bad = np.argwhere(~np.isfinite(planes))
    if len(bad):
        band, row, column = bad[0].tolist()
        raise DataError(
            f"{path}: {len(bad)} pixels are NaN or infinite, the first in band {band} at row {row}, column {column}; "
            "expected numbers"
        )
    return planes


def _limits(planes: NDArray[np.float64], config: FitsConfig) -> tuple[float, float]:
    low, high = np.percentile(planes, [config.black_percentile, config.white_percentile]).tolist()
    return (low if config.black is None else config.black, high if config.white is None else config.white)
