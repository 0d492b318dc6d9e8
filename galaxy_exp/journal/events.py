"""The events of a sweep, one frozen record each; a journal is a sequence of these.

An event is written before it takes effect, so a sweep can be resumed from a journal that is cut off anywhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from galaxy_exp.config.differences import Change
from galaxy_exp.config.reading import SweepFile
from galaxy_exp.config.sweep import MOST_WORKERS
from galaxy_exp.journal.orders import Order, first_problem
from galaxy_exp.records import Decision, EpochReport, Evidence, HyperparameterValue, Throughput, TrialResult

__all__ = [
    "EpochReported",
    "Event",
    "FinalistsChosen",
    "ModelRegistered",
    "OrderTaken",
    "ParentRunCreated",
    "PromotionDecided",
    "SealedTestOpened",
    "SweepChanged",
    "SweepEnded",
    "SweepResumed",
    "SweepStarted",
    "TrialEnded",
    "TrialProjected",
    "TrialProposed",
    "TrialRunCreated",
    "TrialStarted",
    "WinnerChosen",
    "WorkerLost",
    "WorkersChosen",
    "parse_event",
]


LATEST = 1e11
"""The latest time that an event may have, in seconds since 1970; calendars end there."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings", populate_by_name=True)

    time: float = Field(0.0, ge=0, le=LATEST)
    """Seconds since 1970, UTC; filled in by the journal."""


class SweepStarted(_Event):
    """The first event: all that resuming needs, without the sweep file."""

    event: Literal["sweep_started"] = "sweep_started"
    sweep_id: str
    config: dict[str, Any]
    space: dict[str, Any]
    """`keras_tuner.HyperParameters.get_config()` of the effective space."""
    baseline: dict[str, HyperparameterValue]
    enqueued: list[dict[str, HyperparameterValue]] = []
    """Configurations to try first: all active hyperparameters with their values."""
    evidence: list[Evidence] = []
    """Trials of earlier sweeps that the search learns from."""
    data_folder: str
    data_digest: str
    split_digest: str
    data_source: str = ""
    simulated: bool = False
    own_split: bool | None = None
    """Whether the split is user-defined; None, as in the three below, in journals of earlier releases."""
    n_identical: int | None = None
    """Images that are identical to an earlier one."""
    n_near: int | None = None
    """Different images that are near duplicates of an earlier one."""
    skipped: tuple[str, ...] | None = None
    """Unreadable files that were skipped, one line each."""
    tracking_uri: str
    software: dict[str, str]
    """Versions of Python and of the packages that matter, and the git commit, if any."""
    import_paths: list[str] = []
    """Folders of user-defined modules; a process that resumes the sweep imports from them too."""
    requested_scheduler: str = ""
    """The one that was configured if another was taken instead, as its paused trials could not continue."""
    hypermodel_source: str = ""
    """Digest of the file that defines a user's hypermodel; empty for others, and in journals of earlier releases."""
    sweep_file: SweepFile | None = None


class SweepResumed(_Event):
    """A process resumes the sweep, or the machine of the process that works on it has slept."""

    event: Literal["sweep_resumed"] = "sweep_resumed"
    asleep_seconds: float | None = None
    """Only if the machine has slept."""


class SweepChanged(_Event):
    """Changes of the configuration from here on; written when the sweep is resumed."""

    event: Literal["sweep_changed"] = "sweep_changed"
    config: dict[str, Any]
    """The whole resolved sweep file; replaces the one before."""
    changes: list[Change]
    reopens_search: bool = False
    """Whether the search had ended and continues; only before a finalist is trained again."""
    tracking_uri: str = ""
    """The MLflow store from here on, which has no runs of the sweep yet; empty if it is the one before."""
    sweep_file: SweepFile | None = None
    """Replaces the one before."""


class OrderTaken(_Event):
    """An order that was given while the sweep runs, and what follows from it."""

    event: Literal["order_taken"] = "order_taken"
    file: str
    """Name of the order's file; the same order is never carried out twice."""
    order: Order | None
    """None if the file was no order."""
    accepted: bool
    answer: str
    """One line: what happens now, or why nothing does."""
    change: SweepChanged | None = None
    """Changes of the configuration from here on."""


class WorkersChosen(_Event):
    """The result of `execution.workers: auto`; holds until resuming changes a key that it depends on."""

    event: Literal["workers_chosen"] = "workers_chosen"
    workers: int = Field(ge=1, le=MOST_WORKERS)
    why: str
    """One line that begins with the number."""
    measured: list[Throughput] = []
    """The measurements it was chosen from; empty if none was needed."""


class ParentRunCreated(_Event):
    event: Literal["parent_run_created"] = "parent_run_created"
    run_id: str
    experiment_id: str | None = None
    """None in journals of earlier releases."""


class TrialProposed(_Event):
    """A configuration to train; journaled before anything is trained."""

    event: Literal["trial_proposed"] = "trial_proposed"
    number: int
    values: dict[str, HyperparameterValue]
    seed: int
    predetermined: bool = Field(False, alias="settled")
    """Whether the sweep file or an order, not the sampler, chose the values: the baseline and enqueued ones."""
    retrains: int | None = Field(None, alias="confirms")
    """The finalist whose configuration is trained again, with another seed."""


class TrialRunCreated(_Event):
    """MLflow has a run for one attempt at a trial; it replaces the run of an earlier attempt."""

    event: Literal["trial_run_created"] = "trial_run_created"
    number: int
    run_id: str
    attempt: int = 1


class TrialStarted(_Event):
    """A worker got a trial in a new attempt: a new trial, one that lost its worker, or one that ended and continues.

    The reports of earlier attempts after `from_epoch` no longer count.
    """

    event: Literal["trial_started"] = "trial_started"
    number: int
    attempt: int
    from_epoch: int = Field(0, ge=0)
    """The epochs of the checkpoint that the attempt begins with; 0 if it begins with the first epoch."""
    continues: int | None = None
    """The trial that the checkpoint and these epochs are of, if it is another one, which Hyperband promoted."""


class EpochReported(_Event):
    """The metrics of one epoch, and whether the driver lets the trial continue.

    What was reported of this epoch and later ones before no longer counts: an attempt that could not read its
    checkpoint begins with the first epoch.
    """

    event: Literal["epoch_reported"] = "epoch_reported"
    report: EpochReport
    go_on: bool
    paused: bool = False
    """Whether the trial, which does not continue now, may continue later."""

    @property
    def decision(self) -> Decision:
        """The driver's answer."""
        return Decision.CONTINUE if self.go_on else Decision.PAUSE if self.paused else Decision.STOP


class WorkerLost(_Event):
    """The worker died, for a reason that is not the trial's fault."""

    event: Literal["worker_lost"] = "worker_lost"
    number: int
    attempt: int
    reason: str


class TrialEnded(_Event):
    event: Literal["trial_ended"] = "trial_ended"
    result: TrialResult


class TrialProjected(_Event):
    """Everything about an ended trial is in MLflow."""

    event: Literal["trial_projected"] = "trial_projected"
    number: int
    attempt: int = 0
    """The attempt that ended, as the trial may have continued meanwhile; 0 in older journals."""


class FinalistsChosen(_Event):
    """The search is over; these trials' configurations are trained again before the choice is made."""

    event: Literal["finalists_chosen"] = "finalists_chosen"
    numbers: list[int]
    """The best first; none if no trial has a model."""
    reason: str
    """Why the search ended."""


class WinnerChosen(_Event):
    """Chosen on validation data alone, before the held-out test set is opened."""

    event: Literal["winner_chosen"] = "winner_chosen"
    number: int


class SealedTestOpened(_Event):
    """One model was tested on the held-out test set; `report` is `TestReport.to_dict()`."""

    event: Literal["sealed_test_opened"] = "sealed_test_opened"
    number: int
    report: dict[str, Any]
    opening: int = Field(0, ge=0)
    """Number of sweeps of the project that had opened this test set, this one included; 0 in older journals."""
    gains: dict[str, tuple[float, float, float]] = {}
    """By metric: the winner's value minus this model's, and the ends of its 95% interval. Empty for the winner itself,
    and in older journals."""
    test_images: str = ""
    """`registry.held_out.digest_images` of the images and labels; empty in older journals."""

    @field_validator("report")
    @classmethod
    def _with_its_scores(cls, report: dict[str, Any]) -> dict[str, Any]:
        for name in ("n_images", "accuracy", "macro_f1", "balanced_accuracy"):
            if not isinstance(report.get(name), int | float):
                raise ValueError(f"{name} is {report.get(name)!r}, expected a number")
        return report


class ModelRegistered(_Event):
    event: Literal["model_registered"] = "model_registered"
    number: int
    name: str
    version: int


class PromotionDecided(_Event):
    event: Literal["promotion_decided"] = "promotion_decided"
    name: str
    version: int
    promoted: bool
    reason: str
    opening: int = Field(0, ge=0)
    """Number of this opening of the test set, counting those in the MLflow store too; 0 in older journals."""


class SweepEnded(_Event):
    event: Literal["sweep_ended"] = "sweep_ended"
    succeeded: bool
    reason: str


Event = Annotated[
    SweepStarted
    | SweepResumed
    | SweepChanged
    | OrderTaken
    | WorkersChosen
    | ParentRunCreated
    | TrialProposed
    | TrialRunCreated
    | TrialStarted
    | EpochReported
    | WorkerLost
    | TrialEnded
    | TrialProjected
    | FinalistsChosen
    | WinnerChosen
    | SealedTestOpened
    | ModelRegistered
    | PromotionDecided
    | SweepEnded,
    Field(discriminator="event"),
]

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(line: bytes | str) -> Event:
    """Reads one line of a journal.

    Raises:
        ValueError: the line is not a known event; one line that names the key.
    """
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
