"""What a network computes for one image, counted layer by layer from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from galaxy_exp.hypermodel.augmentation import AugmentationLayer
from galaxy_exp.hypermodel.equivariant import EquivariantConv2D

__all__ = ["LayerCall", "count_flops", "layer_calls", "uncounted_layers"]


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One layer where it is used once in a network; a shared layer has one of these for each use."""

    layer: Any
    """A `keras.Layer` that is no network itself, an operation of `keras.ops`, or a subclassed model."""
    input_elements: int
    """Numbers that go in for one image, in all inputs together; 0 where a side is not fixed."""
    output_elements: int
    """Numbers that come out for one image."""
    n_inputs: int = 1
    """Number of tensors that go in."""


def count_flops(model: keras.Model) -> int:
    """Floating point operations of a built network for one image forward, at inference.

    A multiplication and an addition count as two, as in Molchanov et al. 2017 (arXiv:1611.06440, appendix A): a
    convolution takes 2 k^2 C_in operations for each output and one more with a bias, a dense layer 2 C_in and one.
    Batch normalisation is one multiplication and one addition an element, pooling one operation for each element it
    looks at, and any activation function but "linear" one an element. What only moves numbers, or acts in training
    alone, is free. A layer of no known kind counts 0, and `uncounted_layers` names it; so does all of a
    subclassed model, whose `call` is not known.
    """
    return sum(_flops(call) or 0 for call in layer_calls(model))


def uncounted_layers(model: keras.Model) -> tuple[str, ...]:
    """The names of the layers that `count_flops` knows nothing about, each once."""
    return tuple(dict.fromkeys(call.layer.name for call in layer_calls(model) if _flops(call) is None))


def layer_calls(model: keras.Model) -> Iterator[LayerCall]:
    """The layers of a built Sequential or Functional model in the order of use, those of models inside it included."""
    if not getattr(model, "outputs", None):
        yield LayerCall(model, 0, 0)
        return
    for node in _nodes(model):
        operation = node.operation
        if isinstance(operation, keras.Model):
            yield from layer_calls(operation)
        else:
            ins, outs = node.input_tensors, node.output_tensors
            yield LayerCall(operation, _elements(ins), _elements(outs), len(ins))


def _nodes(model: keras.Model) -> list[Any]:
    """The graph behind the outputs without its inputs. Layers keep nodes of other graphs, too, so it is walked."""
    found: dict[int, Any] = {}
    pending = [(tensor, False) for tensor in model.outputs]
    while pending:
        tensor, is_ready = pending.pop()
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in found or not node.input_tensors:
            continue
        if is_ready:
            found[id(node)] = node
        else:  # come back when everything it needs is there
            pending += [(tensor, True), *((each, False) for each in node.input_tensors)]
    return list(found.values())


def _elements(tensors: list[Any]) -> int:
    shapes = [tensor.shape[1:] for tensor in tensors]
    return 0 if any(side is None for shape in shapes for side in shape) else sum(map(math.prod, shapes))


def _flops(call: LayerCall) -> int | None:
    """None for a layer of no known kind or a size that is not fixed."""
    formula = next((formula for kinds, formula in _FORMULAS if isinstance(call.layer, kinds)), None)
    if formula is None or call.output_elements == 0:
        return None
    activation = getattr(call.layer, "activation", None)
    return formula(call) + (0 if activation in (None, keras.activations.linear) else call.output_elements)


def _bias(call: LayerCall) -> int:
    return call.output_elements if call.layer.use_bias else 0


def _matrix(call: LayerCall) -> int:
    """The kernel is (sides..., inputs of a group, outputs) of a convolution, (inputs, outputs) of a dense layer."""
    return 2 * call.output_elements * int(math.prod(call.layer.kernel.shape[:-1])) + _bias(call)


def _depthwise(call: LayerCall) -> int:
    return 2 * call.output_elements * int(math.prod(call.layer.kernel_size)) + _bias(call)


def _separable(call: LayerCall) -> int:
    """A depthwise convolution, then one with kernels of a single pixel across the channels."""
    kernels = math.prod(call.layer.depthwise_kernel.shape) + math.prod(call.layer.pointwise_kernel.shape)
    return int(2 * call.output_elements // call.layer.filters * kernels) + _bias(call)


def _transposed(call: LayerCall) -> int:
    """The kernel is (sides..., outputs, inputs), and each input goes into as many outputs as the rest of it has."""
    return 2 * call.input_elements * int(math.prod(call.layer.kernel.shape[:-1])) + _bias(call)


_Kinds = tuple[type, ...]

_POOLING: _Kinds = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
)
_GLOBAL_POOLING: _Kinds = (
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
)
_MERGING: _Kinds = (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum)
_FREE: _Kinds = (
    layers.Activation,  # `_flops` counts its function
    *(AugmentationLayer, layers.Dropout, layers.SpatialDropout2D, layers.GaussianNoise, layers.GaussianDropout),
    *(layers.AlphaDropout, layers.RandomFlip, layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom),
    *(layers.RandomContrast, layers.RandomBrightness, layers.Flatten, layers.Reshape, layers.Permute),
    *(layers.Concatenate, layers.Identity, layers.ZeroPadding2D, layers.Cropping2D, layers.RepeatVector),
)
"""They act in training alone, or only move numbers."""

_FORMULAS: tuple[tuple[_Kinds, Callable[[LayerCall], int]], ...] = (
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed),
    ((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    ((layers.Conv1D, layers.Conv2D, layers.Conv3D, EquivariantConv2D, layers.Dense), _matrix),
    ((layers.BatchNormalization, layers.Rescaling, layers.Normalization), lambda call: 2 * call.output_elements),
    (_POOLING, lambda call: call.output_elements * int(math.prod(call.layer.pool_size))),
    (_GLOBAL_POOLING, lambda call: call.input_elements),
    ((layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Softmax), lambda call: call.output_elements),
    (_MERGING, lambda call: (call.n_inputs - 1) * call.output_elements),
    (_FREE, lambda call: 0),
)
"""The first that fits; an activation function is counted in addition to the formula."""
