"""Probes the network of a trial: builds it, counts, estimates its memory, and times a few real training steps.

Importing this imports Keras and its backend (seconds).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from galaxy_exp.hypermodel.augmentation import AugmentationLayer
from galaxy_exp.hypermodel.batches import images_per_batch
from galaxy_exp.hypermodel.flops import LayerCall, count_flops, layer_calls, uncounted_layers
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.records import Probe, Timing, TrialSpec
from galaxy_exp.training.cached_features import use_cached_features
from galaxy_exp.training.fitting import NO_EPOCH, SplitArrays, TrainingEnded, fit_model, open_split
from galaxy_exp.training.machine import memory_limit, resolve_precision
from galaxy_exp.training.predictions import predict_outputs
from galaxy_exp.training.recorder import read_numbers
from galaxy_exp.training.trial import failure_reason
from galaxy_exp.training.trial_network import TrialNetwork, build_network, rehearse_keeping, trial_session
from galaxy_exp.wording import format_bytes

__all__ = ["TooLargeError", "estimate_memory", "probe_network", "refuse_many_weights"]

_FIRST_STEPS = 3
"""The first step compiles, and the next ones fill caches."""
_LEAST_STEPS, _MOST_STEPS, _ENOUGH_SECONDS = 3, 200, 0.5
"""At least and at most this many steps are timed, and after the third none is begun after this many seconds."""
_VALIDATION_BATCHES = 8


def probe_network(spec: TrialSpec, *, with_timing: bool) -> Probe:
    """Builds the network of a trial and describes it; with `with_timing`, also trains some steps of it."""
    precision = resolve_precision(spec.precision)
    try:
        with trial_session(spec):
            return _probe(spec, Probe(precision=precision), with_timing)
    except TooLargeError as error:
        return Probe(problem=str(error), precision=precision)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a hypermodel can raise anything
        return Probe(problem=failure_reason(error), precision=precision)


def _probe(spec: TrialSpec, known: Probe, with_timing: bool) -> Probe:
    began = time.perf_counter()
    where, limit = memory_limit()
    data = open_split(spec.data)
    with refuse_many_weights(where, limit):
        network = build_network(spec, data.train_images)
    known = replace(
        known,
        parameters=int(network.model.count_params()),
        flops=count_flops(network.model),
        uncounted=uncounted_layers(network.model),
        memory_bytes=estimate_memory(network.model, network.batch_size),
        batch_size=network.batch_size,
    )
    if known.memory_bytes > limit:
        needed = f"training takes about {format_bytes(known.memory_bytes)} of memory at batches of {known.batch_size}"
        return replace(known, problem=f"{needed}, and this {where} has {format_bytes(limit)}")
    rehearse_keeping(network, data.train_images)
    if not with_timing:
        return known
    cached = use_cached_features(spec, network, data, rehearse=True)
    if cached is None:
        return replace(known, timing=_time_training(network, data, _StepClock(), spec, began))
    head = _time_training(cached.network, cached.data, _StepClock(whole_epochs=True), spec, began)
    shared = 0.0 if cached.folder in _counted or cached.folder.exists() else cached.n_images * cached.seconds_per_image
    _counted.add(cached.folder)
    per_image = head.seconds_per_image + cached.seconds_per_image
    return replace(known, timing=replace(head, shared_seconds=shared, seconds_per_image=per_image))


_counted: set[Path] = set()
"""Folders of features whose computing is in the timing of an earlier network of this process."""


def _time_training(
    network: TrialNetwork, data: SplitArrays, clock: _StepClock, spec: TrialSpec, began: float
) -> Timing:
    """Trains some steps as a trial would, and predicts some validation images; its building `began` at that time."""
    clock.set_model(network.model)
    called = clock.began = time.perf_counter()
    with suppress(TrainingEnded):
        fit_model(network, data, epochs=spec.epochs, callbacks=[clock], seed=spec.seed)
    is_known = isinstance(network.hypermodel, GalaxyCNN) and network.hypermodel.is_unchanged
    once = clock.began - called if is_known else 0.0  # another fit may do it again when a trial continues
    first_prediction, per_image = _time_prediction(network, data)
    if clock.n_steps:
        step = clock.seconds_per_step()
        steps = (clock.params or {}).get("steps") or math.ceil(len(data.train_labels) / network.batch_size)
        training, preparation = steps * step, clock.warm_at - began - min(clock.n_steps, _FIRST_STEPS) * step
    elif clock.n_epochs:
        training = clock.ended_at - (clock.warm_at or clock.began)
        preparation = (clock.warm_at or clock.began) - began - training
    else:
        raise RuntimeError(NO_EPOCH)
    return Timing(
        epoch_seconds=training + len(data.validation_labels) * per_image,
        start_seconds=max(0.0, preparation - once + first_prediction),
        once_seconds=once,
        seconds_per_image=per_image,
    )


class _StepClock(keras.callbacks.Callback):  # type: ignore[misc]
    """Times the steps after the first few, or whole epochs if a training loop reports no steps.

    Args:
        whole_epochs: times epochs in any case: those of a head on features are a call each.
    """

    def __init__(self, *, whole_epochs: bool = False) -> None:
        super().__init__()
        self._whole_epochs = whole_epochs
        self.n_steps = self.n_epochs = 0
        self.began = self.warm_at = self.ended_at = 0.0

    @property
    def n_timed(self) -> int:
        return self.n_steps - _FIRST_STEPS

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Notes the time of the first training: what `fit` did before it does not belong to a step."""
        if not self.n_steps and not self.n_epochs:
            self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the time after the step is done: reading one of its numbers waits for it."""
        if self._whole_epochs:
            return
        self.n_steps += 1
        read_numbers(logs)
        self.ended_at = time.perf_counter()
        if self.n_timed <= 0:
            self.warm_at = self.ended_at
            return
        is_enough = self.n_timed >= _LEAST_STEPS and self.ended_at - self.warm_at >= _ENOUGH_SECONDS
        if is_enough or self.n_timed >= _MOST_STEPS:
            raise TrainingEnded

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends a training without steps after the second epoch: the first one also compiles."""
        self.n_epochs += 1
        if self.n_steps == 0:
            read_numbers(logs)
            self.warm_at, self.ended_at = self.ended_at, time.perf_counter()
            if self.n_epochs == 2:
                raise TrainingEnded

    def seconds_per_step(self) -> float:
        """The mean over the timed steps, or over all steps of a shorter training."""
        if self.n_timed > 0:
            return (self.ended_at - self.warm_at) / self.n_timed
        return (self.ended_at - self.began) / max(self.n_steps, 1)


def _time_prediction(network: TrialNetwork, data: SplitArrays) -> tuple[float, float]:
    """Seconds of the first call, and seconds per image after that."""
    images = data.validation_images[: _VALIDATION_BATCHES * images_per_batch(*data.validation_images.shape[1:3])]
    began = time.perf_counter()
    predict_outputs(network.model, images[:1], network.n_classes, network.questions)
    warm = time.perf_counter()
    predict_outputs(network.model, images, network.n_classes, network.questions)
    return warm - began, (time.perf_counter() - warm) / len(images)


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

    Raises:
        TooLargeError: before the memory is allocated; names the layer, its weights and the device, which is `where`.
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
