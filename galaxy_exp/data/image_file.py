"""Reading one picture file as 8-bit red, green, blue.

The rules, the same for training folders and for prediction: transparent pixels are laid over black (the
sky); greyscale is repeated in the three channels; 16-bit, 32-bit and floating-point greyscale is scaled
linearly from its own minimum and maximum to 0..255, because such files carry no agreed white point; 16-bit
colours are cut to their upper 8 bits; the orientation a camera wrote into EXIF is ignored, and of an animated or
many-page file the first image is taken. The content decides how a file is read: a JPEG called .png is a JPEG.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from galaxy_exp.errors import DataError, short_reason

__all__ = ["has_picture_name", "picture_endings", "read_image"]

_NOT_PICTURES = frozenset({"FITS", "EPS", "MPEG"})
"""Formats that Pillow registers and that are read elsewhere, run another program (Ghostscript), or have no decoder."""
_EXPECTED = "expected PNG, JPEG or another format that Pillow reads"


@cache
def picture_endings() -> dict[str, str]:
    """Pillow's format by ending, in lower case, of every picture that this Pillow can read."""
    known = Image.registered_extensions()
    return {ending: format for ending, format in known.items() if format == "MPO" or _is_decoded(format)}


def has_picture_name(path: Path) -> bool:
    """Whether the ending is that of a picture."""
    return path.suffix.lower() in picture_endings()


def _is_decoded(format: str) -> bool:
    factory = Image.OPEN.get(format, (ImageFile.StubImageFile,))[0]
    stub = isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    return format not in _NOT_PICTURES and not stub


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads a picture as uint8 (height, width, 3), whatever its format and mode.

    Raises:
        DataError: the file is unreadable, truncated or too large; one line naming it.
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
    """Those that content is compared with, in Pillow's own order."""
    wanted = set(picture_endings().values())
    return tuple(format for format in Image.ID if format in wanted)


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith(("I", "F")):
        return _stretch_grey(np.asarray(picture))
    if "A" in picture.getbands() or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, (0, 0, 0, 255)), coloured)
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def _stretch_grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """(height, width) of any number type to uint8 (height, width, 3), minimum to 0 and maximum to 255."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("has NaN or infinite pixels")
    low, high = values.min(), values.max()
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return np.repeat(np.rint(scaled).astype(np.uint8)[..., None], 3, axis=2)
