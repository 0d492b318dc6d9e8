"""EfficientNet-B0, -Lite0 and ConvNeXt as Keras layers, with the names and numbers of PyTorch's implementations.

Tan and Le 2019 (arXiv:1905.11946); Lite leaves out squeeze-and-excitation and has ReLU6 for Swish. Weights that were
trained with TensorFlow need its padding (`same`) and epsilon, those of timm's own training PyTorch's. Liu et al. 2022
(arXiv:2201.03545), the variants of ConvNeXt with a stem of 4 x 4 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from galaxy_exp.encoders.torch_layers import TorchLayers

__all__ = ["ARCHITECTURES", "CONVNEXTS", "ConvNeXt", "EfficientNet", "timm_names"]

STAGES = (
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
    (192, 4, 5, 2, 6),
    (320, 1, 3, 1, 6),
)
"""Filters, blocks, side of the kernel, stride of the first block and expansion of each stage (table 1 of the paper)."""


@dataclass(frozen=True, slots=True)
class EfficientNet:
    """One variant of EfficientNet; the tensors of all have the same names."""

    has_squeeze: bool
    activation: str
    is_tensorflow: bool
    """Whether it was trained with TensorFlow's padding and epsilon."""
    image_size: int = 224
    """Side of the images that it was published for."""

    def build(self, layers: TorchLayers, x: Any) -> tuple[Any, Any]:
        """From scaled images to a map (n, height / 32, width / 32, 1280), and to features (n, 1280)."""
        x, padding = self._padded(x, 3, 2)
        x = layers.convolution(x, "conv_stem", 32, 3, 2, padding=padding, bias=False)
        x = self._normed(layers, x, "bn1")
        for stage, (filters, n_blocks, size, stride, expansion) in enumerate(STAGES):
            for block in range(n_blocks):
                name = f"blocks.{stage}.{block}"
                x = self._block(layers, x, name, filters, size, stride if block == 0 else 1, expansion)
        x = layers.convolution(x, "conv_head", 1280, 1, padding="same", bias=False)
        x = self._normed(layers, x, "bn2")
        return x, keras.layers.GlobalAveragePooling2D(name="average")(x)

    def _block(
        self, layers: TorchLayers, x: Any, name: str, filters: int, size: int, stride: int, expansion: int
    ) -> Any:
        shortcut, n_inputs = x, x.shape[-1]
        last = "conv_pw" if expansion == 1 else "conv_pwl"
        norms = iter(("bn1", "bn2", "bn3"))
        if expansion > 1:
            x = layers.convolution(x, f"{name}.conv_pw", n_inputs * expansion, 1, padding="same", bias=False)
            x = self._normed(layers, x, f"{name}.{next(norms)}")
        x, padding = self._padded(x, size, stride)
        x = layers.depthwise(x, f"{name}.conv_dw", size, stride, padding=padding, bias=False)
        x = self._normed(layers, x, f"{name}.{next(norms)}")
        if self.has_squeeze:
            x = self._squeezed(layers, x, f"{name}.se", n_inputs // 4)
        x = layers.convolution(x, f"{name}.{last}", filters, 1, padding="same", bias=False)
        x = layers.batch_norm(x, f"{name}.{next(norms)}", self._epsilon)
        return keras.layers.Add()([x, shortcut]) if stride == 1 and n_inputs == filters else x

    def _squeezed(self, layers: TorchLayers, x: Any, name: str, width: int) -> Any:
        squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        squeezed = layers.convolution(squeezed, f"{name}.conv_reduce", width, 1, padding="same", bias=True)
        squeezed = keras.layers.Activation(self.activation)(squeezed)
        squeezed = layers.convolution(squeezed, f"{name}.conv_expand", x.shape[-1], 1, padding="same", bias=True)
        return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(squeezed)])

    def _normed(self, layers: TorchLayers, x: Any, name: str) -> Any:
        return keras.layers.Activation(self.activation)(layers.batch_norm(x, name, self._epsilon))

    def _padded(self, x: Any, size: int, stride: int) -> tuple[Any, str]:
        """PyTorch pads both sides alike; Keras's `same` pads one side more where a stride leaves an odd rest."""
        if stride == 1 or self.is_tensorflow:
            return x, "same"
        return keras.layers.ZeroPadding2D(size // 2)(x), "valid"

    @property
    def _epsilon(self) -> float:
        return 1e-3 if self.is_tensorflow else 1e-5


EFFICIENTNETS: Mapping[str, EfficientNet] = {
    "efficientnet_b0": EfficientNet(has_squeeze=True, activation="silu", is_tensorflow=False),
    "tf_efficientnet_b0": EfficientNet(has_squeeze=True, activation="silu", is_tensorflow=True),
    "efficientnet_lite0": EfficientNet(has_squeeze=False, activation="relu6", is_tensorflow=False),
    "tf_efficientnet_lite0": EfficientNet(has_squeeze=False, activation="relu6", is_tensorflow=True),
}

_PARTS = {
    "_expand_conv": "conv_pw",
    "_depthwise_conv": "conv_dw",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn0": "bn1",
    "_bn1": "bn2",
    "_bn2": "bn3",
}


def timm_names(names: list[str]) -> dict[str, str]:
    """timm's names for those of the package efficientnet-pytorch, as (timm's, package's); other names stay as they are.

    The package numbers all blocks from 0 to 15, and its first block has no expansion.
    """
    stages = [(stage, block) for stage, row in enumerate(STAGES) for block in range(row[1])]
    first = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    renamed: dict[str, str] = {}
    for name in names:
        match = re.fullmatch(r"_blocks\.([0-9]{1,2})\.(\w+)\.(\w+)", name)
        if match and int(match[1]) < len(stages):
            stage, block = stages[int(match[1])]
            parts = _PARTS | first if match[1] == "0" else _PARTS
            renamed[f"blocks.{stage}.{block}.{parts.get(match[2], match[2])}.{match[3]}"] = name
        else:
            part, dot, ending = name.partition(".")
            renamed[outside.get(part, part) + dot + ending] = name
    return renamed


@dataclass(frozen=True, slots=True)
class ConvNeXt:
    """One variant of ConvNeXt."""

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
                x = _convnext_block(layers, x, f"stages.{stage}.blocks.{block}")
        average = keras.layers.GlobalAveragePooling2D(name="average")(x)
        return x, layers.layer_norm(average, "head.norm")


def _convnext_block(layers: TorchLayers, x: Any, name: str) -> Any:
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

ARCHITECTURES: Mapping[str, EfficientNet | ConvNeXt] = {**EFFICIENTNETS, **CONVNEXTS}
"""Every architecture that can be converted, by timm's name."""
