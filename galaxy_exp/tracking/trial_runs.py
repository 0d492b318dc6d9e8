"""The child run of each trial in MLflow: created for each attempt, written epoch by epoch, and closed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from mlflow.entities import Metric, Run

from galaxy_exp.errors import first_line, is_disk_full
from galaxy_exp.journal.events import TrialProjected, TrialRunCreated
from galaxy_exp.journal.record import TrialRecord
from galaxy_exp.records import TrialResult, TrialState
from galaxy_exp.tracking import names
from galaxy_exp.tracking.artifacts import artifacts_folder, write_trial_artifacts
from galaxy_exp.tracking.mlflow_runs import is_active, log_batch, restore_run, search_runs, to_milliseconds
from galaxy_exp.tracking.names import RunStatus, outcome_metrics, outcome_params
from galaxy_exp.tracking.notes import describe_trial
from galaxy_exp.tracking.parent_run import ParentRun

__all__ = ["RunsByAttempt", "TrialRuns"]

RunsByAttempt = Mapping[tuple[int, int], list[Run]]
"""Runs in MLflow by trial number and attempt."""


class TrialRuns:
    """The runs of a sweep's trials.

    An attempt that continues after the last epoch of the one before keeps its run. Any other gets a new run, and the
    old one, with epochs that do not count, is deleted.
    """

    def __init__(self, parent: ParentRun) -> None:
        self._parent, self._client, self._journal = parent, parent.client, parent.journal
        self._written: dict[str, int] = {}
        """Number of epochs written to a run, by id of the runs that this process has described and not ended."""

    def find(self) -> RunsByAttempt:
        """The active runs of the sweep's trials."""
        found: dict[tuple[int, int], list[Run]] = {}
        query = names.query_runs(self._parent.record.sweep_id, "trial")
        for run in search_runs(self._client, self._parent.experiment_id, query):
            key = int(run.data.tags[names.TRIAL]), int(run.data.tags[names.ATTEMPT])
            found.setdefault(key, []).append(run)
        return found

    def forget_progress(self) -> None:
        """Makes the next call write each running trial as a whole, after a failure in the middle of writing."""
        self._written.clear()

    def bring_up_to_date(self, trial: TrialRecord, found: RunsByAttempt) -> None:
        """Writes all that is known of a trial.

        Args:
            found: runs that may be the trial's although the journal does not know them.
        """
        self.ensure(trial, found)
        now = replace(trial, reports=list(trial.reports), report_times=list(trial.report_times))  # it may continue
        if now.result is None:
            self.describe(trial)
        elif now.run_attempt == max(now.attempt, 1):  # else the events of another attempt follow
            self._close(now, now.result)

    def ensure(self, trial: TrialRecord, found: RunsByAttempt) -> None:
        """Gives the trial a run for its current attempt, and deletes a run with epochs that no longer count."""
        attempt, stale = max(trial.attempt, 1), trial.run_id
        if stale is not None and trial.run_revision == trial.revision:
            if trial.run_attempt != attempt:
                self._continue(trial, attempt)
            return
        # a run with metrics belongs to a lost part of the journal: the trial was trained again since
        empty = [run.info.run_id for run in found.get((trial.number, attempt), []) if not run.data.metrics]
        left = [run_id for run_id in empty if run_id != stale]
        run_id = left[0] if left else self._create(trial, attempt)
        self._journal.append(TrialRunCreated(number=trial.number, run_id=run_id, attempt=attempt))
        if trial.result is None:
            self.describe(trial)
        if stale is not None and is_active(self._client, stale):
            self._client.delete_run(stale)

    def describe(self, trial: TrialRecord) -> None:
        """Writes what is known of a running trial and not written yet."""
        run_id, epochs = _run_of(trial), self._epochs(trial)
        written = self._written.get(run_id)
        if written is None:
            log_batch(self._client, run_id, names.trial_params(trial.values, {"seed": trial.seed}), _flat(epochs))
            self._parent.log_data(run_id)
        elif len(epochs) > written:
            log_batch(self._client, run_id, metrics=_flat(epochs[written:]))
        self._written[run_id] = len(epochs)

    def restore(self, trial: TrialRecord) -> None:
        """Restores the run of a trial, or creates a new one if MLflow no longer has it."""
        if not restore_run(self._client, _run_of(trial)):
            run_id = self._create(trial, trial.run_attempt)
            self._journal.append(TrialRunCreated(number=trial.number, run_id=run_id, attempt=trial.run_attempt))

    def delete_strays(self, found: RunsByAttempt) -> None:
        """Deletes runs of trials that have another run.

        They are left by a driver that was killed before it journaled them, or by a server that was killed before it
        answered, so that MLflow's client asked again.
        """
        trials = self._parent.record.trials
        for (number, _), runs in found.items():
            for run_id in (run.info.run_id for run in runs):
                if number in trials and run_id != trials[number].run_id and is_active(self._client, run_id):
                    self._client.delete_run(run_id)

    def _continue(self, trial: TrialRecord, attempt: int) -> None:
        """Makes the run of an earlier attempt that of this one, which continues it: it is RUNNING again."""
        run_id, running = _run_of(trial), replace(trial, result=None)
        if restore_run(self._client, run_id):
            self._client.update_run(run_id, RunStatus.RUNNING, self._name(running))
            if names.CLOSED in self._client.get_run(run_id).data.tags:
                self._client.delete_tag(run_id, names.CLOSED)
            tags = {names.ATTEMPT: str(attempt), names.STATE: str(TrialState.RUNNING)}
            tags[names.REASON] = f"continues after epoch {trial.from_epoch}"
            tags[names.NOTE] = describe_trial(running, self._parent.record)
            log_batch(self._client, run_id, tags=tags)
        else:
            run_id = self._create(trial, attempt)
        self._journal.append(TrialRunCreated(number=trial.number, run_id=run_id, attempt=attempt))

    def _create(self, trial: TrialRecord, attempt: int) -> str:
        tags = self._parent.tags("trial") | {
            names.PARENT: self._parent.ensure(),
            names.TRIAL: str(trial.number),
            names.CONFIGURATION: f"trial {trial.number if trial.retrains is None else trial.retrains}",
            names.ATTEMPT: str(attempt),
            names.STATE: str(TrialState.RUNNING),
        }
        if trial.retrains is not None:
            tags[names.RETRAINS] = str(trial.retrains)
        began = to_milliseconds(trial.started_at or trial.proposed_at)
        run = self._client.create_run(self._parent.experiment_id, began, tags, self._name(trial))
        return str(run.info.run_id)

    def _name(self, trial: TrialRecord) -> str:
        return names.trial_run_name(trial, self._parent.record.has_baseline)

    def _close(self, trial: TrialRecord, result: TrialResult) -> None:
        run_id, ended_at = _run_of(trial), to_milliseconds(trial.ended_at or 0.0)
        for allowed, same in names.merged_names(result.metrics).items():
            self._parent.warn(
                f"MLflow shows the metrics {' and '.join(map(repr, same))} as one, {allowed!r}: only letters, digits "
                "and _ - . / of their names count"
            )
        params = names.trial_params(trial.values, {"seed": trial.seed} | outcome_params(trial))
        outcome = [Metric(name, value, ended_at, 0) for name, value in outcome_metrics(trial).items()]
        tags = {names.STATE: str(result.state), names.REASON: result.reason, names.EPOCHS: str(result.epochs)}
        tags[names.NOTE] = describe_trial(trial, self._parent.record)
        unwritten = self._epochs(trial)[self._written.get(run_id, 0) :]
        log_batch(self._client, run_id, params, _flat([*unwritten, outcome]), tags)
        if self._written.pop(run_id, None) is None:
            self._parent.log_data(run_id)
        self._client.log_artifacts(run_id, str(self._draw(trial)))
        self._client.set_terminated(run_id, names.STATUS[result.state], ended_at)
        if result.state in names.FINISHED_BUT:
            self._client.update_run(run_id, name=self._name(trial))
        self._journal.append(TrialProjected(number=trial.number, attempt=trial.attempt))

    def _draw(self, trial: TrialRecord) -> Path:
        """The folder with the trial's figures and tables, without those that a missing or damaged file prevents.

        The files of a trial that continues are replaced at its next end, after which all is drawn again.
        """
        folder = self._parent.folder.trial(trial.number)
        try:
            return write_trial_artifacts(folder, trial, self._parent.record, self._parent.data)
        except Exception as error:  # a user's settings of matplotlib may prevent it in any way
            if is_disk_full(error):
                raise
            if self._parent.record.trials[trial.number].attempt == trial.attempt:
                self._parent.warn(f"trial {trial.number}: its figures cannot be drawn: {first_line(error)}")
            return artifacts_folder(folder)

    def _epochs(self, trial: TrialRecord) -> list[list[Metric]]:
        """The metrics of each epoch that the run has or lacks, after the best objective so far; none if it is stale.

        The best objective comes first, since the UI compares runs by the first metric they got, and at step 0, so that
        it is one value to sort by and not a curve.
        """
        objective, best = self._parent.record.objective, math.nan
        epochs: list[list[Metric]] = []
        if trial.run_revision != trial.revision:
            return epochs
        for report, moment in zip(list(trial.reports), list(trial.report_times), strict=False):
            entries = [(name, value, report.epoch) for name, value in report.metrics.items()]
            value = report.metrics.get(objective.name, math.nan)
            if math.isfinite(value) and (math.isnan(best) or objective.is_better(value, best)):
                best = value
                entries.insert(0, (f"best_{objective.name}", best, 0))
            time = to_milliseconds(moment)
            epochs.append([Metric(names.allowed_name(name), value, time, step) for name, value, step in entries])
        return epochs


def _flat(epochs: Iterable[list[Metric]]) -> list[Metric]:
    return list(chain.from_iterable(epochs))


def _run_of(trial: TrialRecord) -> str:
    if trial.run_id is None:
        raise ValueError(f"trial {trial.number} has no run yet")
    return trial.run_id
