"""How fast a network trains on this machine, measured in windows of time; the trained network is thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras

from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialSpec, TrialState
from galaxy_exp.training.fitting import TrainingEnded, fit_model, open_split
from galaxy_exp.training.machine import memory_limit, peak_memory, resolve_precision
from galaxy_exp.training.recorder import read_numbers
from galaxy_exp.training.trial import failure_reason
from galaxy_exp.training.trial_network import build_network, trial_session

__all__ = ["WINDOW_SECONDS", "measure_throughput"]

WINDOW_SECONDS = 1.0
"""The length of a window, which ends with a step."""

_WARM_UP_STEPS = 3
"""The first step compiles, and the next ones fill caches."""

_EPOCHS = 10_000
"""Epochs of one call of `fit`: more than there is time for."""


def measure_throughput(spec: TrialSpec, report: Callable[[EpochReport], Decision]) -> TrialResult:
    """Trains the network of a trial as the trial would, until `report` ends it; writes no file.

    Args:
        report: called after warming up, as epoch 0, and after each window, as epoch 1 and so on. The next window begins
            when it returns, so several processes can be made to train at the same time; an answer other than CONTINUE
            ends the training, and what it raises passes through. Metrics: `images_per_second` in the window,
            `memory_bytes`, the peak of the process (0: not known), and `memory_limit` of the machine.

    Returns:
        STOPPED, or FAILED with a one-line reason.
    """
    watch = _Watch(spec, report)
    state, reason = TrialState.STOPPED, "measured"
    precision = resolve_precision(spec.precision)
    try:
        with trial_session(spec):
            _train(spec, watch)
    except TrainingEnded:
        pass
    except (Exception, SystemExit) as error:
        if error is watch.report_error:
            raise
        state, reason = TrialState.FAILED, failure_reason(error)
    return TrialResult(spec.number, spec.attempt, state, reason, precision=precision, backend=keras.backend.backend())


def _train(spec: TrialSpec, watch: _Watch) -> None:
    data = open_split(spec.data)
    network = build_network(spec, data.train_images)
    watch.set_model(network.model)
    watch.n_images = len(data.train_labels)
    watch.batch_size = network.batch_size
    seen = -1
    while watch.n_seen > seen:  # a user-defined fit may end early
        seen = watch.n_seen
        fit_model(network, data, epochs=_EPOCHS, callbacks=[watch], seed=spec.seed)
    raise RuntimeError("the hypermodel's fit ended without a single step; it must pass `callbacks` to model.fit")


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts images and closes windows.

    Attributes:
        n_images: in an epoch.
        batch_size: used where Keras does not know the number of steps of an epoch.
        n_seen: images trained so far, warming up included.
        report_error: an error of `report`, which is not the network's failure.
    """

    def __init__(self, spec: TrialSpec, report: Callable[[EpochReport], Decision]) -> None:
        super().__init__()
        self._spec = spec
        self._report = report
        self.n_images = self.batch_size = self.n_seen = 0
        self.report_error: Exception | None = None
        self._steps_in_epoch = 0
        self._to_warm_up = _WARM_UP_STEPS
        self._window = 0
        self._began = 0.0
        self._n_seen_before = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Resets the count of steps."""
        self._steps_in_epoch = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the steps since the last call, of which there may be several."""
        n_steps, self._steps_in_epoch = batch + 1 - self._steps_in_epoch, batch + 1
        in_epoch = (self.params or {}).get("steps")
        self._count(round(n_steps * self.n_images / in_epoch) if in_epoch else n_steps * self.batch_size, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts an epoch of a training loop that reports no steps."""
        if self._steps_in_epoch == 0:
            self._count(self.n_images, logs)

    def _count(self, n_images: int, logs: dict[str, Any] | None) -> None:
        read_numbers(logs)  # reading a number of the step waits for it
        self.n_seen += n_images
        seconds = time.perf_counter() - self._began
        if self._to_warm_up > 0:
            self._to_warm_up -= 1
            if self._to_warm_up == 0:
                self._close_window(0.0)
        elif seconds >= WINDOW_SECONDS:
            self._close_window((self.n_seen - self._n_seen_before) / seconds)

    def _close_window(self, images_per_second: float) -> None:
        metrics = {
            "images_per_second": images_per_second,
            "memory_bytes": float(peak_memory()),
            "memory_limit": float(memory_limit()[1]),
        }
        try:
            decision = self._report(EpochReport(self._spec.number, self._spec.attempt, self._window, metrics))
        except Exception as error:
            self.report_error = error
            raise
        if decision is not Decision.CONTINUE:
            raise TrainingEnded
        self._window += 1
        self._n_seen_before, self._began = self.n_seen, time.perf_counter()
