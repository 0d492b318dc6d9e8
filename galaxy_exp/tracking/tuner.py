"""The search of an ordinary `keras_tuner.Tuner` in MLflow, with each trial's curve.

KerasTuner tells its oracle about a trial only at the end, and copies callbacks, but it calls the tuner's own hooks
after every epoch (`keras_tuner.engine.tuner_utils.TunerCallback`). So the hooks of the tuner are wrapped, and neither a
callback nor a special oracle is needed.
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
from pathlib import Path
from typing import Any

from galaxy_exp.errors import BadInputError, TrackingError, first_line
from galaxy_exp.redaction import hide_in_address, hide_password
from galaxy_exp.tracking import names
from galaxy_exp.tracking.addresses import resolve_tracking_uri
from galaxy_exp.tracking.calls import OutageNotice
from galaxy_exp.tracking.names import RunStatus
from galaxy_exp.tracking.store import tracking_errors
from galaxy_exp.tracking.store_check import refuse_unusable
from galaxy_exp.tracking.tuner_runs import Attempt, TunerRuns, now, to_metrics

__all__ = ["PAUSE_SECONDS", "TunerTracking", "track_tuner"]

_LOG = logging.getLogger(__name__)
_LATER = "the search continues, and what is missing is written later"
PAUSE_SECONDS = 30.0
"""The pause after a failure of MLflow."""
_STATUS = {
    "COMPLETED": RunStatus.FINISHED,
    "STOPPED": RunStatus.FINISHED,
    "FAILED": RunStatus.FAILED,
    "INVALID": RunStatus.FAILED,
}
"""The status of a run by KerasTuner's status of the trial."""
_MARK = "_galaxy_exp_tracking"


def track_tuner(tuner: Any, experiment: str = "keras_tuner", tracking_uri: str | None = None) -> TunerTracking:
    """Records the tuner's `search` in MLflow from now on.

    The search becomes a parent run, every trial a child run with its hyperparameters, the metrics of every epoch, the
    final metrics as `best_...`, its state and, if it failed, the traceback. Works with any oracle and any subclass of
    `keras_tuner.Tuner`, in one process. A tuner that resumes its project (`overwrite=False`) continues in the same
    parent run; finished trials keep their runs, and an interrupted trial gets a new run, which replaces the old one.
    After Ctrl-C or an error no run is left running. An outage of MLflow gives one warning and does not disturb the
    search; what is missing is written after the outage, at the latest when the search ends.

    Args:
        tuner: a new `keras_tuner.Tuner`.
        experiment: name of the MLflow experiment; created if need be.
        tracking_uri: None uses MLflow's default (MLFLOW_TRACKING_URI, else sqlite:///mlflow.db).

    Raises:
        BadInputError: the object is no tuner, or is tracked already.
        UnusableStoreError: the store can never be written to; an outage is no error.
    """
    if not all(hasattr(tuner, name) for name in ("search", "oracle", "on_trial_begin", "on_trial_end", "project_dir")):
        raise BadInputError(f"found {type(tuner).__name__}; expected a keras_tuner.Tuner")
    if hasattr(tuner, _MARK):
        raise BadInputError("this tuner is tracked already")
    uri = resolve_tracking_uri(tracking_uri)
    refuse_unusable(uri, ask=False)
    tracking = TunerTracking(tuner, experiment, uri)
    setattr(tuner, _MARK, tracking)
    _wrap_hooks(tuner, tracking)
    return tracking


def _wrap_hooks(tuner: Any, tracking: TunerTracking) -> None:
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


class TunerTracking:
    """The tracking of one tuner; made by `track_tuner`, which lets the tuner call the methods."""

    def __init__(self, tuner: Any, experiment: str, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._tuner, self._experiment = tuner, experiment
        self._paused_until = -math.inf
        self._outage = OutageNotice(_LOG.warning)
        self._runs: TunerRuns | None = None
        self._open: list[Attempt] = []
        """Attempts that are not completely in MLflow."""

    @property
    def run_id(self) -> str | None:
        """The parent run; None before the search has begun."""
        return None if self._runs is None else self._runs.run_id

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Begins or resumes the parent run on entering, and ends it on leaving, also after an error."""
        self._write(self._begin_search)
        try:
            yield
        except Exception as error:
            self.end_search(RunStatus.FAILED, first_line(error))
            raise
        except BaseException:
            self.end_search(RunStatus.KILLED, "interrupted")
            raise
        self.end_search(RunStatus.FINISHED, "")

    def begin_trial(self, trial: Any) -> None:
        """Records that a trial begins, for the first time or again."""
        self._open.append(Attempt(trial.trial_id, now(), _params(trial)))
        self._write()

    def end_epoch(self, trial: Any, model: Any, epoch: int, logs: Mapping[str, Any]) -> None:
        """Records an epoch of a trial; `epoch` counts from 0 in every execution."""
        attempt = self._running_attempt(trial.trial_id)
        if attempt is None:
            return
        if attempt.model() is not model:
            attempt.model, attempt.step = weakref.ref(model), 0
            attempt.execution += 1
            attempt.params |= {"parameters": model.count_params()} if model.built else {}
        attempt.step = max(epoch, attempt.step) + 1
        prefix = "" if attempt.execution == 1 else f"execution_{attempt.execution}/"
        attempt.metrics += to_metrics({f"{prefix}{name}": value for name, value in logs.items()}, attempt.step)
        self._write()

    def end_trial(self, trial: Any) -> None:
        """Records the end of a trial, successful or not, after KerasTuner has scored it."""
        attempt = self._running_attempt(trial.trial_id)
        if attempt is not None:
            _close(attempt, self._tuner.oracle.get_trial(trial.trial_id))
            self._write()

    def end_search(self, status: RunStatus, reason: str) -> None:
        """Records the end of the search, whose running trials end with it."""
        for attempt in self._open:
            if attempt.status is RunStatus.RUNNING:
                attempt.status, attempt.ended = status, now()
                state = "interrupted" if status is RunStatus.KILLED else "failed"
                attempt.tags = {names.STATE: state, names.REASON: reason}
        self._paused_until = -math.inf
        if not self._write(lambda: self._close_search(status), "the search has ended"):
            _LOG.warning(
                "%d trials are not wholly in MLflow at %s, and the parent run is not closed; a new search on this "
                "folder (overwrite=False) closes it",
                len(self._open),
                hide_in_address(self.tracking_uri),
            )

    def _begin_search(self) -> None:
        """Begins or resumes the parent run, and adds trials of earlier processes that MLflow lacks."""
        if self._runs is None:
            name, params = self._tuner.project_name, _search_params(self._tuner)
            self._runs = TunerRuns(self.tracking_uri, self._experiment, self._search_id(), name, params)
        self._runs.begin()
        oracle, known = self._tuner.oracle, {attempt.trial_id for attempt in self._open}
        for trial_id in dict.fromkeys(oracle.end_order):
            if trial_id not in known and not self._runs.is_complete(trial_id):
                trial = oracle.get_trial(trial_id)
                attempt = Attempt(trial_id, now(), _params(trial), run_id=self._runs.run_of_earlier_process(trial_id))
                _close(attempt, trial)
                self._open.append(attempt)

    def _search_id(self) -> str:
        """Stays the same when the tuner is created again on the same project folder with `overwrite=False`."""
        path = Path(self._tuner.project_dir, "galaxy_exp_search.txt")
        if not path.exists():
            path.write_text(f"{self._tuner.project_name}-{uuid.uuid4().hex[:8]}", encoding="utf-8")
        return path.read_text(encoding="utf-8")

    def _close_search(self, status: RunStatus) -> None:
        oracle = self._tuner.oracle
        ended = [oracle.get_trial(trial_id) for trial_id in dict.fromkeys(oracle.end_order)]
        scored = [trial for trial in ended if trial.status == "COMPLETED" and trial.score is not None]
        values = {
            "sweep/trials_completed": len(scored),
            "sweep/trials_failed": sum(_STATUS.get(trial.status) is RunStatus.FAILED for trial in ended),
        }
        for trial in oracle.get_best_trials(1):
            if trial.status == "COMPLETED":
                values[f"best_{oracle.objective.name}"] = trial.score
        self._begun_runs().close(status, to_metrics(values, len(ended)), oracle.get_space().get_config())

    def _begun_runs(self) -> TunerRuns:
        if self.run_id is None:
            self._begin_search()
        assert self._runs is not None
        return self._runs

    def _running_attempt(self, trial_id: str) -> Attempt | None:
        running = [each for each in self._open if each.trial_id == trial_id and each.status is RunStatus.RUNNING]
        return running[-1] if running else None

    def _write(self, then: Callable[[], None] = lambda: None, promise: str = _LATER) -> bool:
        """Writes everything that MLflow lacks and calls `then`; False after a failure, which the next call repeats.

        Args:
            promise: what is said to follow on a failure.
        """
        if time.monotonic() < self._paused_until:
            return False
        try:
            with tracking_errors(self.tracking_uri):
                for attempt in list(self._open):
                    self._begun_runs().write(attempt)
                    if attempt.status is not RunStatus.RUNNING:
                        self._open.remove(attempt)
                if self._runs is not None:
                    self._runs.delete_stale()
                then()
        except TrackingError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            self._outage.begin(f"{error}; {promise}")
            return False
        self._outage.end(f"MLflow at {hide_in_address(self.tracking_uri)} is back and has everything")
        return True


def _close(attempt: Attempt, trial: Any) -> None:
    """Takes the end of a trial from KerasTuner."""
    attempt.status, attempt.ended = _STATUS.get(trial.status, RunStatus.FAILED), now()
    attempt.params |= _params(trial)
    attempt.tags = {names.STATE: trial.status.lower()}
    if attempt.status is RunStatus.FAILED:
        attempt.traceback = hide_password(trial.message or "")
        lines = attempt.traceback.strip().splitlines()
        attempt.tags[names.REASON] = lines[-1] if lines else f"{trial.status.lower()}, without a message"
        return
    final = {f"best_{name}": trial.metrics.get_best_value(name) for name in trial.metrics.metrics}
    attempt.metrics += to_metrics(final | {"score": trial.score}, 0)


def _params(trial: Any) -> dict[str, Any]:
    """The active hyperparameters, and values that an oracle such as Hyperband adds without declaring them."""
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
