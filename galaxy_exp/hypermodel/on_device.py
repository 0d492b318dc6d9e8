"""Training with the images on the device: put there once, gathered there, and an epoch in one call. On JAX alone.

Keras's trainer sends each batch to the device, and returns to Python and reads metrics back after each step. Here the
images are on the device as uint8, the order of an epoch is sent as one array of integers, and `jax.lax.scan` runs
Keras's own training step over it; what is computed is the same.
"""

from __future__ import annotations

import functools
import logging
import mmap
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.hypermodel.batches import Batches, feed

__all__ = ["MAX_FRACTION", "PLATFORMS", "fit_batches", "overrides"]

PLATFORMS = ("gpu", "tpu")
"""As JAX names them. On a processor nothing is gained, and XLA computes convolutions within a loop ten times slower."""

MAX_FRACTION = 0.25
"""Fraction of the device's free memory for images: the rest is for training, also by other workers on the same GPU."""

_LOG = logging.getLogger(__name__)

_kept: dict[Any, Any] = {}
"""The images on the device by the file they came from: those of the latest trial whose images are a whole file."""


def fit_batches(
    model: keras.Model,
    batches: Batches,
    *,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int | str = 0,
    **kwargs: Any,
) -> keras.callbacks.History:
    """`model.fit(batches)`, with the images on the device where that is possible.

    It is on JAX with compilation on one of `PLATFORMS`, if the images take no more than `MAX_FRACTION` of its free
    memory, and if nothing observes single steps: no progress bar, no callback for batches. Images from a file stay
    there for the next call. Then an epoch is one step to Keras, and its training function is replaced until the end.

    Args:
        batches: with the order of the images, which is the same either way.
        kwargs: further arguments of `keras.Model.fit`.
    """
    shared = {"shuffle": False, **kwargs, "callbacks": list(callbacks), "verbose": verbose}
    is_possible = (
        _compiles_for_device(model) and verbose == 0 and set(kwargs) <= {"epochs", "initial_epoch", "validation_data"}
    )
    batches.rewind(kwargs.get("initial_epoch", 0))
    images = _on_device(batches.images) if is_possible and not any(map(_sees_batches, callbacks)) else None
    if keras.backend.backend() != "tensorflow":
        # Keras takes a first batch on JAX to build the metrics before it trains, and so begins an epoch too many
        rewind = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.rewind(epoch))
        shared["callbacks"] = [rewind, *callbacks]
    if images is None:
        _create_variables(model, batches)
        return model.fit(feed(batches), **shared)
    epochs = _Epochs(batches, images)
    model.train_function = _build_epoch_function(model, epochs)
    try:
        return model.fit(epochs, **shared)
    finally:
        model.train_function = None


def overrides(model: keras.Model, *methods: str) -> bool:
    """Whether the model's class has one of these methods of its own in place of Keras's."""
    return any(getattr(type(model), name) is not getattr(keras.Model, name) for name in methods)


def _create_variables(model: keras.Model, batches: Batches) -> None:
    """Creates the variables of optimizer and metrics before TensorFlow traces a training step; changes no number.

    If a first trace creates variables, TensorFlow traces the step again, which takes much of a short trial's time.
    Networks with a training step or outputs of another kind than Keras's create them as they train.
    """
    is_own = overrides(model, "train_step", "compute_metrics")
    shapes = [tuple(each.shape[1:]) for each in getattr(model, "outputs", None) or ()]
    is_known = len(shapes) == 1 and len(shapes[0]) == 1 and None not in shapes[0]
    optimizer = getattr(model, "optimizer", None)  # a model with a fit of its own may not be compiled
    if keras.backend.backend() != "tensorflow" or is_own or optimizer is None or not is_known:
        return
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    targets, *weights = [keras.ops.convert_to_tensor(each[:2]) for each in batches.targets]
    (n_outputs,) = shapes[0]
    uniform = keras.ops.full((len(targets), n_outputs), 1 / max(n_outputs, 2), "float32")
    model.compute_metrics(None, targets, uniform, *weights)
    model.reset_metrics()


def _compiles_for_device(model: keras.Model) -> bool:
    if keras.backend.backend() != "jax" or not model.jit_compile or model.run_eagerly:
        return False
    import jax

    return jax.default_backend() in PLATFORMS and keras.distribution.distribution() is None


def _sees_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback has a hook for batches: of its class, of the instance (`LambdaCallback`), or within a list."""
    if isinstance(callback, keras.callbacks.CallbackList):
        return any(map(_sees_batches, callback.callbacks))
    for name in ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"):
        hook = getattr(callback, name)
        if getattr(hook, "__func__", hook) is not getattr(keras.callbacks.Callback, name):
            return True
    return False


class _Epochs(keras.utils.PyDataset):  # type: ignore[misc]
    """The whole set as the only batch of an epoch, on the device; `order` is that of the epoch that has begun."""

    def __init__(self, batches: Batches, images: Any) -> None:
        import jax

        super().__init__()
        self._batches = batches
        self._data = (images, *(jax.device_put(each) for each in batches.targets))
        self.batch_size = batches.batch_size
        self.order: NDArray[np.int32] = np.empty(0, np.int32)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self._data

    def on_epoch_begin(self) -> None:
        self._batches.on_epoch_begin()
        chosen = [self._batches.positions(index) for index in range(len(self._batches))]
        self.order = np.concatenate(chosen).astype(np.int32)


def _build_epoch_function(model: keras.Model, epochs: _Epochs) -> Callable[[Any, Any], tuple[Any, Any]]:
    """What Keras's trainer on JAX calls as its training function: (state, iterator) to (logs, state)."""
    import jax

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: Any, data: tuple[Any, ...], order: Any) -> tuple[Any, Any]:
        def step(state: Any, chosen: Any) -> tuple[Any, Any]:
            batch = tuple(jax.numpy.take(each, chosen, axis=0, mode="clip") for each in data)
            logs, state = model.train_step(state, batch)
            return state, logs

        n_full = len(order) // epochs.batch_size
        whole, rest = order[: n_full * epochs.batch_size], order[n_full * epochs.batch_size :]
        logs = {}
        if n_full:
            state, all_logs = jax.lax.scan(step, state, whole.reshape(n_full, -1))
            logs = jax.tree.map(lambda values: values[-1], all_logs)
        if len(rest):
            state, logs = step(state, rest)
        return logs, state

    def train_epoch(state: Any, iterator: Any) -> tuple[Any, Any]:
        return train(state, next(iterator), jax.device_put(epochs.order))  # type: ignore[no-any-return]

    return train_epoch


def _on_device(images: NDArray[Any]) -> Any | None:
    """The images there; None if they are too large. Those of a whole mapped file are kept."""
    import jax

    key = _file_of(images)
    if key in _kept:
        return _kept[key]
    if key is not None:  # features in memory, on which a head warms up, come before the images that are kept
        _kept.clear()
    limit = MAX_FRACTION * _free_bytes()
    if images.nbytes > limit:
        _warn_too_large(images.nbytes, int(limit))
        return None
    placed = jax.device_put(np.asarray(images))
    if key is not None:
        _kept[key] = placed
    return placed


def _file_of(images: Any) -> tuple[Any, ...] | None:
    """None for images in memory, and for a part of a mapped file, which is a memory map with the file's name, too."""
    is_whole = isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap)
    return (images.filename, images.shape) if is_whole else None


def _free_bytes() -> int:
    import jax

    stats = jax.devices()[0].memory_stats()
    if stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _warn_too_large(n_bytes: int, limit: int) -> None:
    _LOG.warning(
        "what is trained on (%.1f GB) stays on the host: more than %.0f %% of the device's free memory (%.1f GB)",
        n_bytes / 1e9, 100 * MAX_FRACTION, limit / 1e9,
    )  # fmt: skip
