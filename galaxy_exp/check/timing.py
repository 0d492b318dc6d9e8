"""How long an epoch of a network takes on this machine, from a few real training steps."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

import keras
import keras_tuner

from galaxy_exp.check.findings import Timing
from galaxy_exp.training.fitting import SplitArrays, fit_model
from galaxy_exp.training.predictions import images_per_batch, predict_outputs

__all__ = ["time_training"]

WARM_UP_STEPS = 3
"""The first compiles, and the next fill caches."""
LEAST_STEPS, MOST_STEPS, ENOUGH_SECONDS = 3, 200, 1.5
"""Timed are at least and at most so many steps, and not many more than take so long."""
VALIDATION_BATCHES = 8


class _EnoughError(Exception):
    """Ends `fit` when enough steps were timed, whatever a hypermodel makes of `stop_training`."""


class _StepClock(keras.callbacks.Callback):  # type: ignore[misc]
    """Times the steps after the first few."""

    def __init__(self) -> None:
        super().__init__()
        self.n_steps = 0
        self.warm_at = self.ended_at = 0.0

    @property
    def n_timed(self) -> int:
        return self.n_steps - WARM_UP_STEPS

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the time once the step is really done: to read a number of its is to wait for it."""
        self.n_steps += 1
        for value in (logs or {}).values():
            float(value)
        self.ended_at = time.perf_counter()
        if self.n_timed <= 0:
            self.warm_at = self.ended_at
            return
        is_enough = self.n_timed >= LEAST_STEPS and self.ended_at - self.warm_at >= ENOUGH_SECONDS
        if is_enough or self.n_timed >= MOST_STEPS:
            raise _EnoughError

    def seconds_per_step(self, began: float) -> float:
        """The mean over the timed steps, or over all of a training that ended before."""
        if self.n_timed > 0:
            return (self.ended_at - self.warm_at) / self.n_timed
        return (self.ended_at - began) / max(self.n_steps, 1)


def time_training(
    hypermodel: keras_tuner.HyperModel,
    hp: keras_tuner.HyperParameters,
    model: keras.Model,
    data: SplitArrays,
    *,
    epochs: int,
    seed: int,
    n_classes: int,
    began: float,
) -> Timing:
    """Trains some steps as a trial would, and predicts some of the validation images.

    Args:
        began: when the building of the network began, by `time.perf_counter`.
    """
    clock = _StepClock()
    fit_began = time.perf_counter()
    with suppress(_EnoughError):
        fit_model(hypermodel, hp, model, data, epochs=epochs, callbacks=[clock], seed=seed)
    step = clock.seconds_per_step(fit_began)
    steps = clock.params.get("steps") or math.ceil(len(data.train_labels) / clock.n_steps)
    warm_up = clock.warm_at - began - min(clock.n_steps, WARM_UP_STEPS) * step
    first_prediction, per_image = _time_prediction(model, data, n_classes)
    return Timing(
        epoch_seconds=steps * step + len(data.validation_labels) * per_image,
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
