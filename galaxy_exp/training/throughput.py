"""How fast a network trains on this machine: a training that is watched in windows of time and kept for nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras

from galaxy_exp.records import EpochReport, TrialResult, TrialSpec, TrialState
from galaxy_exp.training.failures import failure_reason
from galaxy_exp.training.fitting import DEFAULT_BATCH_SIZE, fit_model, open_split
from galaxy_exp.training.memory import memory_limit, peak_memory
from galaxy_exp.training.network import build_network
from galaxy_exp.training.precision import resolve_precision
from galaxy_exp.training.recorder import read_numbers
from galaxy_exp.training.session import fresh_session

__all__ = ["WINDOW_SECONDS", "measure_throughput"]

WINDOW_SECONDS = 1.0
"""A window is as long as this and the step that is under way then."""

_WARM_UP_STEPS = 3
"""The first compiles, and the next fill caches."""

_EPOCHS = 10_000
"""Of one call of `fit`: more than there is time for."""


def measure_throughput(spec: TrialSpec, report: Callable[[EpochReport], bool]) -> TrialResult:
    """Trains the network of a trial as the trial would, until it has been watched for long enough; leaves no file.

    Args:
        spec: what to train, and on what.
        report: called when the network is warm, as epoch 0, and after each window, as epoch 1 and so on; a window
            begins when it returns, so several processes can be made to train at the same time. False ends the training.
            What it raises passes through. Metrics: `images_per_second` in the window, `memory_bytes` that the process
            has held at most (0: not known), and the `memory_limit` of the machine.

    Returns:
        STOPPED, or FAILED with a one-line reason.
    """
    watch = _Watch(spec, report)
    state, reason = TrialState.STOPPED, "measured"
    precision = resolve_precision(spec.precision)
    try:
        with fresh_session(spec.seed, precision, spec.deterministic):
            _train(spec, watch)
    except _EnoughError:
        pass
    except Exception as error:
        if error is watch.report_error:
            raise
        state, reason = TrialState.FAILED, failure_reason(error)
    return TrialResult(spec.number, spec.attempt, state, reason, precision=precision, backend=keras.backend.backend())


def _train(spec: TrialSpec, watch: _Watch) -> None:
    data = open_split(spec.data)
    network = build_network(spec, data.train_images)
    watch.set_model(network.model)
    watch.n_images = len(data.train_labels)
    watch.batch_size = int(network.hp.values.get("batch_size", DEFAULT_BATCH_SIZE))
    seen = -1
    while watch.n_seen > seen:  # a hypermodel's own fit may end early
        seen = watch.n_seen
        fit_model(network, data, epochs=_EPOCHS, callbacks=[watch], seed=spec.seed)
    raise RuntimeError("the hypermodel's fit ended without a single step; it must pass `callbacks` to model.fit")


class _EnoughError(Exception):
    """Ends `fit`, whatever a hypermodel makes of `stop_training`."""


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts images and closes windows.

    Attributes:
        n_images: in an epoch.
        batch_size: of a step, where Keras does not know how many steps an epoch has.
        n_seen: images so far, warming up included.
        report_error: what `report` raised, which is not the network's failure.
    """

    def __init__(self, spec: TrialSpec, report: Callable[[EpochReport], bool]) -> None:
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
        """Counts its steps anew."""
        self._steps_in_epoch = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts what was trained since the last call, which may be several steps."""
        n_steps, self._steps_in_epoch = batch + 1 - self._steps_in_epoch, batch + 1
        in_epoch = (self.params or {}).get("steps")
        self._count(round(n_steps * self.n_images / in_epoch) if in_epoch else n_steps * self.batch_size, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts an epoch whose steps were not told."""
        if self._steps_in_epoch == 0:
            self._count(self.n_images, logs)

    def _count(self, n_images: int, logs: dict[str, Any] | None) -> None:
        read_numbers(logs)  # to read a number of a step is to wait for it
        self.n_seen += n_images
        seconds = time.perf_counter() - self._began
        if self._to_warm_up > 0:
            self._to_warm_up -= 1
            if self._to_warm_up == 0:
                self._tell(0.0)
        elif seconds >= WINDOW_SECONDS:
            self._tell((self.n_seen - self._n_seen_before) / seconds)

    def _tell(self, images_per_second: float) -> None:
        metrics = {
            "images_per_second": images_per_second,
            "memory_bytes": float(peak_memory()),
            "memory_limit": float(memory_limit()[1]),
        }
        try:
            go_on = self._report(EpochReport(self._spec.number, self._spec.attempt, self._window, metrics))
        except Exception as error:
            self.report_error = error
            raise
        if not go_on:
            raise _EnoughError
        self._window += 1
        self._n_seen_before, self._began = self.n_seen, time.perf_counter()
