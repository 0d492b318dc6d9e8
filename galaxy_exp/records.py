"""Plain, frozen records that the driver, its workers, the journal and MLflow exchange.

They consist of strings, numbers, lists and dictionaries, so they can be pickled and written as JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from galaxy_exp.questions import Questions

__all__ = [
    "AGREEMENT",
    "BUILT_IN_HYPERMODEL",
    "BUILT_IN_MODEL",
    "CANNOT_CONTINUE",
    "DATA_GONE",
    "DISK_FULL",
    "ENCODER_GONE",
    "LESS_IS_BETTER",
    "Constraint",
    "Decision",
    "Direction",
    "EpochReport",
    "Evidence",
    "Gain",
    "HyperparameterValue",
    "Objective",
    "Outcome",
    "Probe",
    "SplitFiles",
    "SweepState",
    "Throughput",
    "Timing",
    "TrialResult",
    "TrialSpec",
    "TrialState",
    "VoteFiles",
    "gain_in",
]

BUILT_IN_HYPERMODEL = "galaxy-cnn"
"""Name of this package's hypermodel in a sweep file."""

BUILT_IN_MODEL = "galaxy10-cnn"
"""Default name of the registered model of a sweep with this package's network and data."""

DISK_FULL = "no space left on the disk"
"""The reason of a trial whose files could not be written; the sweep stops, and the trial does not count as failed."""

DATA_GONE = "the prepared images are gone or damaged"
"""Prefix of the reason of a trial whose images could not be read; they are restored, and the trial is repeated."""

ENCODER_GONE = "the encoder is gone or damaged"
"""Prefix of the reason of a trial whose encoder could not be read; the sweep stops, and the trial did not fail."""

CANNOT_CONTINUE = "; cannot continue: "
"""In the reason of a paused trial that left no checkpoint, before why."""

AGREEMENT = 0.8
"""Default of the least share of the votes for the winning answer with which volunteers agree about an image."""

HyperparameterValue = str | int | float | bool
Direction = Literal["max", "min"]


class SweepState(StrEnum):
    """How a sweep is, wherever people and scripts read it."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """It has not ended, and no process works on it; `galaxy-exp resume` continues it."""
    FINISHED = "finished"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    """Only in lists: its journal cannot be read."""


class TrialState(StrEnum):
    """The state of a trial. All states but `RUNNING` are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    """Trained all its epochs, or its hypermodel ended early."""
    STOPPED = "stopped"
    """Ended before its last epoch, for good or until it continues; the search learns from its curve."""
    FAILED = "failed"
    """Raised, diverged or ran out of memory because of its hyperparameters."""
    LOST = "lost"
    """Its worker died in every attempt."""
    INFEASIBLE = "infeasible"
    """Breaks a constraint of the sweep; never wins."""

    @property
    def is_finished(self) -> bool:
        return self is not TrialState.RUNNING

    @property
    def has_model(self) -> bool:
        """Whether a trial in this state has a model of its best epoch."""
        return self in (TrialState.COMPLETED, TrialState.STOPPED)


class Decision(StrEnum):
    """The driver's answer to the report of an epoch."""

    CONTINUE = "continue"
    PAUSE = "pause"
    """The attempt ends after this epoch and leaves a checkpoint, from which a later attempt may continue."""
    STOP = "stop"
    """The trial ends after this epoch."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric that a sweep optimises, and its direction."""

    name: str
    direction: Direction

    @property
    def worst(self) -> float:
        return -math.inf if self.direction == "max" else math.inf

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than `than`; NaN never is."""
        return value > than if self.direction == "max" else value < than

    def sort_key(self, value: float) -> float:
        """A sort key: the best value first, NaN last."""
        if math.isnan(value):
            return math.inf
        return -value if self.direction == "max" else value


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a cost of a network."""

    name: str
    """A name in `galaxy_exp.config.search_section.COSTS`."""
    sign: Literal["<=", ">="]
    limit: float

    def violation(self, value: float) -> float:
        """How far `value` is beyond the limit, relative to it; 0 or less when the constraint is kept."""
        excess = value - self.limit if self.sign == "<=" else self.limit - value
        return excess / abs(self.limit) if self.limit else excess

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class VoteFiles:
    """The votes of a prepared split: `.npy` files of float32 (n, n_answers), as `galaxy_exp.questions.Votes.values`."""

    train: Path
    validation: Path
    questions: Questions
    are_counts: bool


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """The NumPy files of a prepared split, which workers memory-map.

    `train_images` and `validation_images` are `.npy` files of uint8 (n, height, width, 3), the labels `.npy` files of
    int64 (n,). The held-out test set is not named here, so a trial cannot reach it.
    """

    train_images: Path
    train_labels: Path
    validation_images: Path
    validation_labels: Path
    class_names: tuple[str, ...]
    votes: VoteFiles | None = None
    """If the data has votes; labels are then the most frequent answers to the first question."""


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """All that a worker needs for one attempt at one trial."""

    sweep_id: str
    number: int
    values: dict[str, HyperparameterValue]
    """Active hyperparameters only."""
    space: dict[str, Any]
    """`keras_tuner.HyperParameters.get_config()` of the effective space."""
    hypermodel: str
    """`BUILT_IN_HYPERMODEL`, a dotted path `package.module:ClassName`, or "pickled:" and the file of a
    user-defined one from Python."""
    data: SplitFiles
    epochs: int
    seed: int
    precision: str
    """"auto", or the name of a Keras dtype policy such as "float32"."""
    deterministic: bool
    jit_compile: bool
    objective: Objective
    folder: Path
    """Where the worker writes the model and the predictions of this trial."""
    attempt: int = 1
    """From 1; a trial whose worker died is repeated with the next number."""
    constraints: tuple[Constraint, ...] = ()
    checkpoints: Path | None = None
    """The folder for the checkpoints of this trial's attempts; None: it writes none."""
    checkpoint_seconds: float = 0.0
    """The least time between two checkpoints of a running attempt."""
    keeps_last: bool = True
    """Whether the last epoch leaves a checkpoint too, since the trial may be trained for more epochs later."""
    resume_from: Path | None = None
    """The checkpoint with which this attempt begins; None: it begins with the first epoch."""
    first_epoch: int = 0
    """How many epochs that checkpoint has; 0 without one."""
    encoders: Path | None = None
    """The folder of the sweep's copies of encoders."""
    agreement: float = AGREEMENT
    """With votes: the least share of the winning answer with which an image counts for accuracy and macro-F1."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """A worker's report to the driver after an epoch."""

    number: int
    attempt: int
    epoch: int
    """From 1."""
    metrics: dict[str, float]
    """`loss`, `accuracy`, `macro_f1` (training, running averages), `val_loss`, `val_accuracy`,
    `val_macro_f1`, `val_balanced_accuracy`, `learning_rate`, `epoch_seconds`, `images_per_second`; with votes also
    `val_deviance`, `val_rmse`, `val_brier`, `val_calibration_error`, and for counts `val_nll`, `val_coverage`."""
    precision: str = ""
    """The dtype policy of the training; set with the first epoch only."""

    def row(self) -> dict[str, float]:
        """The row of `history.csv`; a metric called `epoch` is `metrics.epoch`."""
        metrics = {"metrics.epoch" if name == "epoch" else name: value for name, value in self.metrics.items()}
        return {"epoch": self.epoch, **metrics}


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The end of one attempt at a trial.

    For a state with a model, `TrialSpec.folder` has `model.keras` (inference only, float32,
    uint8 images in, probabilities out, no custom layers for the built-in hypermodel) and
    `validation_probabilities.npy` (float32 (n_validation, n_classes)), both of the best epoch.
    """

    number: int
    attempt: int
    state: TrialState
    reason: str
    """A few words: "all 20 epochs", "stopped at rung 3", "loss is nan at epoch 2"."""
    best_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    """The metrics of the best epoch, if any."""
    epochs: int = 0
    """Number of epochs that were trained."""
    seconds: float = 0.0
    """Wall time of the attempt in the worker."""
    training_seconds: float = 0.0
    """Wall time of the epochs, validation included."""
    parameters: int = 0
    """Number of weights of the network."""
    flops: int = 0
    """Floating point operations of one image forward; a multiplication and an addition count as two."""
    seconds_per_image: float = 0.0
    """Wall time of predicting one validation image, in the fastest epoch."""
    precision: str = ""
    """The dtype policy; with "auto", the same one in all trials of a sweep."""
    backend: str = ""
    traceback: str = ""
    """Of a failed trial."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a trial as a search sees it."""

    state: TrialState
    curve: tuple[float, ...] = ()
    """The first objective after each epoch; may contain nan."""
    values: tuple[float, ...] | None = None
    """Every objective at the best epoch; None for a trial without a model."""
    violations: tuple[float, ...] = ()
    """`Constraint.violation` of each constraint whose cost is known; above 0 if broken."""
    epoch_seconds: float | None = None
    """Mean wall time of an epoch (`TrialRecord.epoch_seconds`); None for a trial that trained none, and in older
    journals."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A finished trial of an earlier sweep."""

    values: dict[str, HyperparameterValue]
    """Active hyperparameters only."""
    outcome: Outcome
    sweep_id: str = ""
    """The earlier sweep; empty in older journals, which have one only."""
    comparable: bool = True
    """Whether its scores can be compared with the new sweep's; if not, only their order within the earlier sweep
    counts. True in older journals."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """The speed of workers that train the same network at the same time on one machine."""

    workers: int
    threads: int
    """Of each worker."""
    images_per_second: float
    """Of all workers together."""


LESS_IS_BETTER = frozenset({"loss", "deviance", "rmse", "brier", "nll", "calibration_error"})
"""The metrics of classes and of votes of which less is better."""


def gain_in(metric: str, value: float, other: float) -> float:
    """How much better `value` is than `other`; positive if better, also for `LESS_IS_BETTER`."""
    return other - value if metric in LESS_IS_BETTER else value - other


@dataclass(frozen=True, slots=True)
class Gain:
    """The gain of one model over another on the same images, with the 95% interval of the paired bootstrap."""

    metric: str
    difference: float
    """Positive if better, also for `LESS_IS_BETTER`."""
    low: float
    high: float

    @classmethod
    def of_difference(cls, metric: str, difference: float, low: float, high: float) -> Gain:
        """Builds a gain from a difference of values and the ends of its interval, as journals have them."""
        if metric in LESS_IS_BETTER:
            return cls(metric, 0.0 - difference, 0.0 - high, 0.0 - low)
        return cls(metric, difference, low, high)

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero; else the difference may be random."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        chance = "" if self.is_clear else "; may be chance"
        return f"{self.difference:+.3f} (95% interval {self.low:+.3f} to {self.high:+.3f}{chance})"

    def to_dict(self) -> dict[str, float | bool]:
        """For JSON: `difference`, `low`, `high` and `may_be_chance`."""
        return {
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "may_be_chance": not self.is_clear,
        }


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a network's training on this machine."""

    epoch_seconds: float
    """An epoch of training, with the prediction of the validation images."""
    start_seconds: float
    """Building and compiling, each time that a trial starts or continues."""
    once_seconds: float
    """The warm-up of a new head, which a trial that continues does not repeat."""
    seconds_per_image: float
    """Prediction."""
    shared_seconds: float = 0.0
    """Computing the features of a frozen encoder, once for all trials of a sweep."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Size, cost and problem of a network."""

    problem: str = ""
    """Why it cannot be trained here, in one line, or empty. The other fields are then set as far as they are known."""
    parameters: int = 0
    flops: int = 0
    """Of one image forward."""
    uncounted: tuple[str, ...] = ()
    """Layers that `flops` and `memory_bytes` leave out."""
    memory_bytes: int = 0
    """Estimate of the peak during training, without the inside of a model with its own `call`."""
    batch_size: int = 0
    precision: str = ""
    timing: Timing | None = None
    """None if it was not measured."""
