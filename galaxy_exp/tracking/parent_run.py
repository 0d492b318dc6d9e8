"""The parent run of a sweep in MLflow: found or created, described, and closed with the sweep's summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.exceptions import MlflowException

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.errors import first_line
from galaxy_exp.evaluation.held_out_report import shown_names
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import ParentRunCreated
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.records import TrialState
from galaxy_exp.tracking import mlflow_runs, names
from galaxy_exp.tracking.artifacts import (
    artifacts_folder,
    write_held_out_figures,
    write_insight_artifacts,
    write_sweep_artifacts,
)
from galaxy_exp.tracking.names import RunStatus, allowed_name
from galaxy_exp.tracking.notes import EXPERIMENT_NOTE, describe_sweep, describe_trial
from galaxy_exp.tracking.views import save_finalists_view, save_view

__all__ = ["ParentRun", "describe_schema", "end_runs", "sweep_metrics", "sweep_params"]


@dataclass(eq=False)
class ParentRun:
    """The run of a sweep as a whole, and its experiment."""

    client: MlflowClient
    journal: Journal
    """Gets the id of a run that is created."""
    folder: SweepFolder
    data: PreparedData
    """Described in MLflow as the runs' input."""
    warn: Callable[[str], None]
    """Called with one line for the user, once for each message."""
    _is_described: bool = field(default=False, init=False)

    @property
    def record(self) -> SweepRecord:
        return self.journal.record

    @cached_property
    def experiment_id(self) -> str:
        """The id of the sweep's experiment, which may have another name now; created or restored if need be."""
        name, tags = self.record.config.experiment_name, names.EXPERIMENT_KIND | {names.NOTE: EXPERIMENT_NOTE}
        restored = f'the MLflow experiment "{name}" had been deleted; it is restored'
        run_id = self.record.parent_run_id
        return mlflow_runs.open_experiment(self.client, name, tags, lambda: self.warn(restored), run_id)

    def ensure(self, *, after_outage: bool = False) -> str:
        """The id of the sweep's run: as journaled, one that a killed driver created and did not journal, or a new one.

        Args:
            after_outage: checks whether MLflow still has the journaled run, and restores it if it was deleted.
        """
        run_id = self.record.parent_run_id
        if run_id is None or (after_outage and not mlflow_runs.restore_run(self.client, run_id)):
            lost, run_id = run_id, next(self._search(), None) or self._create()
            self.journal.append(ParentRunCreated(run_id=run_id, experiment_id=self.experiment_id))
            for trial in list(self.record.trials.values()) if lost is not None else ():
                if trial.run_id is not None and mlflow_runs.is_active(self.client, trial.run_id):
                    self.client.set_tag(trial.run_id, names.PARENT, run_id)
            self._is_described = False
        if not self._is_described:
            self._describe(run_id)
            self._is_described = True
        return run_id

    def tags(self, kind: str) -> dict[str, str]:
        """The tags of every run of the sweep."""
        return {
            names.SWEEP_ID: self.record.sweep_id,
            names.KIND: kind,
            names.SOURCE: names.OWN_SOURCE,
            names.USER: names.user_name(),
        }

    def log_data(self, run_id: str) -> None:
        """Writes the prepared images as the input of a run."""
        data = self.data
        dataset = Dataset(
            name=("simulated galaxies" if data.simulated else Path(data.source).name)[:500],
            digest=data.digest[:36],
            source_type="galaxy_exp",
            source=json.dumps({"source": data.source, "simulated": data.simulated}),
            schema=json.dumps(describe_schema(data)),
            profile=json.dumps({"counts": data.counts, "split_digest": data.split_digest}),
        )
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def delete_strays(self) -> None:
        """Deletes other runs of the sweep, which a killed driver created and did not journal."""
        for run_id in list(self._search()):
            if run_id != self.record.parent_run_id:
                self.client.delete_run(run_id)

    def refresh(self) -> None:
        """Writes what is known so far: the best score, figures, the report, the description and the views."""
        self._draw_figures()
        self._write_summary(self.ensure())

    def close(self, status: str) -> None:
        """Writes the sweep's summary and ends its runs; `status` is a `RunStatus`."""
        run_id, record = self.ensure(), self.record
        if status != RunStatus.KILLED:  # whoever interrupts a sweep does not want to wait
            self._draw_figures()
        self._write_summary(run_id)
        if (winner := record.winning_trial) is not None and winner.run_id is not None:
            self.client.set_tag(winner.run_id, names.NOTE, describe_trial(winner, record))
        for trial in record.leaderboard(record.config.tracking.keep_models):
            model = self.folder.model(trial.number)
            if trial.run_id is not None and model.exists():
                self.client.log_artifact(trial.run_id, str(model), "model")
        end_runs(self.client, record, status)

    def _write_summary(self, run_id: str) -> None:
        moment = _closing_time(self.record)
        summary = [Metric(name, value, moment, 0) for name, value in sweep_metrics(self.record).items()]
        mlflow_runs.log_batch(self.client, run_id, metrics=summary)
        self._log_files(run_id)
        self._write_note(run_id)

    def _search(self) -> Iterator[str]:
        """The ids of the sweep's runs; there may be several after a driver was killed."""
        query = names.query_runs(self.record.sweep_id, "sweep")
        return (str(run.info.run_id) for run in mlflow_runs.search_runs(self.client, self.experiment_id, query))

    def _create(self) -> str:
        began = mlflow_runs.to_milliseconds(self.record.started.time)
        run = self.client.create_run(self.experiment_id, began, self.tags("sweep"), self.record.sweep_id)
        return str(run.info.run_id)

    def _describe(self, run_id: str) -> None:
        self.client.update_run(run_id, status=RunStatus.RUNNING)
        if names.CLOSED in self.client.get_run(run_id).data.tags:
            self.client.delete_tag(run_id, names.CLOSED)
        self._write_note(run_id)
        mlflow_runs.log_batch(self.client, run_id, sweep_params(self.record, self.data))
        self.log_data(run_id)
        self._log_files(run_id)

    def _write_note(self, run_id: str) -> None:
        """Writes the sweep's description, and the views that the description links."""
        for save in (save_view, save_finalists_view):
            told = "the view of the trials in the MLflow UI cannot be written"
            try:
                view = save(self.record)
            except Exception as error:  # noqa: BLE001 - a view never decides whether the runs can be written
                self.warn(f"{told}: {first_line(error)}")
                continue
            try:
                if view is not None:
                    self.client.set_experiment_tag(self.experiment_id, view.key, view.value)
            except MlflowException as error:
                if not mlflow_runs.is_refusal(error):
                    raise
                self.warn(f"{told}: {first_line(error)}")
        has_report = (artifacts_folder(self.folder.path) / "report.html").exists()
        note = describe_sweep(self.record, self.data, self.experiment_id, run_id, has_report=has_report)
        self.client.set_tag(run_id, names.NOTE, note)

    def _log_files(self, run_id: str) -> None:
        self.client.log_artifacts(run_id, str(write_sweep_artifacts(self.folder.path, self.record, self.data)))

    def _draw_figures(self) -> None:
        for what, write in (("insight/", write_insight_artifacts), ("the held-out test", write_held_out_figures)):
            try:
                write(self.folder.path, self.record)
            except Exception as error:  # noqa: BLE001 - drawing libraries meet whatever values user-defined metrics have
                self.warn(f"the figures of {what} cannot be drawn: {first_line(error)}")


def end_runs(client: MlflowClient, record: SweepRecord, status: str) -> None:
    """Ends the runs of a sweep in MLflow, those of running trials as KILLED; needs no prepared images."""
    for trial in record.running:
        if trial.run_id is not None:
            client.set_terminated(trial.run_id, RunStatus.KILLED)
    if record.parent_run_id is not None:
        client.set_terminated(record.parent_run_id, status, _closing_time(record))


def _closing_time(record: SweepRecord) -> int:
    """Does not change once the sweep has ended, so that closing again writes the same."""
    last = record.promotion or record.ended
    return mlflow_runs.to_milliseconds(last.time if last else record.updated_at)


def sweep_params(record: SweepRecord, data: PreparedData) -> dict[str, Any]:
    """Params of the parent run: the configuration as the sweep began, since params cannot change."""
    config = record.config_at_start
    return {
        "data": data.source,
        "simulated": data.simulated,
        "hypermodel": config.hypermodel,
        "sampler": config.search.sampler_choice,
        "scheduler": config.search.scheduler,
        "objective": config.search.objective_text,
        "max_trials": config.search.max_trials,
        "epochs": config.training.epochs,
        "seed": config.search.seed,
        "split_seed": config.data.split.seed,
    }


def describe_schema(data: PreparedData) -> dict[str, Any]:
    """The schema of the runs' input data set; with votes, their questions too."""
    schema: dict[str, Any] = {"image_shape": data.image_shape, "class_names": data.class_names}
    if data.votes is not None:
        schema |= {"questions": data.votes.questions.to_list(), "votes_are_counts": data.votes.are_counts}
    return schema


def sweep_metrics(record: SweepRecord) -> dict[str, float]:
    """Metrics of the parent run: best objective, test scores of winner and baseline, counts and hours by state.

    The UI groups charts by the part of a name before the slash.
    """
    values: dict[str, float] = {}
    if best := record.leaderboard(1):
        values[allowed_name(f"best_{record.objective.name}")] = best[0].objective_value(record.objective) or 0.0
    for number, report in record.test_reports.items():
        role = "winner" if number == record.winner else "baseline"
        found = {name: report.get(name) for name in (*shown_names(report), *_LATER_SCORES)}
        found["calibrated_error"] = (report.get("calibrated") or {}).get("error")
        values |= {f"test/{role}_{name}": value for name, value in found.items() if value is not None}
    for state in (state for state in TrialState if state.is_finished):
        trials = [trial for trial in list(record.trials.values()) if trial.state is state]
        values[f"sweep/trials_{state}"] = len(trials)
        values[f"sweep/hours_{state}"] = sum(trial.seconds for trial in trials) / 3600
    return values


_LATER_SCORES = ("top2", "macro_f1_without_rare", "calibration_error", "temperature")
"""Test scores that the journals of earlier releases lack."""
