"""Reads one FITS image or cube as 8-bit red, green and blue, with the stretch of the sweep file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import FitsConfig
from galaxy_exp.errors import DataError, short_reason

__all__ = ["has_fits_name", "read_fits", "stretch_bands"]

_ENDINGS = tuple(f"{ending}{packed}" for ending in (".fits", ".fit", ".fts") for packed in ("", ".gz", ".bz2", ".fz"))


def has_fits_name(path: Path) -> bool:
    """Whether the name has an ending of FITS files."""
    return path.name.lower().endswith(_ENDINGS)


def read_fits(path: Path, config: FitsConfig) -> NDArray[np.uint8]:
    """Reads an image, or the planes of a cube that `config.bands` names, as uint8 (height, width, 3).

    The planes of a cube are its first axis, or its last one if that is at most half as long as each of the others. FITS
    counts rows from below and pictures from above, so rows are reversed and north stays up. Black and white are
    computed from the finite pixels, before the others are filled.

    Raises:
        DataError: one line that names the file: unreadable, truncated, no image, other dimensions, no such plane, NaN
            if `config.nan` refuses it, an image of one value.
    """
    image = _planes_first(_read_array(path, config.hdu))
    bands = _choose_bands(image.shape, config, path)
    planes = image[bands].astype(np.float64)
    finite = np.isfinite(planes)
    if not finite.any():
        raise DataError(f"{path}: all its pixels are NaN or infinite; expected numbers")
    black, white = _limits(planes[finite], config)
    if not black < white:
        raise DataError(f"{path}: black is {black:g} and white is {white:g}; expected black < white (data.fits)")
    if config.nan == "refuse" and not finite.all():
        raise DataError(f"{path}: {_describe_bad(finite, bands)}; expected numbers, or data.fits.nan: 0 or median")
    colours = stretch_bands((_fill(planes, finite, config.nan, path) - black) / (white - black), config)
    pixels = np.rint(colours * 255).astype(np.uint8)[:, ::-1]
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(pixels, (3, *pixels.shape[1:])), 0, -1))


def stretch_bands(scaled: NDArray[np.float64], config: FitsConfig) -> NDArray[np.float64]:
    """Maps black 0 and white 1 to 0..1, float64 (bands, height, width); `FitsConfig` has the formulas."""
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


def _read_array(path: Path, hdu: int | None) -> NDArray[Any]:
    import warnings

    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*truncated")  # astropy itself continues
            with fits.open(path, memmap=False, uint=False) as file:  # else BLANK of unsigned integers is ignored
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
        raise DataError(f"{path}: HDU {hdu} is not an image; images are in {list(images) or 'none'} (data.fits.hdu)")
    if not images:
        raise DataError(f"{path}: holds no image in its {len(file)} HDUs; expected (height, width) or three bands")
    return np.asarray(images[next(iter(images)) if hdu is None else hdu].data)


def _planes_first(image: NDArray[Any]) -> NDArray[Any]:
    """Makes (height, width) and (height, width, planes) (planes, height, width); other shapes are unchanged."""
    if image.ndim == 2:
        return image[np.newaxis]
    last = image.ndim == 3 and 2 * image.shape[2] <= min(image.shape[:2])
    return np.moveaxis(image, 2, 0) if last else image


def _choose_bands(shape: tuple[int, ...], config: FitsConfig, path: Path) -> list[int]:
    if len(shape) != 3 or (shape[0] not in (1, 3) and config.bands is None):
        raise DataError(
            f"{path}: its image has shape {shape}; expected (height, width), (1, height, width) or "
            "(3, height, width), planes last too, or other planes by number (data.fits.bands)"
        )
    bands = [2, 1, 0] if config.bands is None else list(config.bands)
    if shape[0] == 1 and len(bands) == 3 and max(bands) <= 2:  # grey images among coloured ones
        return [0]
    if max(bands) >= shape[0]:
        wanted = f"has no plane {max(bands)}, for which data.fits.bands asks"
        raise DataError(f"{path}: {wanted}; it has {shape[0]}, counted from 0")
    return bands


def _describe_bad(finite: NDArray[np.bool_], bands: list[int]) -> str:
    position, row, column = np.argwhere(~finite)[0].tolist()
    first = f"the first in band {bands[position]} at row {row}, column {column}"
    return f"{(~finite).sum()} pixels are NaN or infinite, {first}"


def _fill(planes: NDArray[np.float64], finite: NDArray[np.bool_], policy: str | int, path: Path) -> NDArray[np.float64]:
    """The planes (bands, height, width) with 0 or the median of the plane for each pixel that is not finite."""
    if policy == 0 or finite.all():
        return np.where(finite, planes, 0.0)
    if not finite.any(axis=(1, 2)).all():
        raise DataError(f"{path}: all pixels of a plane are NaN or infinite, so it has no median (data.fits.nan)")
    medians = [np.median(plane[known]) for plane, known in zip(planes, finite, strict=True)]
    return np.where(finite, planes, np.array(medians)[:, np.newaxis, np.newaxis])


def _limits(pixels: NDArray[np.float64], config: FitsConfig) -> tuple[float, float]:
    low, high = np.percentile(pixels, [config.black_percentile, config.white_percentile]).tolist()
    return (low if config.black is None else config.black, high if config.white is None else config.white)
