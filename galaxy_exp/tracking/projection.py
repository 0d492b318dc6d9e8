"""Keeps MLflow in step with a sweep's journal, idempotently, and never in the sweep's way."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.errors import GalaxyExpError, TrackingError, first_line, is_disk_full
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
from galaxy_exp.records import TrialResult, TrialState
from galaxy_exp.redaction import hide_password
from galaxy_exp.tracking import names
from galaxy_exp.tracking.artifacts import (
    artifacts_folder,
    write_insight_artifacts,
    write_sealed_test_figures,
    write_sweep_artifacts,
    write_trial_artifacts,
)
from galaxy_exp.tracking.content import outcome_metrics, outcome_params, sweep_metrics, sweep_params
from galaxy_exp.tracking.notes import EXPERIMENT_NOTE, describe_sweep, describe_trial
from galaxy_exp.tracking.patience import Patience, TimedClient
from galaxy_exp.tracking.quiet import quiet_mlflow
from galaxy_exp.tracking.store import create_experiment, hide_in_address
from galaxy_exp.tracking.views import save_view

__all__ = ["STATUS", "MlflowProjection", "end_runs"]


_MAX_PARAMS_PER_CALL = 100
_MAX_METRICS_PER_CALL = 800
"""MLflow takes 1000 things a call in all: these, and tags."""
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
"""Error codes with which MLflow refuses one thing, as opposed to being away."""
STATUS = {
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETED: "FINISHED",
    TrialState.STOPPED: "FINISHED",
    TrialState.FAILED: "FAILED",
    TrialState.LOST: "KILLED",
    TrialState.INFEASIBLE: "FINISHED",
}
"""What MLflow calls the state of a trial's run."""


class MlflowProjection:
    """An observer of the loop that writes each event to MLflow as it comes.

    MLflow failing is not the sweep failing: the failure is told through `warn`, MLflow is left alone for a while, and
    then everything it lacks is written. One that takes too long is left alone just so (see `Patience`), so that the
    sweep does not wait for it. An outage is told once, and so is its end.

    What is written carries the journal's own timestamps, and MLflow drops a metric that it has already, so writing
    twice changes nothing. A run belongs to one attempt at a trial; when the trial is issued again it gets a new one,
    and the old one goes to MLflow's bin.

    The store is opened, and what an earlier process left unwritten is caught up, at the first event: by then the
    first trial is running, so that no worker waits while MLflow creates its database.

    Args:
        open_store: opens the store named in the journal; called once, when it is needed.
        journal: gets the ids of runs and a note for each trial that is wholly in MLflow.
        folder: the sweep's, with the trials' files.
        data: described in MLflow as the runs' input.
        warn: takes one line for the user.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        open_store: Callable[[], MlflowClient],
        journal: Journal,
        folder: SweepFolder,
        data: PreparedData,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_store = open_store
        self._journal = journal
        self._folder = folder
        self._data = data
        self._warn = warn
        self._clock = clock
        self._experiment_id: str | None = None
        self._is_behind = True
        self._parent_is_described = False
        self._patience = Patience(clock)
        self._turn = threading.Lock()
        self._outage_is_told = False
        self._warned: set[str] = set()
        self._refused: set[int] = set()
        self._written: dict[str, int] = {}
        """By id of a run that this process has described and not ended: how many epochs it has written there."""

    @cached_property
    def _timed(self) -> TimedClient:
        return TimedClient(self._open_store(), self._clock)

    @property
    def client(self) -> MlflowClient:
        """The store's client, opened at first use."""
        return cast(MlflowClient, self._timed)

    @property
    def _record(self) -> SweepRecord:
        return self._journal.record

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if self._patience.is_pausing:
            self._is_behind = True
            return
        waited_before = self._waited
        try:
            with self._errors_as_tracking_errors():
                if self._is_behind:
                    self._catch_up(since=waited_before)
                else:
                    self._project(event)
        except TrackingError as error:
            self._patience.fail(self._waited - waited_before)
            self._fall_behind(f"{error}; the sweep goes on, and what is missing is written later")
            return
        waited = self._waited - waited_before
        if self._patience.is_spent(waited):
            self._patience.rest(waited)
            slow = f"MLflow at {self._where} is slow ({waited:.0f} s just now)"
            self._fall_behind(f"{slow}; the sweep goes on, and what is missing is written now and then")
        elif not self._is_behind:
            self._patience.recover()
            self._tell_end_of_outage()

    def catch_up(self) -> None:
        """Writes everything that MLflow lacks.

        Raises:
            TrackingError: if MLflow still cannot be written to; what was written stays, and nothing is lost.
        """
        with self._errors_as_tracking_errors():
            self._catch_up()

    def close_sweep(self, status: str) -> None:
        """Writes what is missing and the sweep's summary, and ends the parent run ("FINISHED", "FAILED", "KILLED").

        Raises:
            TrackingError: if MLflow cannot be written to.
        """
        with self._errors_as_tracking_errors():
            self._catch_up()
            self._close_sweep(status)

    def write_again(self, numbers: Iterable[int]) -> None:
        """Writes trials once more, as far as MLflow lacks them, although the journal says that it has them.

        A run that was deleted is restored; one that is gone for good is replaced by a new one.

        Raises:
            TrackingError: if MLflow cannot be written to.
        """
        with self._errors_as_tracking_errors():
            self._ensure_parent_run()
            for number in numbers:
                trial = self._record.trials[number]
                self._restore_run(trial)
                self._bring_up_to_date(trial, {})

    def _project(self, event: Event) -> None:
        match event:
            case TrialProposed() | TrialStarted():
                trial = self._record.trials[event.number]
                if trial.result is None:  # else it is all written at once, when the turn of its end comes
                    with self._refusals_told(trial):
                        self._ensure_trial_run(trial, {})
            case EpochReported():
                trial = self._record.trials[event.report.number]
                # not of a lost attempt whose run is gone already, nor of a trial that ended meanwhile
                if trial.result is None and trial.run_attempt == event.report.attempt:
                    with self._refusals_told(trial):
                        self._describe_trial(trial)
            case TrialEnded():
                trial = self._record.trials[event.result.number]
                if not trial.projected:  # by a catch-up at an earlier event
                    self._bring_up_to_date(trial, {})

    def _catch_up(self, since: float | None = None) -> None:
        """Writes what is missing; with `since`, what was waited before, only as much as patience allows."""
        self._ensure_parent_run()
        found = self._find_trial_runs()
        for trial in list(self._record.trials.values()):
            if trial.projected:
                continue
            self._bring_up_to_date(trial, found)
            if since is not None and self._patience.is_spent(self._waited - since):
                return
        self._discard_strays(found)
        self._is_behind = False

    def _bring_up_to_date(self, trial: TrialRecord, found: _Runs) -> None:
        """Writes all that is known of one trial."""
        with self._refusals_told(trial):
            self._ensure_trial_run(trial, found)
            if trial.result is None:
                self._describe_trial(trial)
            else:
                self._close_trial(trial, trial.result)

    # when MLflow fails

    @contextmanager
    def _errors_as_tracking_errors(self) -> Iterator[None]:
        """For one thread at a time: when a driver is interrupted once more, its observers may still be at work."""
        with self._turn, quiet_mlflow():
            try:
                yield
            except GalaxyExpError:
                raise
            except Exception as error:
                # whatever MLflow, its database driver or its artifact store raise must not end the sweep
                message = f"MLflow at {self._where} cannot be written to: {first_line(error)}"
                raise TrackingError(hide_password(message)) from error

    @contextmanager
    def _refusals_told(self, trial: TrialRecord) -> Iterator[None]:
        """What MLflow refuses of a trial is told, and does not hold up the others."""
        try:
            yield
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            self._refused.add(trial.number)
            self._warn_once(f"MLflow refuses trial {trial.number}: {first_line(error)}")

    @property
    def _where(self) -> str:
        return hide_in_address(self._record.tracking_uri)

    @property
    def _waited(self) -> float:
        """Seconds that MLflow's calls have taken so far, without opening the store."""
        return self._timed.seconds if "_timed" in self.__dict__ else 0.0

    def _fall_behind(self, message: str) -> None:
        self._is_behind = True
        self._written.clear()
        if not self._outage_is_told:
            self._outage_is_told = True
            self._warn(message)

    def _tell_end_of_outage(self) -> None:
        if self._outage_is_told:
            self._outage_is_told = False
            refused = f" but what it refuses of trials {', '.join(map(str, sorted(self._refused)))}"
            self._warn(f"MLflow at {self._where} is back and has everything{refused if self._refused else ''}")

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)

    # runs

    def _find_trial_runs(self) -> _Runs:
        """The active runs of this sweep's trials, by trial number and attempt."""
        found: _Runs = {}
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self._experiment()], self._filter("trial"), max_results=1000, page_token=token
            )
            for run in page:
                key = int(run.data.tags[names.TRIAL]), int(run.data.tags[names.ATTEMPT])
                found.setdefault(key, []).append(run)
            token = page.token
            if not token:
                return found

    def _filter(self, kind: str) -> str:
        return f"tags.`{names.SWEEP_ID}` = '{self._record.sweep_id}' AND tags.`{names.KIND}` = '{kind}'"

    def _experiment(self) -> str:
        if self._experiment_id is None:
            name = self._record.config.experiment_name
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                tags = names.EXPERIMENT_KIND | {names.NOTE: EXPERIMENT_NOTE}
                self._experiment_id = create_experiment(self.client, name, tags)
            else:
                if experiment.lifecycle_stage == "deleted":
                    self.client.restore_experiment(experiment.experiment_id)
                    self._warn_once(f'the MLflow experiment "{name}" had been deleted; it is restored')
                self._experiment_id = experiment.experiment_id
        return self._experiment_id

    def _ensure_parent_run(self) -> str:
        """The sweep's parent run: as journaled, out of the bin if need be, else one that a killed driver left or a new
        one."""
        run_id = self._record.parent_run_id
        if run_id is None or (self._is_behind and not self._is_back(run_id)):
            left = self.client.search_runs([self._experiment()], self._filter("sweep"), max_results=1)
            lost, run_id = run_id, str(left[0].info.run_id) if left else self._create_parent_run()
            self._journal.append(ParentRunCreated(run_id=run_id))
            if lost is not None:
                self._adopt_trials(run_id)
            self._parent_is_described = False
        if not self._parent_is_described:
            self._describe_parent(run_id)
            self._parent_is_described = True
        return run_id

    def _is_active(self, run_id: str) -> bool:
        return self._stage(run_id) == "active"

    def _is_back(self, run_id: str) -> bool:
        """Whether a run is there, after it was taken out of the bin if it was in it."""
        stage = self._stage(run_id)
        if stage == "deleted":
            self.client.restore_run(run_id)
        return stage is not None

    def _stage(self, run_id: str) -> str | None:
        """ "active", "deleted", or None for a run that is not there."""
        try:
            return str(self.client.get_run(run_id).info.lifecycle_stage)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _adopt_trials(self, run_id: str) -> None:
        """Puts the runs of trials under a new parent run."""
        for trial in list(self._record.trials.values()):
            if trial.run_id is not None and self._is_active(trial.run_id):
                self.client.set_tag(trial.run_id, names.PARENT, run_id)

    def _create_parent_run(self) -> str:
        started = _milliseconds(self._record.started.time)
        run = self.client.create_run(self._experiment(), started, self._common_tags("sweep"), self._record.sweep_id)
        return str(run.info.run_id)

    def _describe_parent(self, run_id: str) -> None:
        self.client.update_run(run_id, status="RUNNING")
        if names.CLOSED in self.client.get_run(run_id).data.tags:
            self.client.delete_tag(run_id, names.CLOSED)
        self._write_note(run_id)
        self._log_batch(run_id, sweep_params(self._record, self._data))
        self._log_data(run_id)
        self._log_files(run_id, write_sweep_artifacts(self._folder.path, self._record, self._data))

    def _write_note(self, run_id: str) -> None:
        """The sweep's description, and the view of its trials that it links."""
        view = save_view(self._record)
        if view is not None:
            self.client.set_experiment_tag(self._experiment(), view.key, view.value)
        self.client.set_tag(run_id, names.NOTE, describe_sweep(self._record, self._data, self._experiment(), run_id))

    def _ensure_trial_run(self, trial: TrialRecord, found: _Runs) -> None:
        """Gives the trial a run for its present attempt; one of an earlier attempt goes to the bin."""
        attempt, stale = max(trial.attempt, 1), trial.run_id
        if stale is not None and trial.run_attempt == attempt:
            return
        # one with metrics is of a part of the journal that is lost, and the trial was trained again since
        left = [run.info.run_id for run in found.get((trial.number, attempt), []) if not run.data.metrics]
        run_id = left[0] if left else self._create_trial_run(trial, attempt)
        self._journal.append(TrialRunCreated(number=trial.number, run_id=run_id, attempt=attempt))
        if trial.result is None:
            self._describe_trial(trial)
        if stale is not None and self._is_active(stale):
            self.client.delete_run(stale)

    def _create_trial_run(self, trial: TrialRecord, attempt: int) -> str:
        tags = self._common_tags("trial") | {
            names.PARENT: self._ensure_parent_run(),
            names.TRIAL: str(trial.number),
            names.ATTEMPT: str(attempt),
            names.STATE: str(TrialState.RUNNING),
        }
        if trial.retrains is not None:
            tags[names.CONFIRMS] = str(trial.retrains)
        name = names.trial_run_name(trial, self._record.config.search.baseline)
        began = _milliseconds(trial.started_at or trial.proposed_at)
        run = self.client.create_run(self._experiment(), began, tags, name)
        return str(run.info.run_id)

    def _describe_trial(self, trial: TrialRecord) -> None:
        """Writes what is known of a running trial and not written yet."""
        run_id, epochs = _run_of(trial), self._epochs(trial)
        written = self._written.get(run_id)
        if written is None:
            self._log_batch(run_id, names.trial_params(trial.values, {"seed": trial.seed}), epochs)
            self._log_data(run_id)
        elif len(epochs) > written:
            self._log_batch(run_id, {}, epochs[written:])
        self._written[run_id] = len(epochs)

    def _discard_strays(self, found: _Runs) -> None:
        """Runs that are not the journal's, where the sweep or the trial has another one.

        A killed driver made them and did not live to journal them, or a killed server and did not live to answer, and
        MLflow's client asked again.
        """
        for run in self.client.search_runs([self._experiment()], self._filter("sweep")):
            if run.info.run_id != self._record.parent_run_id:
                self.client.delete_run(run.info.run_id)
        trials = self._record.trials
        for (number, _), runs in found.items():
            for run_id in (run.info.run_id for run in runs):
                if number in trials and run_id != trials[number].run_id and self._is_active(run_id):
                    self.client.delete_run(run_id)

    def _restore_run(self, trial: TrialRecord) -> None:
        """Gives a trial its run back: out of the bin or, if it is not there either, a new one."""
        if not self._is_back(_run_of(trial)):
            run_id = self._create_trial_run(trial, trial.run_attempt)
            self._journal.append(TrialRunCreated(number=trial.number, run_id=run_id, attempt=trial.run_attempt))

    def _close_trial(self, trial: TrialRecord, result: TrialResult) -> None:
        run_id, ended_at = _run_of(trial), _milliseconds(trial.ended_at or 0.0)
        params = names.trial_params(trial.values, {"seed": trial.seed} | outcome_params(trial))
        outcome = [Metric(name, value, ended_at, 0) for name, value in outcome_metrics(trial).items()]
        tags = {names.STATE: str(result.state), names.REASON: result.reason, names.EPOCHS: str(result.epochs)}
        tags[names.NOTE] = describe_trial(trial, self._record)
        self._log_batch(run_id, params, [*self._epochs(trial)[self._written.get(run_id, 0) :], outcome], tags)
        if self._written.pop(run_id, None) is None:
            self._log_data(run_id)
        self._log_files(run_id, self._draw(trial))
        self.client.set_terminated(run_id, STATUS[result.state], ended_at)
        if result.state in names.FINISHED_BUT:
            self.client.update_run(run_id, name=names.trial_run_name(trial, self._record.config.search.baseline))
        self._journal.append(TrialProjected(number=trial.number))

    def _draw(self, trial: TrialRecord) -> Path:
        """The trial's figures and tables; those that cannot be made for want of a file are told and left out."""
        folder = self._folder.trial(trial.number)
        try:
            return write_trial_artifacts(folder, trial, self._record, self._data)
        except (OSError, ValueError, EOFError) as error:
            if is_disk_full(error):
                raise
            self._warn_once(f"trial {trial.number}: its figures cannot be drawn: {first_line(error)}")
            return artifacts_folder(folder)

    def _draw_insight(self) -> None:
        """The sweep's figures; one that cannot be drawn is told and costs nothing else."""
        for what, write in (
            ("insight/", write_insight_artifacts),
            ("the sealed test", write_sealed_test_figures),
        ):
            try:
                write(self._folder.path, self._record)
            except Exception as error:  # noqa: BLE001 - three drawing libraries, whatever values a user's own metrics take
                self._warn_once(f"the figures of {what} cannot be drawn: {first_line(error)}")

    def _close_sweep(self, status: str) -> None:
        run_id = self._ensure_parent_run()
        record = self._record
        if status != "KILLED":  # whoever interrupts a sweep does not want to wait
            self._draw_insight()
        moment = _closing_time(record)
        self._log_batch(run_id, {}, [[Metric(name, value, moment, 0) for name, value in sweep_metrics(record).items()]])
        self._log_files(run_id, write_sweep_artifacts(self._folder.path, record, self._data))
        self._write_note(run_id)
        winner = None if record.winner is None else record.trials[record.winner]
        if winner is not None and winner.run_id is not None:
            self.client.set_tag(winner.run_id, names.NOTE, describe_trial(winner, record))
        for trial in record.leaderboard()[: record.config.tracking.keep_models]:
            model = self._folder.model(trial.number)
            if trial.run_id is not None and model.exists():
                self.client.log_artifact(trial.run_id, str(model), "model")
        end_runs(self.client, record, status)

    # what is logged

    def _common_tags(self, kind: str) -> dict[str, str]:
        return {
            names.SWEEP_ID: self._record.sweep_id,
            names.KIND: kind,
            names.SOURCE: names.OWN_SOURCE,
            names.USER: names.user_name(),
        }

    def _epochs(self, trial: TrialRecord) -> list[list[Metric]]:
        """The metrics of each epoch of the attempt that the trial's run belongs to, and the best objective so far.

        That comes first, as the UI compares runs by the first metric they got unless told otherwise; and at step 0, so
        that it is one value to sort by, not a curve.
        """
        objective, best, epochs = self._record.objective, math.nan, []
        for report, moment in zip(list(trial.reports), list(trial.report_times), strict=False):
            if report.attempt != trial.run_attempt:
                continue
            entries = [(names.allowed_name(name), value, report.epoch) for name, value in report.metrics.items()]
            value = report.metrics.get(objective.name, math.nan)
            if math.isfinite(value) and (math.isnan(best) or objective.is_better(value, best)):
                best = value
                entries.insert(0, (names.allowed_name(f"best_{objective.name}"), best, 0))
            epochs.append([Metric(name, value, _milliseconds(moment), step) for name, value, step in entries])
        return epochs

    def _log_batch(
        self,
        run_id: str,
        params: Mapping[str, Any],
        metrics: Sequence[Sequence[Metric]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Writes all of it in as few calls as MLflow allows."""
        param_list = [Param(name, str(value)) for name, value in params.items()]
        metric_list = [metric for group in metrics for metric in group]
        tag_list = [RunTag(name, value) for name, value in (tags or {}).items()]
        while param_list or metric_list or tag_list:
            self.client.log_batch(
                run_id, metric_list[:_MAX_METRICS_PER_CALL], param_list[:_MAX_PARAMS_PER_CALL], tag_list
            )
            metric_list, param_list = metric_list[_MAX_METRICS_PER_CALL:], param_list[_MAX_PARAMS_PER_CALL:]
            tag_list = []

    def _log_files(self, run_id: str, folder: Path) -> None:
        self.client.log_artifacts(run_id, str(folder))

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


_Runs = dict[tuple[int, int], list[Run]]


def end_runs(client: MlflowClient, record: SweepRecord, status: str) -> None:
    """Ends the runs of a sweep that MLflow has, those of running trials as KILLED; needs no prepared images."""
    for trial in record.running:
        if trial.run_id is not None:
            client.set_terminated(trial.run_id, "KILLED")
    if record.parent_run_id is not None:
        client.set_terminated(record.parent_run_id, status, _closing_time(record))


def _closing_time(record: SweepRecord) -> int:
    """Fixed once the sweep has ended, so that closing again writes the same."""
    last = record.promotion or record.ended
    return _milliseconds(last.time if last else record.updated_at)


def _run_of(trial: TrialRecord) -> str:
    if trial.run_id is None:
        raise ValueError(f"trial {trial.number} has no run yet")
    return trial.run_id


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
