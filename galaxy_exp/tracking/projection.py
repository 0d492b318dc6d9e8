"""Keeps MLflow in step with a sweep's journal, idempotently, and never in the sweep's way."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.errors import TrackingError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import (
    EpochReported,
    Event,
    ParentRunCreated,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialRunCreated,
    TrialStarted,
)
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import EpochReport, TrialState
from galaxy_exp.tracking import names
from galaxy_exp.tracking.artifacts import write_sweep_artifacts, write_trial_artifacts
from galaxy_exp.tracking.content import (
    describe_sweep,
    outcome_metrics,
    outcome_params,
    sweep_metrics,
    sweep_params,
)

__all__ = ["MlflowProjection"]

_OUTAGES = (MlflowException, TrackingError, OSError)
"""What MLflow raises when it is away, refuses, or its disk is full; requests' exceptions are OSErrors."""
_MAX_PARAMS_PER_CALL = 100
_MAX_METRICS_PER_CALL = 1000
_STATUS = {
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETED: "FINISHED",
    TrialState.STOPPED: "FINISHED",
    TrialState.FAILED: "FAILED",
    TrialState.LOST: "KILLED",
}


class MlflowProjection:
    """An observer of the loop that writes each event to MLflow as it comes.

    MLflow failing is not the sweep failing: the first failure is told through `warn`, events are then let
    pass, and `catch_up` brings everything in order later. What is written carries the journal's own
    timestamps, and MLflow drops a metric that it has already, so writing twice changes nothing.

    The store is opened, and what an earlier process left unwritten is caught up, at the first event: by then the
    first trial is running, so that no worker waits while MLflow creates its database.

    Args:
        open_store: opens the store named in the journal; called once, when it is needed.
        journal: gets the ids of runs and a note for each trial that is wholly in MLflow.
        folder: the sweep's, with the trials' files.
        data: described in MLflow as the runs' input.
        warn: takes one line for the user.
    """

    def __init__(
        self,
        open_store: Callable[[], MlflowClient],
        journal: Journal,
        folder: SweepFolder,
        data: PreparedData,
        warn: Callable[[str], None],
    ) -> None:
        self._open_store = open_store
        self._journal = journal
        self._folder = folder
        self._data = data
        self._warn = warn
        self._experiment_id: str | None = None
        self._is_behind = True
        self._has_warned = False

    @cached_property
    def client(self) -> MlflowClient:
        """The store's client, opened at first use."""
        return self._open_store()

    @property
    def _record(self) -> SweepRecord:
        return self._journal.record

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if self._has_warned and self._is_behind and not isinstance(event, TrialEnded):
            return  # MLflow is away; asked again once a trial
        try:
            if self._is_behind:
                self._catch_up()
            self._project(event)
        except _OUTAGES as error:
            self._fall_behind(error)

    def catch_up(self) -> None:
        """Writes everything that MLflow lacks.

        Raises:
            TrackingError: if MLflow still cannot be written to; what was written stays, and nothing is lost.
        """
        try:
            self._catch_up()
        except _OUTAGES as error:
            raise TrackingError(self._describe(error)) from error

    def close_sweep(self, status: str) -> None:
        """Writes the sweep's summary to the parent run and ends it ("FINISHED", "FAILED" or "KILLED").

        Raises:
            TrackingError: if MLflow cannot be written to.
        """
        try:
            self._close_sweep(status)
        except _OUTAGES as error:
            raise TrackingError(self._describe(error)) from error

    def _project(self, event: Event) -> None:
        match event:
            case TrialProposed():
                self._ensure_trial_run(self._record.trials[event.number])
            case TrialStarted() if event.attempt > 1:
                self._begin_again(self._record.trials[event.number])
            case EpochReported():
                self._log_epochs(self._record.trials[event.report.number], [event.report], [event.time])
            case TrialEnded():
                self._close_trial(self._record.trials[event.result.number])

    def _catch_up(self) -> None:
        self._ensure_parent_run()
        known = self._find_runs()
        for trial in self._record.trials.values():
            if trial.projected:
                continue
            if trial.run_id is None and trial.number in known:
                self._journal.append(TrialRunCreated(number=trial.number, run_id=known[trial.number]))
            if trial.result is None:
                continue  # its next attempt makes or renews the run
            self._ensure_trial_run(trial)
            self._log_epochs(trial, trial.reports, trial.report_times)
            self._close_trial(trial)
        self._is_behind = False

    def _fall_behind(self, error: Exception) -> None:
        if not self._has_warned:
            self._warn(f"{self._describe(error)}; the sweep goes on, and what is missing is written later")
        self._has_warned = self._is_behind = True

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TrackingError):
            return str(error)
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"MLflow at {self._record.started.tracking_uri} cannot be written to: {first_line}"

    # runs

    def _find_runs(self) -> dict[int, str]:
        """The runs of this sweep's trials that MLflow has, by trial number."""
        found: dict[int, str] = {}
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self._experiment()],
                f"tags.`{names.SWEEP_ID}` = '{self._record.sweep_id}' AND tags.`{names.KIND}` = 'trial'",
                max_results=1000,
                page_token=token,
            )
            found |= {int(run.data.tags[names.TRIAL]): run.info.run_id for run in page}
            token = page.token
            if not token:
                return found

    def _experiment(self) -> str:
        if self._experiment_id is None:
            name = self._record.config.tracking.experiment
            experiment = self.client.get_experiment_by_name(name)
            self._experiment_id = (
                experiment.experiment_id
                if experiment
                else self.client.create_experiment(name, tags=names.EXPERIMENT_KIND)
            )
        return self._experiment_id

    def _ensure_parent_run(self) -> str:
        if self._record.parent_run_id is None:
            self._journal.append(ParentRunCreated(run_id=self._find_parent_run() or self._create_parent_run()))
        run_id = self._record.parent_run_id
        assert run_id is not None
        return run_id

    def _find_parent_run(self) -> str | None:
        """The parent run that a killed driver created but did not live to journal."""
        found = self.client.search_runs(
            [self._experiment()],
            f"tags.`{names.SWEEP_ID}` = '{self._record.sweep_id}' AND tags.`{names.KIND}` = 'sweep'",
            max_results=1,
        )
        return str(found[0].info.run_id) if found else None

    def _create_parent_run(self) -> str:
        tags = self._common_tags("sweep") | {names.NOTE: describe_sweep(self._record, self._data)}
        run = self.client.create_run(
            self._experiment(), _milliseconds(self._record.started.time), tags, self._record.sweep_id
        )
        self._log_params(run.info.run_id, sweep_params(self._record, self._data))
        self._log_data(run.info.run_id)
        self.client.log_artifacts(
            run.info.run_id, str(write_sweep_artifacts(self._folder.path, self._record, self._data))
        )
        return str(run.info.run_id)

    def _ensure_trial_run(self, trial: TrialRecord) -> None:
        if trial.run_id is None:
            self._journal.append(TrialRunCreated(number=trial.number, run_id=self._create_trial_run(trial)))

    def _create_trial_run(self, trial: TrialRecord) -> str:
        tags = self._common_tags("trial") | {
            names.PARENT: self._ensure_parent_run(),
            names.TRIAL: str(trial.number),
            names.ATTEMPT: str(max(trial.attempt, 1)),
            names.STATE: str(TrialState.RUNNING),
        }
        name = names.trial_run_name(trial, self._record.config.search.baseline)
        run = self.client.create_run(self._experiment(), _milliseconds(trial.proposed_at), tags, name)
        self._log_params(run.info.run_id, {**trial.values, "seed": trial.seed})
        self._log_data(run.info.run_id)
        return str(run.info.run_id)

    def _begin_again(self, trial: TrialRecord) -> None:
        """A trial that lost its worker gets a fresh run; the old one, with its partial curve, goes to MLflow's bin."""
        if trial.run_id is not None:
            self.client.delete_run(trial.run_id)
        self._journal.append(TrialRunCreated(number=trial.number, run_id=self._create_trial_run(trial)))

    def _close_trial(self, trial: TrialRecord) -> None:
        result, run_id = trial.result, trial.run_id
        if result is None or run_id is None or trial.projected:
            return
        self._log_params(run_id, outcome_params(trial))
        self._log_metrics(run_id, outcome_metrics(trial), trial.ended_at or 0.0)
        files = write_trial_artifacts(self._folder.trial(trial.number), trial, self._record, self._data)
        self.client.log_artifacts(run_id, str(files))
        tags = {names.STATE: str(result.state), names.REASON: result.reason, names.EPOCHS: str(result.epochs)}
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self.client.set_terminated(run_id, _STATUS[result.state], _milliseconds(trial.ended_at or 0.0))
        self._journal.append(TrialProjected(number=trial.number))

    def _close_sweep(self, status: str) -> None:
        run_id = self._ensure_parent_run()
        record = self._record
        self._log_metrics(run_id, sweep_metrics(record), record.updated_at)
        self.client.log_artifacts(run_id, str(write_sweep_artifacts(self._folder.path, record, self._data)))
        self.client.set_tag(run_id, names.NOTE, describe_sweep(record, self._data))
        for trial in record.leaderboard()[: record.config.tracking.keep_models]:
            model = self._folder.trial(trial.number) / "model.keras"
            if trial.run_id is not None and model.exists():
                self.client.log_artifact(trial.run_id, str(model), "model")
        self.client.set_terminated(run_id, status)

    # what is logged

    def _common_tags(self, kind: str) -> dict[str, str]:
        return {
            names.SWEEP_ID: self._record.sweep_id,
            names.KIND: kind,
            names.SOURCE: "galaxy-exp",
            names.USER: getpass.getuser(),
        }

    def _log_epochs(self, trial: TrialRecord, reports: list[EpochReport], times: list[float]) -> None:
        if trial.run_id is None:
            return
        entries = [
            Metric(name, value, _milliseconds(time), report.epoch)
            for report, time in zip(reports, times, strict=True)
            for name, value in report.metrics.items()
        ]
        self._log_metric_entries(trial.run_id, entries)

    def _log_metrics(self, run_id: str, values: dict[str, float], time: float) -> None:
        self._log_metric_entries(
            run_id, [Metric(name, value, _milliseconds(time), 0) for name, value in values.items()]
        )

    def _log_metric_entries(self, run_id: str, entries: list[Metric]) -> None:
        for start in range(0, len(entries), _MAX_METRICS_PER_CALL):
            self.client.log_batch(run_id, metrics=entries[start : start + _MAX_METRICS_PER_CALL])

    def _log_params(self, run_id: str, values: dict[str, Any]) -> None:
        entries = [Param(name, str(value)) for name, value in values.items()]
        for start in range(0, len(entries), _MAX_PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=entries[start : start + _MAX_PARAMS_PER_CALL])

    def _log_data(self, run_id: str) -> None:
        source = {"source": self._data.source, "simulated": self._data.simulated}
        dataset = Dataset(
            name=("simulated galaxies" if self._data.simulated else Path(self._data.source).name)[:500],
            digest=self._data.digest[:36],
            source_type="galaxy_exp",
            source=json.dumps(source),
            schema=json.dumps({"image_shape": self._data.image_shape, "class_names": self._data.class_names}),
            profile=json.dumps({"counts": self._data.counts, "split_digest": self._data.split_digest}),
        )
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(run_id, [DatasetInput(dataset, [context])])


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
