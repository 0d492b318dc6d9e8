"""Trains a recorded trial again from its record, and compares the curves."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from galaxy_exp.config.differences import EPOCHS
from galaxy_exp.encoder_file import find_encoder, is_identity
from galaxy_exp.environment import add_import_paths, describe_software
from galaxy_exp.errors import BadInputError, JournalError, SweepFailedError
from galaxy_exp.execution.engine import LocalEngine, LostWorker
from galaxy_exp.execution.trials import trial_spec
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.journal.journal import read_record
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.preparation import note_changed_source
from galaxy_exp.quiet import import_keras_quietly, say_nothing
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialSpec
from galaxy_exp.search.proposer import epochs_of
from galaxy_exp.sweep_images import restore_data
from galaxy_exp.wording import Say, count

__all__ = ["TOLERANCE", "Reproduction", "find_trial", "reproduce_trial"]

TOLERANCE = 0.05
"""How far the best value of the objective may be from the recorded one if training is not repeatable bit for bit: the
order in which threads add numbers differs from run to run, and some hundred training steps amplify the difference."""

_POLL_SECONDS = 60.0

_METRICS = (
    "loss",
    *("val_loss", "val_accuracy", "val_macro_f1", "val_balanced_accuracy"),
    *("val_deviance", "val_rmse", "val_brier", "val_nll", "val_calibration_error", "val_coverage"),
)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A trial trained twice."""

    record: SweepRecord
    trial: TrialRecord
    reports: tuple[EpochReport, ...]
    """Of the second training: as many epochs as were recorded, or fewer if it ended early."""
    exact: bool
    """Whether the curves must be equal bit for bit: with float32 and `training.deterministic`."""
    tolerance: float
    software_changes: dict[str, tuple[str, str]]
    """The versions then and now of the packages that have changed."""

    @property
    def largest_difference(self) -> float:
        """The largest over all epochs and metrics that both have; infinite if an epoch is missing."""
        if len(self.reports) != len(self.trial.reports):
            return float("inf")
        pairs = [
            (then.metrics[name], now.metrics[name])
            for then, now in zip(self.trial.reports, self.reports, strict=True)
            for name in _METRICS
            if name in then.metrics and name in now.metrics
        ]
        return max((abs(then - now) for then, now in pairs), default=0.0)

    @property
    def difference_at_best(self) -> float:
        """The difference of the best values of the objective; infinite if the second training reported none."""
        objective = self.record.objective
        values = [report.metrics[objective.name] for report in self.reports if objective.name in report.metrics]
        then = self.trial.curve(objective.name)
        if not values or not then:
            return float("inf")
        return abs(min(values, key=objective.sort_key) - min(then, key=objective.sort_key))

    @property
    def succeeded(self) -> bool:
        """Whether the curves are equal, if `exact`, or else the best values within the tolerance."""
        if self.exact:
            return self.largest_difference == 0.0
        return self.difference_at_best <= self.tolerance


def find_trial(reference: str) -> tuple[SweepFolder, SweepRecord, TrialRecord]:
    """The trial that `SWEEP/NUMBER`, `NUMBER` (of the newest sweep) or an MLflow run id means.

    Raises:
        BadInputError: there is no such trial, or it has no epoch to compare with.
    """
    project = ProjectFolder.default()
    sweep, slash, number = reference.rpartition("/")
    if number.isdigit() and (slash or len(number) < 8):
        folder = project.find_sweep(sweep or None)
        record = read_record(folder.path)
        if int(number) not in record.trials:
            raise BadInputError(f"{folder.sweep_id} has no trial {number}; it has 0 to {len(record.trials) - 1}")
        return folder, record, _with_epochs(record.trials[int(number)], folder)
    for folder in reversed(project.sweeps()):
        try:
            record = read_record(folder.path)
        except JournalError:
            continue
        for trial in record.trials.values():
            if trial.run_id == reference:
                return folder, record, _with_epochs(trial, folder)
    raise BadInputError(
        f'no trial is called "{reference}" in {project.path}; expected SWEEP/NUMBER, a number, or the run id of a trial'
    )


def _with_epochs(trial: TrialRecord, folder: SweepFolder) -> TrialRecord:
    if trial.result is None or not trial.reports:
        raise BadInputError(
            f"trial {trial.number} of {folder.sweep_id} is {trial.state} and has no curve to compare with"
        )
    return trial


def reproduce_trial(reference: str, *, tolerance: float = TOLERANCE, say: Say | None = None) -> Reproduction:
    """Trains a recorded trial again, as many epochs as it was trained, in a process of its own.

    Nothing is written to the sweep, to MLflow or to the registry.

    Args:
        tolerance: of the best value of the objective, if the curves need not be equal.

    Raises:
        BadInputError: there is no such trial.
        ConfigError: the encoder that it started from is gone, or the hypermodel cannot be imported.
        DataError: the images have changed, or are gone.
        SweepFailedError: the training failed or its process died.
    """
    folder, record, trial = find_trial(reference)
    precision = trial.result.precision if trial.result is not None else ""
    import_keras_quietly()
    say = say or say_nothing
    data = restore_data(record, folder, say)
    add_import_paths(record.started.import_paths)
    note_changed_source(record, folder, say)
    if is_identity(identity := trial.values.get("encoder")):
        find_encoder(str(trial.values["start"]), str(identity), folder.encoders)
    scratch = Path(tempfile.mkdtemp(prefix="galaxy_exp_reproduce_"))
    engine = LocalEngine([WorkerProcess(scratch / "worker.log")])
    try:
        spec = trial_spec(record, folder, data.files, trial, trial.attempt)
        spec = replace(spec, folder=scratch / "trial", constraints=(), precision=precision or spec.precision)
        spec = replace(spec, checkpoints=None, resume_from=None, first_epoch=0, epochs=_planned_epochs(record, trial))
        say(f"training trial {trial.number} of {record.sweep_id} again, {count(len(trial.reports), 'epoch')}")
        reports = tuple(_train(engine, spec, len(trial.reports)))
    finally:
        engine.close()
        shutil.rmtree(scratch, ignore_errors=True)
    now = describe_software()
    then = record.started.software
    changes = {
        name: (then.get(name, "none"), now.get(name, "none"))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    }
    exact = record.config.training.deterministic and precision == "float32"
    return Reproduction(record, trial, reports, exact, tolerance, changes)


def _planned_epochs(record: SweepRecord, trial: TrialRecord) -> int:
    """Those that its schedule of the learning rate spans: of the configuration when it was trained."""
    later = (change for event in record.changed if event.time > trial.report_times[-1] for change in event.changes)
    planned = next((change.then for change in later if change.key == EPOCHS), record.config.training.epochs)
    return epochs_of(trial.values, planned)


def _train(engine: LocalEngine, spec: TrialSpec, n_epochs: int) -> list[EpochReport]:
    reports: list[EpochReport] = []
    engine.submit(spec)
    while True:
        event = engine.next_event(_POLL_SECONDS)
        match event:
            case EpochReport():
                reports.append(event)
                engine.answer(spec.number, Decision.CONTINUE if event.epoch < n_epochs else Decision.STOP)
            case LostWorker():
                raise SweepFailedError(f"the process that trained trial {spec.number} again died: {event.reason}")
            case TrialResult():
                if not event.state.has_model and len(reports) < n_epochs:
                    raise SweepFailedError(f"trial {spec.number} failed this time: {event.reason}")
                return reports
