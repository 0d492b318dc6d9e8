"""Augmentation layers on raw images, active in training only.

Keras's own interpolate for every step of a chain (rotation, then shift, then zoom), and flip by computing all variants
of every image. Here a flip or quarter turn is a permutation of pixels, and everything else one affine map.

Every layer keeps its own `keras.random.SeedGenerator`, draws anew for each image, and takes (batch, height, width,
channels). Their dtype policy is always float32: raw values must not be rounded to bfloat16's 8 bits on the way.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

__all__ = [
    "AugmentationLayer",
    "PickOrientation",
    "RandomAffine",
    "RandomDihedral",
    "RandomFlips",
    "RandomSymmetry",
    "symmetry_table",
]


def symmetry_table(height: int, width: int, transpose: bool) -> NDArray[np.int32]:
    """The flips (and with `transpose` on a square image, quarter turns) of an image as pixel permutations.

    Returns:
        int32 (n, height * width) with n = 8 with transpositions of a square image, else 4; row k lists, for each
        pixel of the k-th variant, the flat index of the pixel of the original that goes there. Row 0 is identity.
    """
    pixels = np.arange(height * width, dtype=np.int32).reshape(height, width)
    bases = [pixels, pixels.T] if transpose and height == width else [pixels]
    variants = [base[::rows, ::columns] for base in bases for rows in (1, -1) for columns in (1, -1)]
    return np.stack([variant.reshape(-1) for variant in variants])


class AugmentationLayer(keras.layers.Layer):  # type: ignore[misc]
    """Base of the layers that change images in training and that an exported model leaves out.

    Without a seed, its random numbers follow from that of `keras.utils.set_random_seed`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs, autocast=False)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}


class RandomSymmetry(AugmentationLayer):
    """Applies one pixel permutation per image, drawn uniformly; any dtype in, the same dtype out."""

    transposes = False

    def draw(self, n_images: Any, n_variants: int) -> Any:
        """One variant for each image, whole numbers (n,)."""
        return keras.random.randint((n_images,), 0, n_variants, seed=self.generator)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Prepares the permutations for images of this size."""
        height, width = _fixed_size(self.name, input_shape)
        self._table = symmetry_table(height, width, self.transposes)
        self.built = True

    def compute_output_spec(self, images: Any, training: bool = False) -> Any:
        """Shape and dtype of the input."""
        return keras.KerasTensor(images.shape, dtype=images.dtype)

    def call(self, images: Any, training: bool = False) -> Any:
        """Images (n, height, width, channels) of any dtype to the same, each in one of its symmetric variants."""
        if not training:
            return images
        n_images, n_pixels = ops.shape(images)[0], self._table.shape[1]
        chosen = self.draw(n_images, len(self._table))
        first = ops.expand_dims(ops.arange(n_images, dtype="int32") * n_pixels, 1)
        pixels = ops.take(ops.convert_to_tensor(self._table), chosen, axis=0) + first
        flat = ops.reshape(images, (-1, images.shape[-1]))
        return ops.reshape(ops.take(flat, pixels, axis=0), (-1, *images.shape[1:]))


@keras.saving.register_keras_serializable("galaxy_exp")
class RandomFlips(RandomSymmetry):
    """Mirrors each image left-right and top-bottom, each with probability one half; exact."""


@keras.saving.register_keras_serializable("galaxy_exp")
class RandomDihedral(RandomSymmetry):
    """Puts each image into one of its 8 flips and quarter turns, all equally likely; exact.

    Images that are not square have no quarter turns and get one of their 4 flips.
    """

    transposes = True


class PickOrientation(keras.layers.Layer):  # type: ignore[misc]
    """Of features of an image's flips and quarter turns, those of one: in training as `source` draws for images.

    Else, and without a `source`, they are those of the image itself.
    """

    def __init__(self, source: RandomSymmetry | None, **kwargs: Any) -> None:
        super().__init__(**kwargs, autocast=False)
        self.source = source

    def compute_output_spec(self, features: Any, training: bool = False) -> Any:
        """Without the second axis."""
        return keras.KerasTensor((features.shape[0], *features.shape[2:]), dtype=features.dtype)

    def call(self, features: Any, training: bool = False) -> Any:
        """(n, orientations, ...), in the order of `symmetry_table`, to (n, ...) of the same dtype."""
        if not training or self.source is None:
            return features[:, 0]
        n_images, n_variants = ops.shape(features)[0], ops.shape(features)[1]
        chosen = self.source.draw(n_images, n_variants)
        flat = ops.reshape(features, (-1, *features.shape[2:]))
        return ops.take(flat, ops.arange(n_images, dtype="int32") * n_variants + chosen, axis=0)


@keras.saving.register_keras_serializable("galaxy_exp")
class RandomAffine(AugmentationLayer):
    """Mirrors, turns by any angle, shifts and zooms each image, in one bilinear interpolation.

    Args:
        shift: largest shift along each axis, as a fraction of the image's size.
        zoom: largest relative change of scale, so the scale is uniform in 1 - zoom .. 1 + zoom.
        fill: what is outside the image: "constant" (0, the sky of an image with subtracted background),
            "reflect" or "nearest".

    The defaults stay within what centring and Petrosian radius leave uncertain for Galaxy10's cut-outs.
    """

    def __init__(self, shift: float = 0.06, zoom: float = 0.1, fill: str = "reflect", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shift = shift
        self.zoom = zoom
        self.fill = fill

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Stores the size of the images."""
        self._size = _fixed_size(self.name, input_shape)
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Images (n, height, width, channels) of any dtype to float32 of the same shape and range of values."""
        images = ops.cast(images, "float32")
        if not training:
            return images
        transforms = self._random_transforms(ops.shape(images)[0])
        return ops.image.affine_transform(
            images, transforms, interpolation="bilinear", fill_mode=self.fill, data_format="channels_last"
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "shift": self.shift, "zoom": self.zoom, "fill": self.fill}

    def _uniform(self, n_images: Any, low: float, high: float) -> Any:
        return keras.random.uniform((n_images,), low, high, seed=self.generator)

    def _random_transforms(self, n_images: Any) -> Any:
        """Maps from output to input pixels, (n, 8) in the layout of `keras.ops.image.affine_transform`."""
        height, width = self._size
        angle = self._uniform(n_images, 0.0, 2.0 * math.pi)
        scale = self._uniform(n_images, 1.0 - self.zoom, 1.0 + self.zoom)
        mirror = ops.where(self._uniform(n_images, 0.0, 1.0) < 0.5, -1.0, 1.0)
        cosine, sine = ops.cos(angle) * scale, ops.sin(angle) * scale
        across, down = (width - 1) / 2.0, (height - 1) / 2.0
        x_shift = across + self._uniform(n_images, -self.shift * width, self.shift * width)
        y_shift = down + self._uniform(n_images, -self.shift * height, self.shift * height)
        a, b, c, d = cosine * mirror, -sine, sine * mirror, cosine
        zero = ops.zeros_like(a)
        x_offset = x_shift - a * across - b * down
        y_offset = y_shift - c * across - d * down
        return ops.stack([a, b, x_offset, c, d, y_offset, zero, zero], axis=1)


def _fixed_size(name: str, shape: tuple[int | None, ...]) -> tuple[int, int]:
    height, width = shape[1], shape[2]
    if height is None or width is None:
        raise ValueError(f"{name} needs images of a fixed size; found shape {shape}")
    return height, width
