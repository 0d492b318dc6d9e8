"""The runs of a KerasTuner search in MLflow: a parent run, and a child run for each attempt at a trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from galaxy_exp.tracking import names
from galaxy_exp.tracking.mlflow_runs import log_batch, open_experiment, search_runs, to_milliseconds
from galaxy_exp.tracking.names import RunStatus
from galaxy_exp.tracking.store import open_client

__all__ = ["Attempt", "TunerRuns", "now", "to_metrics"]


@dataclass(slots=True)
class Attempt:
    """One attempt at a trial, with what is not yet written to MLflow."""

    trial_id: str
    began: int
    """Milliseconds since 1970."""
    params: dict[str, Any]
    run_id: str | None = None
    metrics: list[Metric] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    status: RunStatus = RunStatus.RUNNING
    ended: int | None = None
    traceback: str = ""
    execution: int = 0
    """Number of the current execution (`executions_per_trial`), from 1."""
    step: int = 0
    model: Callable[[], Any] = lambda: None
    """A weak reference to the model of the current execution."""


@dataclass(eq=False, repr=False)
class TunerRuns:
    """Writes one search to MLflow; any call may fail, and can be repeated then."""

    tracking_uri: str
    """Of the store, which is opened at first use."""
    experiment_name: str
    """Of an experiment, which is created if need be."""
    search_id: str
    """Identifies the search; a search that continues has the same one."""
    name: str
    """Of the parent run, like the params."""
    params: Mapping[str, Any]
    run_id: str | None = field(default=None, init=False)
    """Of the parent run; None before `begin`."""
    _earlier: dict[str, list[Run]] = field(default_factory=dict, init=False)
    """Runs of an earlier process, by trial, without those of trials that have begun again."""
    _n_attempts: dict[str, int] = field(default_factory=dict, init=False)
    _stale: list[str] = field(default_factory=list, init=False)
    """Runs to delete: of attempts that were interrupted and are made again."""

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self.tracking_uri)

    @cached_property
    def _experiment_id(self) -> str:
        return open_experiment(self._client, self.experiment_name, names.EXPERIMENT_KIND)

    def begin(self) -> None:
        """Finds or creates the parent run, and finds the trials' runs of an earlier process."""
        left = next(search_runs(self._client, self._experiment_id, names.query_runs(self.search_id, "sweep")), None)
        self.run_id = self._create("sweep", now(), {}, self.name) if left is None else str(left.info.run_id)
        self._client.update_run(self.run_id, status=RunStatus.RUNNING)
        log_batch(self._client, self.run_id, names.trial_params(self.params, {}))
        self._earlier = {}
        query = names.query_runs(self.search_id, "trial")
        for run in search_runs(self._client, self._experiment_id, query, ["start_time ASC"]):
            self._earlier.setdefault(run.data.tags[names.TRIAL], []).append(run)

    def is_complete(self, trial_id: str) -> bool:
        """Whether an earlier process wrote all of a trial."""
        return any(run.info.status in _CLOSED for run in self._earlier.get(trial_id, []))

    def run_of_earlier_process(self, trial_id: str) -> str | None:
        """The latest run of a trial that an earlier process began."""
        runs = self._earlier.get(trial_id, [])
        return runs[-1].info.run_id if runs else None

    def write(self, attempt: Attempt) -> None:
        """Writes what MLflow lacks of an attempt, whose run is created and ended when it is time."""
        if attempt.run_id is None:
            attempt.run_id = self._create_child(attempt)
        log_batch(self._client, attempt.run_id, names.trial_params(attempt.params, {}), attempt.metrics)
        attempt.params, attempt.metrics = {}, []
        if attempt.status is not RunStatus.RUNNING:
            if attempt.traceback:
                self._client.log_text(attempt.run_id, attempt.traceback, "traceback.txt")
            log_batch(self._client, attempt.run_id, tags=attempt.tags)
            self._client.set_terminated(attempt.run_id, attempt.status, attempt.ended)

    def delete_stale(self) -> None:
        """Deletes the runs of interrupted attempts that are made again."""
        while self._stale:
            self._client.delete_run(self._stale[-1])
            self._stale.pop()

    def close(self, status: RunStatus, metrics: list[Metric], space: dict[str, Any]) -> None:
        """Writes the search's summary and ends the parent run.

        Args:
            space: `keras_tuner.HyperParameters.get_config()`.
        """
        assert self.run_id is not None
        log_batch(self._client, self.run_id, metrics=metrics)
        self._client.log_dict(self.run_id, space, "search_space.json")
        self._client.set_terminated(self.run_id, status)

    def _create(self, kind: str, began: int, tags: Mapping[str, str], name: str) -> str:
        common = {names.SWEEP_ID: self.search_id, names.KIND: kind}
        common |= {names.SOURCE: "keras_tuner", names.USER: names.user_name()}
        return str(self._client.create_run(self._experiment_id, began, {**tags, **common}, name).info.run_id)

    def _create_child(self, attempt: Attempt) -> str:
        trial_id = attempt.trial_id
        number = self._n_attempts.get(trial_id, len(self._earlier.get(trial_id, []))) + 1
        assert self.run_id is not None
        tags = {names.PARENT: self.run_id, names.TRIAL: trial_id, names.ATTEMPT: str(number)}
        run_id = self._create("trial", attempt.began, tags, f"trial {trial_id}")
        self._n_attempts[trial_id] = number
        self._stale += [run.info.run_id for run in self._earlier.pop(trial_id, []) if run.info.status not in _CLOSED]
        return run_id


_CLOSED = (RunStatus.FINISHED, RunStatus.FAILED)
"""Of a run in which a trial ended."""


def to_metrics(values: Mapping[str, Any], step: int) -> list[Metric]:
    """The values that are numbers, by allowed names."""
    moment, found = now(), {}
    for name, value in values.items():
        with suppress(TypeError, ValueError):
            found[names.allowed_name(name)] = Metric(names.allowed_name(name), float(value), moment, step)
    return list(found.values())


def now() -> int:
    """Milliseconds since 1970."""
    return to_milliseconds(time.time())
