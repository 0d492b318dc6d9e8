"""The callback that writes checkpoints beside the training."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras

from galaxy_exp.checkpoint_file import Checkpoint, checkpoint_path, write_checkpoint
from galaxy_exp.errors import is_disk_full, reason_of, typed_reason
from galaxy_exp.records import DISK_FULL, Decision, TrialSpec
from galaxy_exp.training.continuation import IN_PARTS, NO_MODEL_FIT, OTHER_MODEL, Snapshot, why_not_continuable
from galaxy_exp.training.recorder import EpochRecorder
from galaxy_exp.training.trial_network import TrialNetwork

__all__ = ["Checkpoints"]

SHARE = 0.02
"""The time that checkpoints of a running attempt may take, as a share of the time of its epochs."""

FIRST_SECONDS = 10.0
"""Trials that train for less leave no checkpoint unless they are paused."""

_BYTES_PER_SECOND = 4e8
_COPIES = 4
"""To estimate what the first checkpoint costs: a slow disk; weights, Adam's state, and the best epoch's weights."""

_LOG = logging.getLogger(__name__)


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Leaves checkpoints of an attempt: now and then, of its last epoch, and always of the epoch it is paused after.

    The arrays are copied between two epochs; a thread writes them while the next epoch is trained. A checkpoint that
    cannot be written is reported in the worker's log, and the training continues.

    Args:
        recorder: has the epochs, and the answers to their reports; precedes this callback.

    Attributes:
        missing: why an attempt that was paused left no checkpoint; None if it did, or was not paused.
    """

    def __init__(self, spec: TrialSpec, network: TrialNetwork, recorder: EpochRecorder) -> None:
        super().__init__()
        self._spec = spec
        self._network = network
        self._recorder = recorder
        self._snapshot = Snapshot(network)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._latest: Path | None = None
        self._taken_at = -math.inf
        self._last_cost: float = _COPIES * 4 * network.model.count_params() / _BYTES_PER_SECOND
        self._spent = 0.0
        self._problem: str | None = None
        self.missing: str | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes a checkpoint of this epoch, if it is time for one."""
        paused = self._recorder.decision is Decision.PAUSE
        is_last = len(self._recorder.reports) >= self._spec.epochs
        if not (paused or (self._is_last_worth_it() if is_last else self._is_due())):
            return
        try:
            obstacle = "there is no folder for checkpoints" if self._spec.checkpoints is None else self._obstacle(epoch)
            if obstacle is None:
                self._take()
            elif self._problem is None:
                self._report(obstacle)
        except Exception as error:  # noqa: BLE001 - no trial is lost for want of a checkpoint; it is reported
            self._report("no memory for it" if isinstance(error, MemoryError) else typed_reason(error))
        if paused and not is_last:
            self._wait()
            if self._latest != self._path():
                self.missing = self._problem

    def close(self) -> None:
        """Waits until the last checkpoint is written."""
        self._wait()
        self._thread.shutdown()

    def _is_due(self) -> bool:
        return (
            self._recorder.decision is Decision.CONTINUE
            and self._spec.checkpoints is not None
            and self._recorder.training_seconds >= FIRST_SECONDS
            and time.monotonic() - self._taken_at >= self._spec.checkpoint_seconds
            and (self._writing is None or self._writing.done())
            and self._is_affordable()
        )

    def _is_last_worth_it(self) -> bool:
        if self._spec.checkpoints is None or not self._spec.keeps_last:
            return False
        was_resumed = self._spec.resume_from is not None
        return was_resumed or (self._recorder.training_seconds >= FIRST_SECONDS and self._is_affordable())

    def _is_affordable(self) -> bool:
        trained = self._recorder.training_seconds - self._recorder.seconds_before
        return self._spent + self._last_cost <= SHARE * trained

    def _obstacle(self, epoch: int) -> str | None:
        """Why a later attempt could not continue from here."""
        model = self._network.model
        if obstacle := why_not_continuable(self._network.hypermodel, model):
            return obstacle
        if self.model is not None and self.model is not model:
            return OTHER_MODEL
        planned, n_trained = (self.params or {}).get("epochs"), len(self._recorder.reports)
        if getattr(model, "train_function", None) is None or planned is None:
            return NO_MODEL_FIT
        if planned != self._spec.epochs or epoch + 1 != n_trained:
            return IN_PARTS
        return None

    def _path(self) -> Path:
        spec = self._spec
        return checkpoint_path(spec.checkpoints or Path(), spec.number, spec.attempt, len(self._recorder.reports))

    def _take(self) -> None:
        self._wait()
        began = time.perf_counter()
        self._taken_at = time.monotonic()
        checkpoint = self._snapshot.take(self._spec, self._recorder)
        seconds = time.perf_counter() - began
        is_paused = self._recorder.decision is Decision.PAUSE
        self._writing = self._thread.submit(self._write, self._path(), checkpoint, seconds, keeps_older=is_paused)

    def _write(self, path: Path, checkpoint: Checkpoint, copying_seconds: float, *, keeps_older: bool) -> None:
        """Runs in the thread; whatever prevents it costs this checkpoint alone.

        A paused attempt keeps its older checkpoint until the driver knows its end: if the driver is killed before, the
        epoch of the pause is trained again from there.
        """
        began = time.perf_counter()
        try:
            write_checkpoint(path, checkpoint)
            if self._latest is not None and self._latest != path and not keeps_older:
                self._latest.unlink(missing_ok=True)
            self._latest, self._problem = path, None
        except Exception as error:  # noqa: BLE001 - no trial is lost for want of a checkpoint; it is reported
            self._report(DISK_FULL if is_disk_full(error) else f"{path}: {reason_of(error)}")
        self._last_cost = copying_seconds + time.perf_counter() - began
        self._spent += self._last_cost

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.warning("trial %d leaves no checkpoint: %s", self._spec.number, problem)
        self._problem = problem
