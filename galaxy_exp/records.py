"""Plain, frozen records that travel between the driver, its workers, the journal and MLflow.

Everything here is made of strings, numbers, lists and dictionaries, so that it can be pickled to a
worker and written to the journal as JSON. Nothing here imports Keras or MLflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "BUILT_IN_HYPERMODEL",
    "BUILT_IN_MODEL",
    "DATA_GONE",
    "DISK_FULL",
    "Constraint",
    "Direction",
    "EpochReport",
    "Evidence",
    "Gain",
    "HyperparameterValue",
    "Objective",
    "Outcome",
    "SplitFiles",
    "Throughput",
    "TrialResult",
    "TrialSpec",
    "TrialState",
    "gain_in",
]

BUILT_IN_HYPERMODEL = "galaxy-cnn"
"""Name of the hypermodel of this package in a sweep file."""

BUILT_IN_MODEL = "galaxy10-cnn"
"""Default name of the registered model of sweeps with this package's network and data."""

DISK_FULL = "no space left on the disk"
"""The reason of a trial whose files could not be written; the sweep stops, and the trial has not failed."""

DATA_GONE = "the prepared images are gone or damaged"
"""How the reason of a trial begins whose images could not be read; they are restored, and the trial has not failed."""

HyperparameterValue = str | int | float | bool
Direction = Literal["max", "min"]


class TrialState(StrEnum):
    """Where a trial stands. `RUNNING` is the only state that a trial can leave."""

    RUNNING = "running"
    COMPLETED = "completed"
    """Ran all its epochs (or ended itself)."""
    STOPPED = "stopped"
    """Ended early by the pruner; its curve counts as evidence."""
    FAILED = "failed"
    """Raised, diverged or ran out of memory through its own hyperparameters."""
    LOST = "lost"
    """Its worker died each time it was tried."""
    INFEASIBLE = "infeasible"
    """Breaks a constraint of the sweep: counts as bad evidence and never wins."""

    @property
    def is_finished(self) -> bool:
        return self is not TrialState.RUNNING

    @property
    def has_model(self) -> bool:
        """Whether a trial in this state trained to an epoch that can be used."""
        return self in (TrialState.COMPLETED, TrialState.STOPPED)


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric a sweep optimises, and which way."""

    name: str
    direction: Direction

    @property
    def worst(self) -> float:
        return -math.inf if self.direction == "max" else math.inf

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` strictly beats `than`; NaN never beats anything."""
        return value > than if self.direction == "max" else value < than

    def sort_key(self, value: float) -> float:
        """A key that sorts the best value first; NaN last."""
        if math.isnan(value):
            return math.inf
        return -value if self.direction == "max" else value


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on what a network may cost."""

    name: str
    """A name in `galaxy_exp.config.sweep.COSTS`."""
    sign: Literal["<=", ">="]
    limit: float

    def violation(self, value: float) -> float:
        """How far `value` is beyond the limit, relative to it; 0 or less when the constraint is kept."""
        excess = value - self.limit if self.sign == "<=" else self.limit - value
        return excess / abs(self.limit) if self.limit else excess

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """Where a prepared split lies on disk: NumPy files that workers memory-map.

    `train_images` and `validation_images` are `.npy` files of uint8 (n, height, width, 3), the labels
    `.npy` files of int64 (n,). The test part is deliberately not named here: a trial that only gets
    `SplitFiles` cannot reach it.
    """

    train_images: Path
    train_labels: Path
    validation_images: Path
    validation_labels: Path
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """All a worker needs for one attempt at one trial."""

    sweep_id: str
    number: int
    values: dict[str, HyperparameterValue]
    """Active hyperparameters only."""
    space: dict[str, Any]
    """`keras_tuner.HyperParameters.get_config()` of the effective space."""
    hypermodel: str
    """`BUILT_IN_HYPERMODEL`, a dotted path `package.module:ClassName`, or "pickled:" and the file of one given from
    Python."""
    data: SplitFiles
    epochs: int
    seed: int
    precision: str
    """"auto", or the name of a Keras dtype policy such as "float32"."""
    deterministic: bool
    jit_compile: bool
    objective: Objective
    folder: Path
    """Where the worker leaves the model and the predictions of this trial."""
    attempt: int = 1
    """Counts from 1; a trial whose worker died is issued again with the next attempt."""
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What a worker tells the driver after each epoch."""

    number: int
    attempt: int
    epoch: int
    """Counts from 1."""
    metrics: dict[str, float]
    """`loss`, `accuracy`, `macro_f1` (training, running averages), `val_loss`, `val_accuracy`,
    `val_macro_f1`, `val_balanced_accuracy`, `learning_rate`, `epoch_seconds`, `images_per_second`."""
    precision: str = ""
    """The dtype policy that the trial is trained in, with its first epoch."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How one attempt at a trial ended.

    For a state with a model, `folder` of the specification holds `model.keras` (inference only, float32,
    uint8 images in, probabilities out, no custom layers for the built-in hypermodel) and
    `validation_probabilities.npy` (float32 (n_validation, n_classes)), both of the best epoch.
    """

    number: int
    attempt: int
    state: TrialState
    reason: str
    """Why it ended, in a few words: "all 20 epochs", "stopped at rung 3", "loss is nan at epoch 2"."""
    best_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    """The metrics of the best epoch; empty when there was none."""
    epochs: int = 0
    """How many epochs were trained."""
    seconds: float = 0.0
    """Wall time of the whole execution in the worker."""
    training_seconds: float = 0.0
    """The part of `seconds` inside the training epochs, validation included."""
    parameters: int = 0
    """Number of weights of the network."""
    flops: int = 0
    """Floating point operations for one image forward, a multiplication and an addition counting as two."""
    seconds_per_image: float = 0.0
    """Wall time the network takes for one image when it predicts the validation images, at its fastest epoch."""
    precision: str = ""
    """The dtype policy; "auto" comes to the same one in all trials of a sweep."""
    backend: str = ""
    traceback: str = ""
    """Set for `FAILED`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search learns from a trial that ended."""

    state: TrialState
    curve: tuple[float, ...] = ()
    """The first objective after each epoch that was trained; may hold nan."""
    values: tuple[float, ...] | None = None
    """Every objective at the best epoch; None for a trial without a model."""
    violations: tuple[float, ...] = ()
    """`Constraint.violation` of each constraint, as far as known: above 0 where one is broken."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A finished trial of an earlier sweep, with the active hyperparameters only."""

    values: dict[str, HyperparameterValue]
    outcome: Outcome
    sweep_id: str = ""
    """The earlier sweep; empty in journals that could name only one."""
    comparable: bool = True
    """Whether its scores can be compared with the new sweep's; if not, only their order within the earlier sweep
    counts. Journals that do not say so took them as comparable."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast workers that share a machine train the same network at the same time."""

    workers: int
    threads: int
    """Of each."""
    images_per_second: float
    """Of all together."""


_LESS_IS_BETTER = "loss"


def gain_in(metric: str, value: float, other: float) -> float:
    """How much better `value` is than `other`: positive if better, also of `loss`."""
    return other - value if metric == _LESS_IS_BETTER else value - other


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better one model is than another on the same images, with the 95% interval of the paired bootstrap."""

    metric: str
    difference: float
    """Positive if better, also of `loss`, of which less is better."""
    low: float
    high: float

    @classmethod
    def of_difference(cls, metric: str, difference: float, low: float, high: float) -> Gain:
        """From the model's value minus the other's and the ends of its interval, as journals have them."""
        if metric == _LESS_IS_BETTER:
            return cls(metric, 0.0 - difference, 0.0 - high, 0.0 - low)
        return cls(metric, difference, low, high)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero; else the difference may be chance."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        chance = "" if self.is_clear else "; may be chance"
        return f"{self.difference:+.3f} (95% interval {self.low:+.3f} to {self.high:+.3f}{chance})"

    def to_dict(self) -> dict[str, float | bool]:
        """For machines: `difference`, `low`, `high` and `may_be_chance`."""
        return {
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "may_be_chance": not self.is_clear,
        }
