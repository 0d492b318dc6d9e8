"""Reads one picture file as 8-bit red, green and blue.

The rules are the same for training and for prediction. Transparent pixels are drawn over black, as the sky is.
Greyscale is repeated in the three channels. Greyscale of 16 bit, 32 bit or floating point is scaled linearly from its
minimum and maximum to 0..255, because such files have no common white point. Colours of 16 bit keep their upper 8 bits.
The EXIF orientation is ignored. Files of several images give the first one. The format is that of the content: a JPEG
file called .png is read as JPEG.
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
"""Formats of Pillow that are read by `fits_file`, run another program (Ghostscript), or have no decoder."""
_EXPECTED = "expected PNG, JPEG or another format that Pillow reads"


@cache
def picture_endings() -> dict[str, str]:
    """Pillow's format by lower-case ending, of the formats that this Pillow can read."""
    known = Image.registered_extensions()
    return {ending: format for ending, format in known.items() if format == "MPO" or _is_decoded(format)}


def has_picture_name(path: Path) -> bool:
    """Whether the name has an ending of pictures."""
    return path.suffix.lower() in picture_endings()


def _is_decoded(format: str) -> bool:
    factory = Image.OPEN.get(format, (ImageFile.StubImageFile,))[0]
    stub = isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    return format not in _NOT_PICTURES and not stub


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
    if picture.mode.startswith(("I", "F")):
        return _stretch_grey(np.asarray(picture))
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
