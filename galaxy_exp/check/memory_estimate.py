"""An estimate of the peak of memory in training a network, before it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from galaxy_exp.check.probe import format_bytes
from galaxy_exp.hypermodel.augmentation import AugmentationLayer
from galaxy_exp.hypermodel.flops import LayerCall, layer_calls

__all__ = ["TooLargeError", "estimate_memory", "refuse_many_weights"]

_BYTES_PER_WEIGHT = 4
"""Weights, their gradients and the optimizer's slots are float32 under every usual dtype policy."""
_HALF = ("float16", "bfloat16")


class TooLargeError(ValueError):
    """The weights alone leave no room to train them."""


def estimate_memory(model: keras.Model, batch_size: int) -> int:
    """Bytes at the peak of a training step, beyond what the process holds without a network.

        4 n (6 + s + h) + b (sum of a_l + max of (a_l + a_(l+1)))

    n weights of 4 bytes each are kept themselves, with their gradients, with the s slots of the optimizer (2 for Adam,
    1 for momentum) and once more as those of the best epoch; three times as much again is taken while the optimizer
    works out its step; and under a policy of mixed precision (h = 1, else 0) there are copies of half the size of
    weights and gradients. For each of the b images of a batch, the output of every layer l, a_l bytes, is kept until
    its gradient is taken; then that gradient and the one of the layer's input are there too. Layers that only view
    their input differently (Flatten, Reshape) hold nothing. The inside of a model with its own `call` is not known.

    benchmarks/memory_estimate.py holds this against what processes really take; the three steps of the optimizer are
    from there.
    """
    is_mixed = keras.config.dtype_policy().compute_dtype in _HALF
    per_weight = 6 + _slots_per_weight(getattr(model, "optimizer", None)) + is_mixed
    weights = _BYTES_PER_WEIGHT * int(model.count_params()) * per_weight
    outputs = [_bytes_per_image(call) for call in layer_calls(model)]
    passing = max((first + second for first, second in zip(outputs, [*outputs[1:], 0], strict=True)), default=0)
    return round(weights + batch_size * (sum(outputs) + passing))


@contextmanager
def refuse_many_weights(where: str, limit: int) -> Iterator[None]:
    """Refuses a layer when all weights so far, with their gradients, would need more than `limit` bytes.

    Args:
        where: the device with this memory, for the message.

    Raises:
        TooLargeError: before the memory is allocated; names the layer and its weights.
    """
    original = keras.layers.Layer.add_weight
    n_weights = 0

    def add_weight(self: Any, shape: Any = None, *arguments: Any, **keywords: Any) -> Any:
        nonlocal n_weights
        here = math.prod(shape) if isinstance(shape, tuple | list) else int(shape or 1)
        n_weights += here
        needed = 2 * _BYTES_PER_WEIGHT * n_weights
        if needed > limit:
            raise TooLargeError(
                f"{n_weights:,} weights, {here:,} of them in layer {self.name}, take {format_bytes(needed)} of memory "
                f"with their gradients, and this {where} has {format_bytes(limit)}"
            )
        return original(self, shape, *arguments, **keywords)

    keras.layers.Layer.add_weight = add_weight
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = original


def _bytes_per_image(call: LayerCall) -> int:
    views = (keras.layers.Flatten, keras.layers.Reshape, AugmentationLayer)
    if isinstance(call.layer, views):
        return 0
    if getattr(call.layer, "compute_dtype", "float32") not in _HALF:
        per_element = 4
    elif isinstance(call.layer, keras.layers.BatchNormalization):
        per_element = 6  # Keras normalises in float32 whatever the policy, and casts the result
    else:
        per_element = 2
    return per_element * call.output_elements


def _slots_per_weight(optimizer: Any) -> float:
    """The number of values that the optimizer keeps for each weight, measured on a small variable."""
    if optimizer is None:
        return 0.0
    weight = keras.Variable(keras.ops.zeros((32, 32)))
    probe = type(optimizer).from_config(optimizer.get_config())
    before = sum(variable.shape == weight.shape for variable in probe.variables)
    probe.build([weight])
    return float(sum(variable.shape == weight.shape for variable in probe.variables) - before)
