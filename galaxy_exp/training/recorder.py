"""The callback of a trial: after each epoch it measures, reports, remembers the best, and may stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.evaluation.metrics import summarise_predictions
from galaxy_exp.evaluation.vote_metrics import summarise_votes
from galaxy_exp.hypermodel.outputs import OutputKind, find_output_kind, to_probabilities
from galaxy_exp.records import Decision, EpochReport, TrialSpec
from galaxy_exp.training.fitting import SplitArrays, TrainingEnded
from galaxy_exp.training.predictions import predict_outputs

__all__ = ["BestEpoch", "DivergedError", "EpochRecorder", "read_numbers"]


class DivergedError(Exception):
    """The loss is not a finite number."""


@dataclass(frozen=True, slots=True)
class BestEpoch:
    """The best epoch so far, kept in memory."""

    epoch: int
    """Counts from 1."""
    metrics: dict[str, float]
    weights: list[NDArray[Any]]
    probabilities: NDArray[np.float32]
    """(n_validation, n_classes), or the numbers for votes, (n_validation, n_answers)."""
    kind: OutputKind
    """The kind of the network's raw outputs."""


class EpochRecorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Predicts the validation images once per epoch, reports, and keeps the best epoch by the objective.

    Works with Keras's training and with any loop that calls `on_epoch_end`, whatever its logs.

    Args:
        model: predicts and is kept, even if the callback is attached to another model.
        report: called with each epoch's metrics; PAUSE and STOP end the training after this epoch.

    Attributes:
        reports: all epochs so far.
        best: the best epoch so far, None before the first.
        decision: the last answer of `report`.
        stopped: whether it ended the training before the last epoch.
        report_error: an error of `report`, which is not the trial's failure.
        training_seconds: time of all epochs, validation included.
        seconds_before: of these, the time of epochs that an earlier attempt trained.
        seconds_per_image: of predicting the validation images, in the fastest epoch so far.
    """

    def __init__(
        self, spec: TrialSpec, model: keras.Model, data: SplitArrays, report: Callable[[EpochReport], Decision]
    ) -> None:
        super().__init__()
        self.set_model(model)
        self._network = model
        self._spec = spec
        self._data = data
        self._report = report
        self.reports: list[EpochReport] = []
        self.best: BestEpoch | None = None
        self.decision = Decision.CONTINUE
        self.stopped = False
        self.report_error: Exception | None = None
        self.training_seconds = self.seconds_before = 0.0
        self.seconds_per_image = 0.0
        self._began = time.perf_counter()
        self._trained: float | None = None

    def restore(
        self, reports: Sequence[EpochReport], best: BestEpoch, training_seconds: float, seconds_per_image: float
    ) -> None:
        """Adopts the epochs that an earlier attempt trained, with the values of the attributes of these names."""
        self.reports, self.best = list(reports), best
        self.training_seconds = self.seconds_before = training_seconds
        self.seconds_per_image = seconds_per_image

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._end_if_stopped()
        self._began, self._trained = time.perf_counter(), None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Stops the training clock where a user-defined `fit` validates inside the epoch."""
        self._trained = self._trained or time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures, remembers and reports this epoch."""
        self._end_if_stopped()
        seconds = (self._trained or time.perf_counter()) - self._began
        number = len(self.reports) + 1
        training = {name: value for name, value in read_numbers(logs).items() if not name.startswith("val_")}
        _check_finite("loss", training.get("loss", 0.0), number)
        outputs = self._predict()
        has_votes = self._data.validation_votes is not None
        kind = OutputKind.VOTES if has_votes else find_output_kind(self._network, outputs)
        probabilities = to_probabilities(outputs, kind)
        metrics = training | self._validation_metrics(probabilities, number) | self._speed(seconds)
        self._remember(number, metrics, probabilities, kind)
        self.training_seconds += time.perf_counter() - self._began
        precision = self._spec.precision if number == 1 else ""
        self._send(EpochReport(self._spec.number, self._spec.attempt, number, metrics, precision))
        self._began, self._trained = time.perf_counter(), None

    def _end_if_stopped(self) -> None:
        if self.stopped:
            raise TrainingEnded  # the training ignored `stop_training`

    def _predict(self) -> NDArray[np.float32]:
        images = self._data.validation_images
        began = time.perf_counter()
        votes = self._data.validation_votes
        questions = None if votes is None else votes.questions
        outputs = predict_outputs(self._network, images, len(self._spec.data.class_names), questions)
        seconds = (time.perf_counter() - began) / len(images)
        # the first epoch also traces the network
        self.seconds_per_image = min(self.seconds_per_image or seconds, seconds)
        return outputs

    def _validation_metrics(self, probabilities: NDArray[np.float32], number: int) -> dict[str, float]:
        votes = self._data.validation_votes
        if votes is None:
            measured = summarise_predictions(self._data.validation_labels, probabilities)
        else:
            measured = summarise_votes(votes, probabilities, self._spec.agreement)
        _check_finite("val_loss", measured["loss"], number)
        return {f"val_{name}": value for name, value in measured.items()}

    def _speed(self, seconds: float) -> dict[str, float]:
        optimizer, rate = getattr(self._network, "optimizer", None), {}
        if isinstance(optimizer, keras.optimizers.Optimizer):  # a user-defined loop may have none, or another
            rate = {"learning_rate": float(keras.ops.convert_to_numpy(optimizer.learning_rate))}
        n_images = len(self._data.train_labels)
        return {**rate, "epoch_seconds": seconds, "images_per_second": n_images / max(seconds, 1e-9)}

    def _remember(
        self, number: int, metrics: dict[str, float], probabilities: NDArray[np.float32], kind: OutputKind
    ) -> None:
        objective = self._spec.objective
        if self.best is None or objective.is_better(metrics[objective.name], self.best.metrics[objective.name]):
            self.best = BestEpoch(number, metrics, self._network.get_weights(), probabilities, kind)

    def _send(self, report: EpochReport) -> None:
        self.reports.append(report)
        try:
            self.decision = self._report(report)
        except Exception as error:
            self.report_error = error
            raise
        if self.decision is not Decision.CONTINUE and report.epoch < self._spec.epochs:
            self.stopped = True
            self.model.stop_training = self._network.stop_training = True


def read_numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """The single numbers in the logs of an epoch or a step, of any library's type."""
    named = (logs or {}).items()
    return {name: float(value) for name, value in named if not isinstance(value, str | None) and np.ndim(value) == 0}


def _check_finite(name: str, value: float, number: int) -> None:
    if not math.isfinite(value):
        raise DivergedError(f"diverged: {name} is {value:g} at epoch {number}")
