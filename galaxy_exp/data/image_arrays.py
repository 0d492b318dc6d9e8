"""Arrays of images that may be larger than memory: allocating, reading in pieces, checking.

`Preprocessing` is what is done to every image before it is cached: stretch, crop, resize, greyscale.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from galaxy_exp.config.data_section import MIN_SIDE, DataConfig, FitsConfig
from galaxy_exp.errors import DataError

__all__ = [
    "CHUNK_BYTES",
    "IN_MEMORY_BYTES",
    "Preprocessing",
    "allocate_images",
    "as_image_array",
    "check_images",
    "digest_each",
    "iter_slices",
    "take_images",
]

CHUNK_BYTES = 16 * 2**20
"""Size of the pieces in which image arrays are read, so that a memory-mapped file never has to fit in memory."""

IN_MEMORY_BYTES = 256 * 2**20
"""Larger new arrays are stored in a temporary file."""


def allocate_images(shape: tuple[int, ...]) -> NDArray[Any]:
    """A writable uint8 array: in memory or, above `IN_MEMORY_BYTES`, mapped from a nameless temporary file ($TMPDIR).

    Pages of the file leave memory when something else needs it; the file is deleted with the array.

    Raises:
        DataError: the disk is full.
    """
    n_bytes = int(np.prod(shape))
    if n_bytes <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="galaxy_exp.") as file:
        _reserve(file.fileno(), n_bytes)
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Takes the space on the disk, if the file system can: writing to a map of a full disk kills the process."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            room = f"no room for {n_bytes / 2**30:.1f} GiB of images ({error.strerror})"
            raise DataError(
                f"{tempfile.gettempdir()}: {room}; expected TMPDIR to name a folder on a larger disk"
            ) from None


def iter_slices(images: NDArray[Any], n: int | None = None) -> Iterator[slice]:
    """Yields consecutive slices along the first axis, each of about `CHUNK_BYTES` and at least one image.

    They divide `n` images of the size of the first one; by default, all of them.
    """
    n = len(images) if n is None else n
    step = max(1, CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def take_images(images: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """`images[indices]`, copied in pieces; the images themselves if that is all of them, in order."""
    if len(indices) == len(images):
        return images
    result = allocate_images((len(indices), *images.shape[1:]))
    for piece in iter_slices(result):
        result[piece] = images[indices[piece]]
    return result


def digest_each(images: NDArray[np.uint8]) -> list[bytes]:
    """16 bytes for each image (BLAKE2b of its pixels), the same for identical images alone."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]


def as_image_array(images: Any, source: str) -> NDArray[Any]:
    """Images from Python as one array of any type and shape; a memory map stays one.

    Raises:
        DataError: they are of different shapes, or pixels are masked.
    """
    try:
        array: NDArray[Any] = np.asanyarray(images)
    except ValueError:
        raise DataError(
            f"{source}: 'images' are of different shapes; expected one uint8 array of shape (n, height, width, 3)"
        ) from None
    if np.ma.is_masked(array):
        raise DataError(f"{source}: 'images' has masked pixels; expected a value in each, such as images.filled(0)")
    return array


def check_images(images: NDArray[Any], source: str) -> None:
    """Raises `DataError` unless `images` is uint8 (n, height, width, 3) with n >= 1."""
    expected = "expected uint8 of shape (n, height, width, 3)"
    if images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"{source}: 'images' has shape {images.shape}; {expected}{_way_to_colours(images.shape)}")
    if len(images) == 0:
        raise DataError(f"{source}: 'images' holds none; {expected}, n >= 1")
    if min(images.shape[1:3]) < MIN_SIDE:
        raise DataError(f"{source}: 'images' has shape {images.shape}; expected sides of at least {MIN_SIDE} pixels")
    if images.dtype != np.uint8:
        raise DataError(f"{source}: 'images' is {_describe_values(images)}; {expected}, values 0 to 255")


def _way_to_colours(shape: tuple[int, ...]) -> str:
    """The end of a message: how NumPy makes such images of grey ones, or of those whose colours come first."""
    if len(shape) == 3 and shape[-1] != 3:
        return "; for grey images: numpy.stack([images] * 3, axis=-1)"
    if len(shape) == 4 and shape[-1] == 1:
        return "; for grey images: numpy.repeat(images, 3, axis=-1)"
    return "; for colours first: numpy.moveaxis(images, 1, -1)" if len(shape) == 4 and shape[1] == 3 else ""


def _describe_values(images: NDArray[Any]) -> str:
    """`float32 with NaN or infinity at index 3`, `float32 from 0 to 1`, or only the dtype."""
    if not np.issubdtype(images.dtype, np.number) or np.iscomplexobj(images):
        return str(images.dtype)
    bad = ~np.isfinite(images).all(axis=(1, 2, 3))
    if bad.any():
        return f"{images.dtype} with NaN or infinity at index {int(bad.argmax())}"
    return f"{images.dtype} from {images.min():g} to {images.max():g}"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The steps in their order, none by default. Raw images need the same steps before prediction."""

    crop: int | None = None
    """Side in pixels of the centre crop; an odd remainder is cut at the right and at the bottom."""
    resize: int | None = None
    """Side in pixels after resizing: centre crop to a square, then Pillow's bilinear filter, whose support grows with
    the reduction, so that nothing aliases. A registered model follows the same rule."""
    greyscale: bool = False
    """Whether each channel becomes the mean of the three, rounded to the nearest, halves up."""
    fits: FitsConfig | None = None
    """Stretch of FITS files while they were read, before the other steps; None without FITS files."""
    raw_side: int | None = field(default=None, compare=False)
    """Side in pixels of the smallest image after the crop, if it was enlarged; a fact of the images, not a step."""

    @classmethod
    def from_config(cls, config: DataConfig) -> Preprocessing:
        """The steps that the `data` section of a sweep file asks for, without the stretch of FITS files."""
        return cls(config.crop, config.resize, config.greyscale)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`."""
        fits = record.get("fits")
        return cls(**{**record, "fits": None if fits is None else FitsConfig.model_validate(fits)})

    def to_dict(self) -> dict[str, Any]:
        """The steps, and `raw_side` if it is known."""
        return self.steps() if self.raw_side is None else {**self.steps(), "raw_side": self.raw_side}

    def steps(self) -> dict[str, Any]:
        """Numbers, None and booleans by name; with FITS files also `fits`, a mapping like `data.fits`."""
        steps: dict[str, Any] = {"crop": self.crop, "resize": self.resize, "greyscale": self.greyscale}
        return steps if self.fits is None else {**steps, "fits": self.fits.record()}

    def with_raw_side(self, side: int) -> Preprocessing:
        """The same steps and `raw_side`, by the shortest side of all raw images."""
        side = min(side, self.crop or side)
        return replace(self, raw_side=side if self.resize is not None and side < self.resize else None)

    def describe(self) -> list[str]:
        """The steps that are taken, as in ["FITS stretch asinh", "crop 207", "resize 69", "greyscale"]."""
        steps = {"FITS stretch": self.fits and self.fits.stretch, "crop": self.crop, "resize": self.resize}
        named = [f"{name} {value}" for name, value in steps.items() if value]
        return [*named, "greyscale"] if self.greyscale else named

    def apply(self, image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """Crop, resize and greyscale; uint8 (height, width, 3) in and out.

        Raises:
            DataError: the image is smaller than the crop; the message begins with `name`.
        """
        if self.crop is not None:
            height, width = image.shape[:2]
            if min(height, width) < self.crop:
                wanted = f"expected at least {self.crop}x{self.crop} (data.crop)"
                raise DataError(f"{name}: is {width}x{height} pixels; {wanted}")
            image = _crop_centre(image, self.crop)
        if self.resize is not None:
            image = _resize(_crop_centre(image, min(image.shape[:2])), self.resize)
        return _to_grey(image) if self.greyscale else image

    def apply_to_all(self, images: NDArray[np.uint8], source: str) -> NDArray[np.uint8]:
        """uint8 (n, height, width, 3) in and out; large results are stored on disk (see `allocate_images`)."""
        if self == Preprocessing() or not len(images):
            return images
        first = self.apply(images[0], source)
        results = allocate_images((len(images), *first.shape))
        for index, image in enumerate(images):
            results[index] = self.apply(image, source)
        return results


def _crop_centre(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _resize(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (side, side):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def _to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    mean = (image.sum(axis=2, dtype=np.uint16) * 2 + 3) // 6
    return np.repeat(mean.astype(np.uint8)[..., None], 3, axis=2)
