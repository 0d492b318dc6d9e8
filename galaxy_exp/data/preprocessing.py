"""Preprocessing of every image before it is cached: stretch, crop, resize, greyscale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from galaxy_exp.config.data_section import DataConfig, FitsConfig
from galaxy_exp.data.image_arrays import allocate_images
from galaxy_exp.errors import DataError

__all__ = ["Preprocessing"]


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
        """Numbers, None and booleans by name; with FITS files also `fits`, a mapping like `data.fits`."""
        steps: dict[str, Any] = {"crop": self.crop, "resize": self.resize, "greyscale": self.greyscale}
        return steps if self.fits is None else {**steps, "fits": self.fits.record()}

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
        self.check_size(image.shape, name)
        if self.crop is not None:
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

    def check_size(self, shape: tuple[int, ...], name: str) -> None:
        """Raises `DataError` if an image of (height, width, ...) pixels is smaller than the crop."""
        if self.crop is not None and min(shape[:2]) < self.crop:
            raise DataError(
                f"{name}: is {shape[1]}x{shape[0]} pixels; expected at least {self.crop}x{self.crop} (data.crop)"
            )


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
