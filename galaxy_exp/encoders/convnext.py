"""ConvNeXt as Keras layers, with the names and the numbers of timm's implementation.

Liu et al. 2022 (arXiv:2201.03545), the variants with a stem of 4 x 4 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from galaxy_exp.encoders.torch_layers import TorchLayers

__all__ = ["CONVNEXTS", "ConvNeXt"]


@dataclass(frozen=True, slots=True)
class ConvNeXt:
    """One variant."""

    depths: tuple[int, int, int, int]
    """Blocks of each stage."""
    width: int
    """Channels of the first stage; each later one has twice as many."""
    image_size: int = 224
    """Side of the images that it was published for."""

    def build(self, layers: TorchLayers, x: Any) -> tuple[Any, Any]:
        """From scaled images to a map (n, height / 32, width / 32, 8 * width), and to features (n, 8 * width).

        The features are the map's average, normalised over channels, as timm's networks without classes give them.
        """
        x = layers.convolution(x, "stem.0", self.width, 4, 4, padding="valid", bias=True)
        x = layers.layer_norm(x, "stem.1")
        for stage, depth in enumerate(self.depths):
            if stage > 0:
                x = layers.layer_norm(x, f"stages.{stage}.downsample.0")
                x = layers.convolution(
                    x, f"stages.{stage}.downsample.1", self.width * 2**stage, 2, 2, padding="valid", bias=True
                )
            for block in range(depth):
                x = _block(layers, x, f"stages.{stage}.blocks.{block}")
        average = keras.layers.GlobalAveragePooling2D(name="average")(x)
        return x, layers.layer_norm(average, "head.norm")


def _block(layers: TorchLayers, x: Any, name: str) -> Any:
    """Layer scale (`gamma`) is part of the last layer's weights."""
    n_channels = x.shape[-1]
    y = layers.depthwise(x, f"{name}.conv_dw", 7, padding="same", bias=True)
    y = layers.layer_norm(y, f"{name}.norm")
    y = layers.dense(y, f"{name}.mlp.fc1", 4 * n_channels)
    y = keras.layers.Activation("gelu")(y)
    y = layers.dense(y, f"{name}.mlp.fc2", n_channels, scale=f"{name}.gamma")
    return keras.layers.Add()([x, y])


CONVNEXTS: Mapping[str, ConvNeXt] = {
    "convnext_pico": ConvNeXt((2, 2, 6, 2), 64),
    "convnext_nano": ConvNeXt((2, 2, 8, 2), 80),
    "convnext_tiny": ConvNeXt((3, 3, 9, 3), 96),
    "convnext_small": ConvNeXt((3, 3, 27, 3), 96),
    "convnext_base": ConvNeXt((3, 3, 27, 3), 128),
    "convnext_large": ConvNeXt((3, 3, 27, 3), 192),
}
