"""How long an epoch of a network takes on this machine, from a few real training steps."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

import keras

from galaxy_exp.check.findings import Timing
from galaxy_exp.training.fitting import DEFAULT_BATCH_SIZE, NO_EPOCH, SplitArrays, fit_model
from galaxy_exp.training.network import TrialNetwork
from galaxy_exp.training.predictions import images_per_batch, predict_outputs
from galaxy_exp.training.recorder import read_numbers

__all__ = ["time_training"]

WARM_UP_STEPS = 3
"""The first compiles, and the next fill caches."""
LEAST_STEPS, MOST_STEPS, ENOUGH_SECONDS = 3, 200, 1.5
"""Timed are at least and at most so many steps, and not many more than take so long."""
VALIDATION_BATCHES = 8


class _EnoughError(Exception):
    """Ends `fit` when enough steps were timed, whatever a hypermodel makes of `stop_training`."""


class _StepClock(keras.callbacks.Callback):  # type: ignore[misc]
    """Times the steps after the first few; or whole epochs, where a loop of the hypermodel's own reports no steps."""

    def __init__(self) -> None:
        super().__init__()
        self.n_steps = self.n_epochs = 0
        self.warm_at = self.ended_at = 0.0

    @property
    def n_timed(self) -> int:
        return self.n_steps - WARM_UP_STEPS

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the time once the step is really done: to read a number of its is to wait for it."""
        self.n_steps += 1
        read_numbers(logs)
        self.ended_at = time.perf_counter()
        if self.n_timed <= 0:
            self.warm_at = self.ended_at
            return
        is_enough = self.n_timed >= LEAST_STEPS and self.ended_at - self.warm_at >= ENOUGH_SECONDS
        if is_enough or self.n_timed >= MOST_STEPS:
            raise _EnoughError

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends a training without steps after the second epoch: the first one also compiles."""
        self.n_epochs += 1
        if self.n_steps == 0:
            read_numbers(logs)
            self.warm_at, self.ended_at = self.ended_at, time.perf_counter()
            if self.n_epochs == 2:
                raise _EnoughError

    def seconds_per_step(self, began: float) -> float:
        """The mean over the timed steps, or over all of a training that ended before."""
        if self.n_timed > 0:
            return (self.ended_at - self.warm_at) / self.n_timed
        return (self.ended_at - began) / max(self.n_steps, 1)


def time_training(network: TrialNetwork, data: SplitArrays, *, epochs: int, seed: int, began: float) -> Timing:
    """Trains some steps as a trial would, and predicts some of the validation images.

    Args:
        began: when the building of the network began, by `time.perf_counter`.
    """
    clock = _StepClock()
    clock.set_model(network.model)
    fit_began = time.perf_counter()
    with suppress(_EnoughError):
        fit_model(network, data, epochs=epochs, callbacks=[clock], seed=seed)
    first_prediction, per_image = _time_prediction(network.model, data, network.n_classes)
    if clock.n_steps:
        step = clock.seconds_per_step(fit_began)
        batch_size = int(network.hp.values.get("batch_size", DEFAULT_BATCH_SIZE))
        steps = (clock.params or {}).get("steps") or math.ceil(len(data.train_labels) / batch_size)
        training, warm_up = steps * step, clock.warm_at - began - min(clock.n_steps, WARM_UP_STEPS) * step
    elif clock.n_epochs:
        training = clock.ended_at - (clock.warm_at or fit_began)
        warm_up = (clock.warm_at or fit_began) - began - training
    else:
        raise RuntimeError(NO_EPOCH)
    return Timing(
        epoch_seconds=training + len(data.validation_labels) * per_image,
        start_seconds=max(0.0, warm_up + first_prediction),
        seconds_per_image=per_image,
    )


def _time_prediction(model: keras.Model, data: SplitArrays, n_classes: int) -> tuple[float, float]:
    """Seconds that the first call takes, and each image after that."""
    images = data.validation_images[: VALIDATION_BATCHES * images_per_batch(*data.validation_images.shape[1:3])]
    began = time.perf_counter()
    predict_outputs(model, images[:1], n_classes)
    warm = time.perf_counter()
    predict_outputs(model, images, n_classes)
    return warm - began, (time.perf_counter() - warm) / len(images)
