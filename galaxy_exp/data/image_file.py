"""Reads picture and FITS files as 8-bit red, green and blue: one, or many of one size.

The rules are the same for training and for prediction. FITS files have the stretch of the sweep file. Transparent
pixels are drawn over black, as the sky is. Greyscale is repeated in the three channels. Greyscale of 16 bit, 32 bit or
floating point, or of signed numbers, is scaled linearly from its minimum and maximum to 0..255, because such files have
no common white point.
Colours of 16 bit keep their upper 8 bits, and are refused if these are all 0. The EXIF orientation is ignored. Files of
several images give the first one. The format is that of the content: a JPEG file called .png is read as JPEG.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT

from galaxy_exp.config.data_section import MIN_SIDE, DataConfig, FitsConfig
from galaxy_exp.data.image_arrays import Preprocessing, allocate_images
from galaxy_exp.errors import DataError, short_reason

__all__ = [
    "FileStack",
    "has_fits_name",
    "has_image_name",
    "picture_endings",
    "read_file",
    "read_files",
    "read_fits",
    "read_image",
    "stretch_bands",
]

_NOT_PICTURES = frozenset({"FITS", "EPS", "MPEG"})
"""Formats of Pillow that are read by `read_fits`, run another program (Ghostscript), or have no decoder."""
_EXPECTED = "expected PNG, JPEG or another format that Pillow reads"


@cache
def picture_endings() -> dict[str, str]:
    """Pillow's format by lower-case ending, of the formats that this Pillow can read."""
    known = Image.registered_extensions()
    return {ending: format for ending, format in known.items() if format == "MPO" or _is_decoded(format)}


def _is_decoded(format: str) -> bool:
    factory = Image.OPEN.get(format, (ImageFile.StubImageFile,))[0]
    stub = isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    return format not in _NOT_PICTURES and not stub


def has_image_name(path: Path) -> bool:
    """Whether the name has an ending of pictures or FITS."""
    return path.suffix.lower() in picture_endings() or has_fits_name(path)


def read_file(path: Path, fits: FitsConfig) -> NDArray[np.uint8]:
    """`read_fits` or `read_image`, by the ending of the name."""
    return read_fits(path, fits) if has_fits_name(path) else read_image(path)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads a picture of any format and mode as uint8 (height, width, 3).

    Raises:
        DataError: one line that names a file which is unreadable, truncated or too large.
    """
    try:
        with Image.open(path, formats=_formats()) as picture:
            return _to_rgb(picture)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {_EXPECTED}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture that can be read; {_EXPECTED}") from None
    except Exception as error:  # noqa: BLE001  damaged files make Pillow's decoders raise almost anything
        raise DataError(f"{path}: cannot be read as a picture ({short_reason(error)})") from None


@cache
def _formats() -> tuple[str, ...]:
    wanted = set(picture_endings().values())
    return tuple(format for format in Image.ID if format in wanted)


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    tags = getattr(picture, "tag_v2", {})
    number_type = tags.get(SAMPLEFORMAT, (1,))[0] if tags else None
    if picture.mode.startswith(("I", "F")) or number_type == 2:
        values = np.asarray(picture)
        if picture.mode == "I" and number_type == 1:  # Pillow reads unsigned numbers as signed ones, and the reverse
            values = values.view(np.uint32)
        elif picture.mode == "L":
            values = values.view(np.int8)
        white_is_zero = tags.get(PHOTOMETRIC_INTERPRETATION) == 0  # which Pillow heeds in 8 bits only
        return _stretch_grey(-values.astype(np.float64) if white_is_zero else values)
    if picture.format == "PNG" and any(tile.args == "LA;16B" for tile in getattr(picture, "tile", ())):
        raise ValueError("is 16-bit greyscale with transparency, of which Pillow reads 8 bits; save it without")
    is_wide = any(";16" in str(tile.args) for tile in getattr(picture, "tile", ()))
    if is_wide and picture.convert("RGB").getbbox() is None:
        raise ValueError("has colours of 16 bit whose upper 8 bits are all 0; scale them to 65535, or save 8 bits")
    if "A" in picture.getbands() or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, (0, 0, 0, 255)), coloured)
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def _stretch_grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scales (height, width) of any number type from its minimum and maximum to uint8 (height, width, 3)."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("has NaN or infinite pixels")
    low, high = values.min(), values.max()
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return np.repeat(np.rint(scaled).astype(np.uint8)[..., None], 3, axis=2)


_ENDINGS = tuple(f"{ending}{packed}" for ending in (".fits", ".fit", ".fts") for packed in ("", ".gz", ".bz2", ".fz"))


def has_fits_name(path: Path) -> bool:
    """Whether the name has an ending of FITS files."""
    return path.name.lower().endswith(_ENDINGS)


def read_fits(path: Path, config: FitsConfig) -> NDArray[np.uint8]:
    """Reads an image, the planes of a cube that `config.bands` names, or several HDUs, as uint8 (height, width, 3).

    The planes of a cube are its first axis, or its last one if that is at most half as long as each of the others; more
    axes before them may have length 1. FITS counts rows from below and pictures from above, so rows are reversed and
    north stays up. Black and white are computed from the finite pixels, before the others are filled.

    Raises:
        DataError: one line that names the file: unreadable, truncated, no image, other dimensions, no such plane, NaN
            if `config.nan` refuses it, an image of one value.
    """
    image = _planes_first(_read_array(path, config.hdu))
    bands = [*range(len(image))] if isinstance(config.hdu, tuple) else _choose_bands(image.shape, config, path)
    planes = image[bands].astype(np.float64)
    finite = np.isfinite(planes)
    if not finite.any():
        raise DataError(f"{path}: all its pixels are NaN or infinite; expected numbers")
    black, white = _limits(planes[finite], config)
    if not 0 < white - black < math.inf:
        found = f"black is {black:g} and white is {white:g}"
        raise DataError(f"{path}: {found}; expected black < white, and a finite difference (data.fits)")
    if config.nan == "refuse" and not finite.all():
        position, row, column = np.argwhere(~finite)[0].tolist()
        bad = f"{(~finite).sum()} pixels are NaN or infinite"
        raise DataError(
            f"{path}: {bad}, the first in band {bands[position]} at row {row}, column {column}; expected numbers, or "
            "data.fits.nan: 0 or median"
        )
    colours = stretch_bands((_fill(planes, finite, config.nan, path) - black) / (white - black), config)
    pixels = np.rint(colours * 255).astype(np.uint8)[:, ::-1]
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(pixels, (3, *pixels.shape[1:])), 0, -1))


def stretch_bands(scaled: NDArray[np.float64], config: FitsConfig) -> NDArray[np.float64]:
    """Maps black 0 and white 1 to 0..1, float64 (bands, height, width); `FitsConfig` has the formulas."""
    softening = config.softening
    if config.stretch != "lupton":
        x = np.clip(scaled, 0.0, 1.0)
        if config.stretch == "asinh":
            return np.asarray(np.arcsinh(softening * x) / np.arcsinh(softening))
        return np.sqrt(x) if config.stretch == "sqrt" else x
    x = np.maximum(scaled, 0.0)
    intensity = x.mean(axis=0)
    bright = np.arcsinh(softening * intensity) / np.arcsinh(softening)
    colours = x * np.divide(bright, intensity, out=np.zeros_like(bright), where=intensity > 0)
    return np.asarray(colours / np.maximum(colours.max(axis=0), 1.0))


def _read_array(path: Path, hdu: int | tuple[int, ...] | None) -> NDArray[Any]:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*truncated")  # astropy itself continues
            with fits.open(path, memmap=False, uint=False) as file:  # else BLANK of unsigned integers is ignored
                if not isinstance(hdu, tuple):
                    return _find_image(file, hdu, path)
                return _stack_images([_find_image(file, each, path) for each in hdu], hdu, path)
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
        raise DataError(
            f"{path}: holds no image in its {len(file)} HDUs; expected (height, width) or three bands; is the file "
            "complete?"
        )
    return np.asarray(images[next(iter(images)) if hdu is None else hdu].data)


def _note_more_images(path: Path) -> None:
    """Logs a line if the file has images in several HDUs."""
    from astropy.io import fits

    with warnings.catch_warnings(), fits.open(path) as file:
        warnings.simplefilter("ignore")
        found = [index for index, entry in enumerate(file) if entry.is_image and entry.header.get("NAXIS")]
    if len(found) > 1:
        _LOG.warning("%s: has images in HDUs %s; the first is used (data.fits.hdu)", path, found)


def _stack_images(images: Sequence[NDArray[Any]], hdus: tuple[int, ...], path: Path) -> NDArray[Any]:
    planes = [image.reshape(image.shape[-2:]) if image.size == np.prod(image.shape[-2:]) else image for image in images]
    shapes = [plane.shape for plane in planes]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        found = f"HDUs {list(hdus)} have images of shapes {', '.join(map(str, shapes))}"
        raise DataError(f"{path}: {found}; expected one shape, (height, width) (data.fits.hdu)")
    return np.stack(planes)


def _planes_first(image: NDArray[Any]) -> NDArray[Any]:
    """Makes (height, width) and (height, width, planes) (planes, height, width); other shapes are unchanged."""
    while image.ndim > 3 and image.shape[0] == 1:  # as of radio images: stokes, frequency
        image = image[0]
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


_MAX_LISTED = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class FileStack:
    """The images that could be read."""

    images: NDArray[Any]
    """uint8 (n, height, width, 3), preprocessed."""
    kept: NDArray[np.int64]
    """Index of the file of each image, int64 (n,)."""
    skipped: tuple[str, ...]
    """One line for each other file, beginning with its name."""
    preprocessing: Preprocessing
    """Steps that were applied, with the stretch if any file was FITS."""


def read_files(files: Sequence[Path], config: DataConfig, source: str, classes: Sequence[str]) -> FileStack:
    """Reads and preprocesses pictures and FITS files, each of the class of the same place in `classes`.

    With `on_error: skip`, unreadable files are skipped and logged in one warning; a file of another size is always an
    error.

    Raises:
        DataError: names a file that is unreadable, smaller than `data.crop`, or of another size than the first; or a
            class without readable files.
    """
    preprocessing = Preprocessing.from_config(config)
    kept: list[int] = []
    failed: dict[int, str] = {}
    images: NDArray[Any] | None = None
    sides: set[int] = set()
    for index, path in enumerate(files):
        try:
            raw = read_file(path, config.fits)
        except DataError as error:
            if config.on_error == "fail":
                raise
            failed[index] = str(error)
            continue
        image = preprocessing.apply(raw, str(path))
        images = allocate_images((len(files), *image.shape)) if images is None else images
        _check_shape(path, image, files[kept[0]] if kept else path, images.shape[1:])
        images[len(kept)] = image
        kept.append(index)
        sides.update(raw.shape[:2])
    skipped = tuple(failed.values())
    if images is None:
        raise DataError(f"{source}: none of its {len(files)} image files can be read; the first: {skipped[0]}")
    _check_classes_kept(classes, kept, failed, source)
    if skipped:
        more = f"; and {len(skipped) - _MAX_LISTED} more" if len(skipped) > _MAX_LISTED else ""
        listed = "; ".join(skipped[:_MAX_LISTED])
        _LOG.warning("%s: skipped %d of %d image files: %s%s", source, len(skipped), len(files), listed, more)
    of_fits = [files[index] for index in kept if has_fits_name(files[index])]
    if of_fits:
        if config.fits.hdu is None:
            _note_more_images(of_fits[0])
        preprocessing = replace(preprocessing, fits=config.fits)
    preprocessing = preprocessing.with_raw_side(min(sides))
    return FileStack(images[: len(kept)], np.array(kept, dtype=np.int64), skipped, preprocessing)


def _check_shape(path: Path, image: NDArray[np.uint8], first: Path, expected: tuple[int, ...]) -> None:
    if min(image.shape[:2]) < MIN_SIDE:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise DataError(f"{path}: is {size} pixels; expected sides of at least {MIN_SIDE} pixels")
    if image.shape != expected:
        raise DataError(
            f"{path}: is {image.shape[1]}x{image.shape[0]} pixels; expected {expected[1]}x{expected[0]}, as {first} "
            "(data.resize brings images to one size)"
        )


def _check_classes_kept(classes: Sequence[str], kept: Sequence[int], failed: Mapping[int, str], source: str) -> None:
    left = {classes[index] for index in kept}
    for index, reason in failed.items():
        if (lost := classes[index]) not in left:
            files = f"none of its {classes.count(lost)} files can be read"
            raise DataError(f"{source}: no image of class {lost!r} is left, as {files}; the first: {reason}")
