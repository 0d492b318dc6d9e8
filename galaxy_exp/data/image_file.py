"""Reading one picture file as 8-bit red, green, blue.

The rules, the same for training folders and for prediction: transparent pixels are laid over black (the
sky); greyscale is repeated in the three channels; 16-bit, 32-bit and floating-point greyscale is scaled
linearly from its own minimum and maximum to 0..255, because such files carry no agreed white point; the
orientation a camera wrote into EXIF is ignored, and of an animated or many-page file the first is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from galaxy_exp.data.reasons import short_reason
from galaxy_exp.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "is_image_file", "read_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings, in lower case, of the picture files that are read."""


def is_image_file(path: Path) -> bool:
    """Whether `path` is a file that ends like a picture and is not hidden (as macOS's `._x.png` is)."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads a PNG, JPEG or TIFF file as uint8 (height, width, 3), whatever its mode.

    Raises:
        DataError: the file is unreadable, truncated or too large; one line naming it.
    """
    try:
        with Image.open(path) as picture:
            return _to_rgb(picture)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a PNG, JPEG or TIFF file") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture that can be read; expected a PNG, JPEG or TIFF file") from None
    except Exception as error:  # noqa: BLE001  damaged files make Pillow's decoders raise almost anything
        raise DataError(f"{path}: cannot be read as a picture ({short_reason(error)})") from None


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
