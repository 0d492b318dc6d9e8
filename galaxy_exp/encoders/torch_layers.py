"""Keras layers that take their weights from PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

__all__ = ["TorchLayers"]

Read = Callable[[str], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the weight of a Keras layer comes from."""

    variable: Any
    name: str
    """Of PyTorch's tensor."""
    shape: tuple[int, ...]
    """Of PyTorch's tensor."""
    axes: tuple[int, ...]
    """The axes of the tensor in Keras's order; those left out have length 1."""
    scale: str | None = None
    """Name of a tensor that the last axis is multiplied by."""

    def expected(self) -> dict[str, tuple[int, ...]]:
        scales = {} if self.scale is None else {self.scale: (self.variable.shape[-1],)}
        return {self.name: self.shape, **scales}

    def load(self, read: Read) -> None:
        others = (axis for axis in range(len(self.shape)) if axis not in self.axes)
        value = read(self.name).reshape(self.shape).transpose(*self.axes, *others).reshape(self.variable.shape)
        self.variable.assign(value if self.scale is None else value * read(self.scale))


class TorchLayers:
    """Adds layers to a network of Keras's functional interface, and remembers which tensors their weights come from.

    A layer is called like its tensors, with _ for the dots. Images are (n, height, width, channels), in float32.
    """

    def __init__(self) -> None:
        self._sources: list[_Source] = []

    def expected(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all tensors that the network needs; a 1 x 1 kernel's last two axes may be missing."""
        return {name: shape for source in self._sources for name, shape in source.expected().items()}

    def load(self, read: Read) -> None:
        """Sets the weights of all layers; `read` gives a tensor of the expected shape by its name."""
        for source in self._sources:
            source.load(read)

    def convolution(
        self, x: Any, name: str, filters: int, size: int, stride: int = 1, *, padding: str, bias: bool
    ) -> Any:
        """PyTorch's `Conv2d`, whose kernel is (filters, channels, height, width)."""
        layer = keras.layers.Conv2D(filters, size, stride, padding=padding, use_bias=bias, name=_layer_name(name))
        shape = (filters, x.shape[-1], size, size)
        return self._weighted(layer, x, name, shape, (2, 3, 1, 0), layer.use_bias)

    def depthwise(self, x: Any, name: str, size: int, stride: int = 1, *, padding: str, bias: bool) -> Any:
        """PyTorch's `Conv2d` with as many groups as channels."""
        layer = keras.layers.DepthwiseConv2D(size, stride, padding=padding, use_bias=bias, name=_layer_name(name))
        return self._weighted(layer, x, name, (x.shape[-1], 1, size, size), (2, 3, 0, 1), layer.use_bias)

    def dense(self, x: Any, name: str, units: int, *, scale: str | None = None) -> Any:
        """PyTorch's `Linear` on the last axis, or a convolution of 1 x 1 pixels.

        The tensor (units,) that is called `scale`, if any, multiplies the result, and becomes part of the weights.
        """
        layer = keras.layers.Dense(units, name=_layer_name(name))
        return self._weighted(layer, x, name, (units, x.shape[-1], 1, 1), (1, 0), True, scale)

    def batch_norm(self, x: Any, name: str, epsilon: float) -> Any:
        """PyTorch's `BatchNorm2d`, with its usual momentum."""
        layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=_layer_name(name))
        x = layer(x)
        tensors = {"weight": layer.gamma, "bias": layer.beta}
        tensors |= {"running_mean": layer.moving_mean, "running_var": layer.moving_variance}
        self._add_vectors(name, tensors)
        return x

    def layer_norm(self, x: Any, name: str) -> Any:
        """PyTorch's `LayerNorm` over the channels of each pixel, with ConvNeXt's epsilon."""
        layer = keras.layers.LayerNormalization(epsilon=1e-6, name=_layer_name(name))
        x = layer(x)
        self._add_vectors(name, {"weight": layer.gamma, "bias": layer.beta})
        return x

    def _weighted(
        self,
        layer: keras.layers.Layer,
        x: Any,
        name: str,
        shape: tuple[int, ...],
        axes: tuple[int, ...],
        has_bias: bool,
        scale: str | None = None,
    ) -> Any:
        x = layer(x)
        self._sources.append(_Source(layer.kernel, f"{name}.weight", shape, axes, scale))
        if has_bias:
            self._sources.append(_Source(layer.bias, f"{name}.bias", tuple(layer.bias.shape), (0,), scale))
        return x

    def _add_vectors(self, name: str, tensors: dict[str, Any]) -> None:
        for ending, variable in tensors.items():
            self._sources.append(_Source(variable, f"{name}.{ending}", tuple(variable.shape), (0,)))


def _layer_name(name: str) -> str:
    return name.replace(".", "_")
