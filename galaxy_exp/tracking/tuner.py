"""The search of an ordinary `keras_tuner.Tuner` in MLflow: one parent run, and one child run a trial with its curve.

KerasTuner tells its oracle of a trial only when it is over, and copies callbacks, but it calls the tuner's own hooks
after every epoch (`keras_tuner.engine.tuner_utils.TunerCallback`). So it is the tuner that is observed, and neither a
callback nor a certain oracle is needed.
"""

from __future__ import annotations

import functools
import logging
import math
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from galaxy_exp.errors import BadInputError, TrackingError, first_line
from galaxy_exp.redaction import hide_password
from galaxy_exp.tracking import names
from galaxy_exp.tracking.store import (
    create_experiment,
    hide_in_address,
    open_client,
    resolve_tracking_uri,
    tracking_errors,
)
from galaxy_exp.tracking.store_check import refuse_unusable

__all__ = ["TunerTracking", "track_tuner"]

_LOG = logging.getLogger(__name__)
_IDENTITY = "galaxy_exp_search.txt"
"""In the tuner's project folder, so that it goes with `overwrite=True` and stays with `overwrite=False`."""
_PAUSE_SECONDS = 30.0
"""How long an MLflow that failed is left alone."""
_MAX_METRICS_PER_CALL, _MAX_PARAMS_PER_CALL = 1000, 100
_STATUS = {"COMPLETED": "FINISHED", "STOPPED": "FINISHED", "FAILED": "FAILED", "INVALID": "FAILED"}
"""MLflow's status by KerasTuner's."""
_MARK = "_galaxy_exp_tracking"


def track_tuner(tuner: Any, experiment: str = "keras_tuner", tracking_uri: str | None = None) -> TunerTracking:
    """From now on, the tuner's `search` is recorded in MLflow.

    The search becomes a parent run, every trial a child run with its hyperparameters, the metrics of every epoch, the
    final metrics as `best_...`, its state and, if it failed, the traceback. Works with any oracle and any subclass of
    `keras_tuner.Tuner`, in one process. A tuner that takes up its project again (`overwrite=False`) goes on in the
    same parent run; finished trials keep their runs, and one that was interrupted gets a fresh run in place of the
    old. After Ctrl-C or an error no run is left running. An MLflow that is away is told once as a warning and does
    not disturb the search; what it lacks is written when it is back, at the latest when the search ends.

    Args:
        tuner: a `keras_tuner.Tuner` that was just made.
        experiment: of MLflow; made if it is not there.
        tracking_uri: None takes MLflow's own default (MLFLOW_TRACKING_URI, else sqlite:///mlflow.db).

    Raises:
        BadInputError: the object is no tuner, or is tracked already.
        UnusableStoreError: the store can never be written to; one that is away is no error.
    """
    if not all(hasattr(tuner, name) for name in ("search", "oracle", "on_trial_begin", "on_trial_end", "project_dir")):
        raise BadInputError(f"found {type(tuner).__name__}; expected a keras_tuner.Tuner")
    if hasattr(tuner, _MARK):
        raise BadInputError("this tuner is tracked already")
    uri = resolve_tracking_uri(tracking_uri)
    refuse_unusable(uri, ask=False)
    tracking = TunerTracking(tuner, experiment, uri)
    setattr(tuner, _MARK, tracking)
    _observe(tuner, tracking)
    return tracking


def _observe(tuner: Any, tracking: TunerTracking) -> None:
    """Puts `tracking` before and behind the hooks of this one tuner."""
    search, begin, end = tuner.search, tuner.on_trial_begin, tuner.on_trial_end
    epoch_end = getattr(tuner, "on_epoch_end", None)

    @functools.wraps(search)
    def tracked_search(*args: Any, **kwargs: Any) -> Any:
        with tracking.searching():
            return search(*args, **kwargs)

    def on_trial_begin(trial: Any) -> None:
        tracking.begin_trial(trial)
        begin(trial)

    def on_epoch_end(trial: Any, model: Any, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        tracking.end_epoch(trial, model, epoch, logs or {})
        if epoch_end is not None:
            epoch_end(trial, model, epoch, logs=logs)

    def on_trial_end(trial: Any) -> None:
        try:
            end(trial)
        finally:  # KerasTuner raises here after too many failures in a row
            tracking.end_trial(trial)

    tuner.search, tuner.on_trial_begin, tuner.on_trial_end = tracked_search, on_trial_begin, on_trial_end
    tuner.on_epoch_end = on_epoch_end


@dataclass(slots=True)
class _Attempt:
    """One attempt at a trial, and what MLflow lacks of it."""

    trial_id: str
    began: int
    """Milliseconds."""
    params: dict[str, Any]
    """Not written yet."""
    run_id: str | None = None
    metrics: list[Metric] = field(default_factory=list)
    """Not written yet."""
    tags: dict[str, str] = field(default_factory=dict)
    status: str = "RUNNING"
    ended: int | None = None
    traceback: str = ""
    execution: int = 0
    step: int = 0
    model: Callable[[], Any] = lambda: None
    """The model of the present execution, held weakly."""


class TunerTracking:
    """What `track_tuner` gives: the record of one tuner.

    Attributes:
        tracking_uri: of the MLflow store.
        run_id: of the parent run; None before the search has begun.
    """

    def __init__(
        self, tuner: Any, experiment: str, tracking_uri: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Use `track_tuner`, which also makes the tuner tell what happens."""
        self.tracking_uri = tracking_uri
        self.run_id: str | None = None
        self._tuner = tuner
        self._experiment_name = experiment
        self._clock = clock
        self._paused_until = -math.inf
        self._outage_is_told = False
        self._open: list[_Attempt] = []
        """Attempts that are not wholly in MLflow."""
        self._runs: dict[str, list[Run]] = {}
        """Of an earlier process, by trial; a trial that begins again is taken out."""
        self._n_attempts: dict[str, int] = {}
        self._stale: list[str] = []
        """Runs of attempts that were interrupted and are made again; they go to MLflow's bin."""

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Around a search: begins or takes up the parent run, and ends it, however the search ends."""
        self._write(self._begin_search)
        try:
            yield
        except Exception as error:
            self._end_search("FAILED", first_line(error))
            raise
        except BaseException:
            self._end_search("KILLED", "interrupted")
            raise
        self._end_search("FINISHED", "")

    def begin_trial(self, trial: Any) -> None:
        """A trial is about to be trained, for the first time or again."""
        self._open.append(_Attempt(trial.trial_id, _now(), _params(trial)))
        self._write()

    def end_epoch(self, trial: Any, model: Any, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch of a trial is over; `epoch` counts from 0 and begins anew with every execution."""
        attempt = self._running(trial.trial_id)
        if attempt is None:
            return
        if attempt.model() is not model:
            attempt.model, attempt.step = weakref.ref(model), 0
            attempt.execution += 1
            attempt.params |= {"parameters": model.count_params()} if model.built else {}
        attempt.step = epoch + 1 if epoch + 1 > attempt.step else attempt.step + 1
        prefix = "" if attempt.execution == 1 else f"execution_{attempt.execution}/"
        attempt.metrics += _metrics({f"{prefix}{name}": value for name, value in logs.items()}, attempt.step)
        self._write()

    def end_trial(self, trial: Any) -> None:
        """A trial is over, well or not; KerasTuner has scored it."""
        attempt = self._running(trial.trial_id)
        if attempt is not None:
            _close(attempt, self._tuner.oracle.get_trial(trial.trial_id))
            self._write()

    # the search

    def _begin_search(self) -> None:
        identity = self._identity()
        filters = {kind: _filter(identity, kind) for kind in ("sweep", "trial")}
        left = self._client.search_runs([self._experiment], filters["sweep"], max_results=1)
        self.run_id = left[0].info.run_id if left else self._create_parent(identity)
        self._client.update_run(self.run_id, status="RUNNING")
        self._log_params(self.run_id, _search_params(self._tuner))
        self._runs = {}
        for run in _all_runs(self._client, self._experiment, filters["trial"]):
            self._runs.setdefault(run.data.tags[names.TRIAL], []).append(run)
        self._open += self._missing()

    def _missing(self) -> list[_Attempt]:
        """Trials that ended in an earlier process, before they were wholly written or before there was any tracking."""
        missing = []
        known = {attempt.trial_id for attempt in self._open}
        for trial_id in dict.fromkeys(self._tuner.oracle.end_order):
            runs = self._runs.get(trial_id, [])
            if trial_id in known or any(map(_is_closed, runs)):
                continue
            trial = self._tuner.oracle.get_trial(trial_id)
            attempt = _Attempt(trial_id, _now(), _params(trial), run_id=runs[-1].info.run_id if runs else None)
            _close(attempt, trial)
            missing.append(attempt)
        return missing

    def _end_search(self, status: str, reason: str) -> None:
        for attempt in self._open:
            if attempt.status == "RUNNING":
                attempt.status, attempt.ended = status, _now()
                attempt.tags = {names.STATE: "interrupted" if status == "KILLED" else "failed", names.REASON: reason}
        self._paused_until = -math.inf
        self._write(lambda: self._close_parent(status))
        if self._open or self.run_id is None:
            _LOG.warning(
                "%d trials are not wholly in MLflow at %s", len(self._open), hide_in_address(self.tracking_uri)
            )

    def _close_parent(self, status: str) -> None:
        run_id = self._parent()
        oracle = self._tuner.oracle
        ended = [oracle.get_trial(trial_id) for trial_id in dict.fromkeys(oracle.end_order)]
        scored = [trial for trial in ended if trial.status == "COMPLETED" and trial.score is not None]
        counts = {
            "sweep/trials_completed": len(scored),
            "sweep/trials_failed": sum(_STATUS.get(trial.status) == "FAILED" for trial in ended),
        }
        best = [trial.score for trial in oracle.get_best_trials(1) if trial.status == "COMPLETED"]
        values = counts | ({f"best_{oracle.objective.name}": best[0]} if best else {})
        self._client.log_batch(run_id, metrics=_metrics(values, len(ended)))
        self._client.log_dict(run_id, oracle.get_space().get_config(), "search_space.json")
        self._client.set_terminated(run_id, status)

    def _identity(self) -> str:
        """A name for this search that stays when the tuner is made again on the same project folder."""
        path = Path(self._tuner.project_dir) / _IDENTITY
        if not path.exists():
            path.write_text(f"{self._tuner.project_name}-{uuid.uuid4().hex[:8]}", encoding="utf-8")
        return path.read_text(encoding="utf-8")

    def _create_parent(self, identity: str) -> str:
        run = self._client.create_run(self._experiment, _now(), _tags(identity, "sweep"), self._tuner.project_name)
        return str(run.info.run_id)

    def _parent(self) -> str:
        if self.run_id is None:
            self._begin_search()
        assert self.run_id is not None
        return self.run_id

    # writing

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self.tracking_uri)

    @cached_property
    def _experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._experiment_name)
        if experiment is None:
            return create_experiment(self._client, self._experiment_name, names.EXPERIMENT_KIND)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _running(self, trial_id: str) -> _Attempt | None:
        running = [attempt for attempt in self._open if attempt.trial_id == trial_id and attempt.status == "RUNNING"]
        return running[-1] if running else None

    def _write(self, then: Callable[[], None] = lambda: None) -> None:
        """Writes what MLflow lacks, and `then` does the rest; nothing is lost if that fails."""
        if self._clock() < self._paused_until:
            return
        try:
            with tracking_errors(self.tracking_uri):
                for attempt in list(self._open):
                    self._write_attempt(attempt)
                while self._stale:
                    self._client.delete_run(self._stale[-1])
                    self._stale.pop()
                then()
        except TrackingError as error:
            self._paused_until = self._clock() + _PAUSE_SECONDS
            if not self._outage_is_told:
                self._outage_is_told = True
                _LOG.warning("%s; the search continues, and what is missing is written later", error)
        else:
            if self._outage_is_told:
                self._outage_is_told = False
                _LOG.warning("MLflow at %s is back and has everything", hide_in_address(self.tracking_uri))

    def _write_attempt(self, attempt: _Attempt) -> None:
        parent = self._parent()
        if attempt.run_id is None:
            attempt.run_id = self._create_run(attempt, parent)
        if attempt.params:
            self._log_params(attempt.run_id, attempt.params)
            attempt.params = {}
        while attempt.metrics:
            self._client.log_batch(attempt.run_id, metrics=attempt.metrics[:_MAX_METRICS_PER_CALL])
            del attempt.metrics[:_MAX_METRICS_PER_CALL]
        if attempt.status != "RUNNING":
            self._close_run(attempt.run_id, attempt)
            self._open.remove(attempt)

    def _create_run(self, attempt: _Attempt, parent: str) -> str:
        earlier = self._runs.get(attempt.trial_id, [])
        number = self._n_attempts.get(attempt.trial_id, len(earlier)) + 1
        tags = {names.PARENT: parent, names.TRIAL: attempt.trial_id, names.ATTEMPT: str(number)}
        tags |= _tags(self._identity(), "trial")
        made = self._client.create_run(self._experiment, attempt.began, tags, f"trial {attempt.trial_id}")
        self._n_attempts[attempt.trial_id] = number
        self._stale += [run.info.run_id for run in self._runs.pop(attempt.trial_id, []) if not _is_closed(run)]
        return str(made.info.run_id)

    def _close_run(self, run_id: str, attempt: _Attempt) -> None:
        if attempt.traceback:
            self._client.log_text(run_id, attempt.traceback, "traceback.txt")
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in attempt.tags.items()])
        self._client.set_terminated(run_id, attempt.status, attempt.ended)

    def _log_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        params = [Param(name, str(value)) for name, value in names.trial_params(values, {}).items()]
        for start in range(0, len(params), _MAX_PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=params[start : start + _MAX_PARAMS_PER_CALL])


def _is_closed(run: Run) -> bool:
    """Whether a trial came to its end in this run."""
    return run.info.status in ("FINISHED", "FAILED")


def _close(attempt: _Attempt, trial: Any) -> None:
    """Takes over what KerasTuner says of a trial that ended."""
    attempt.status, attempt.ended = _STATUS.get(trial.status, "FAILED"), _now()
    attempt.params |= _params(trial)
    attempt.tags = {names.STATE: trial.status.lower()}
    if attempt.status == "FAILED":
        attempt.traceback = hide_password(trial.message or "")
        lines = attempt.traceback.strip().splitlines()
        attempt.tags[names.REASON] = lines[-1] if lines else f"{trial.status.lower()}, without a message"
        return
    final = {f"best_{name}": trial.metrics.get_best_value(name) for name in trial.metrics.metrics}
    attempt.metrics += _metrics(final | {"score": trial.score}, 0)


def _params(trial: Any) -> dict[str, Any]:
    """The active hyperparameters, and what an oracle such as Hyperband adds of its own."""
    space = trial.hyperparameters
    declared = {entry.name for entry in space.space}
    active = {entry.name for entry in space.space if space.is_active(entry)}
    return {name: value for name, value in space.values.items() if name in active or name not in declared}


def _search_params(tuner: Any) -> dict[str, Any]:
    oracle = tuner.oracle
    return {
        "tuner": type(tuner).__name__,
        "oracle": type(oracle).__name__,
        "objective": oracle.objective.name,
        "direction": oracle.objective.direction,
        "max_trials": oracle.max_trials,
        "seed": oracle.seed,
    }


def _metrics(values: Mapping[str, Any], step: int) -> list[Metric]:
    """Those of the values that are numbers, under names that MLflow takes."""
    moment = _now()
    numbers = {names.allowed_name(name): _number(value) for name, value in values.items()}
    return [Metric(name, value, moment, step) for name, value in numbers.items() if value is not None]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _tags(identity: str, kind: str) -> dict[str, str]:
    return {names.SWEEP_ID: identity, names.KIND: kind, names.SOURCE: "keras_tuner", names.USER: names.user_name()}


def _filter(identity: str, kind: str) -> str:
    return f"tags.`{names.SWEEP_ID}` = '{identity}' AND tags.`{names.KIND}` = '{kind}'"


def _all_runs(client: MlflowClient, experiment: str, query: str) -> Iterator[Run]:
    """Page by page, the oldest first."""
    token: str | None = None
    while True:
        page = client.search_runs([experiment], query, max_results=1000, order_by=["start_time ASC"], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _now() -> int:
    return int(time.time() * 1000)
