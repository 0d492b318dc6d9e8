"""Experiments and runs of an MLflow store: found, created, restored and written to."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from galaxy_exp.tracking import names
from galaxy_exp.tracking.addresses import sqlite_file

__all__ = [
    "create_experiment",
    "find_experiment",
    "find_runs",
    "is_active",
    "is_refusal",
    "log_batch",
    "open_experiment",
    "restore_run",
    "search_runs",
    "to_milliseconds",
]

_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
_MAX_PARAMS_PER_CALL = 100
_MAX_METRICS_PER_CALL = 800
"""MLflow accepts 1000 things in a call: these, and tags."""


def find_experiment(client: MlflowClient, name: str, run_id: str | None = None) -> str | None:
    """The id of a run's experiment, which may have been renamed; without that run, of the one with the name, if any."""
    run = None if run_id is None else _find_run(client, run_id)
    found = client.get_experiment_by_name(name) if run is None else run.info
    return None if found is None else str(found.experiment_id)


def open_experiment(
    client: MlflowClient,
    name: str,
    tags: Mapping[str, str],
    on_restored: Callable[[], None] = lambda: None,
    run_id: str | None = None,
) -> str:
    """The id of what `find_experiment` finds, restored if it was deleted, or else created with these tags."""
    found = find_experiment(client, name, run_id)
    if found is None:
        return create_experiment(client, name, tags)
    if client.get_experiment(found).lifecycle_stage == "deleted":
        client.restore_experiment(found)
        on_restored()
    return found


def create_experiment(client: MlflowClient, name: str, tags: Mapping[str, str]) -> str:
    """Creates an experiment and returns its id.

    Its artifacts are where MLflow puts them by default, with a SQLite store in `./mlruns`. That place is passed to
    MLflow explicitly in a folder whose name MLflow would decode, such as `a%41b`.
    """
    here, location = Path.cwd(), None
    if sqlite_file(client.tracking_uri) is not None and unquote(str(here)) != str(here):
        location = (here / "mlruns" / uuid.uuid4().hex).as_uri()
    return str(client.create_experiment(name, location, dict(tags)))


def search_runs(
    client: MlflowClient, experiment_id: str, query: str, order_by: Sequence[str] | None = None
) -> Iterator[Run]:
    """The active runs of an experiment that match a query, page by page."""
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id], query, max_results=1000, order_by=list(order_by or ()), page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def find_runs(client: MlflowClient, experiment_id: str | None, sweep_id: str | None = None) -> list[Run]:
    """The active runs that all sweeps, or one sweep, made in an experiment; none if there is no experiment."""
    if experiment_id is None:
        return []
    query = f"tags.`{names.SOURCE}` = '{names.OWN_SOURCE}'"
    if sweep_id is not None:
        query += f" AND tags.`{names.SWEEP_ID}` = '{sweep_id}'"
    runs = search_runs(client, experiment_id, query)
    return [run for run in runs if names.SWEEP_ID in run.data.tags and names.KIND in run.data.tags]


def is_active(client: MlflowClient, run_id: str) -> bool:
    """Whether a run exists and is not deleted."""
    run = _find_run(client, run_id)
    return run is not None and run.info.lifecycle_stage == "active"


def is_refusal(error: MlflowException) -> bool:
    """Whether MLflow refuses one request; other errors mean an outage."""
    return error.error_code in _REFUSALS


def restore_run(client: MlflowClient, run_id: str) -> bool:
    """Restores a run if it is deleted; False if the store no longer has it."""
    run = _find_run(client, run_id)
    if run is not None and run.info.lifecycle_stage == "deleted":
        client.restore_run(run_id)
    return run is not None


def _find_run(client: MlflowClient, run_id: str) -> Run | None:
    """A run, which may be deleted; None if it does not exist."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def log_batch(
    client: MlflowClient,
    run_id: str,
    params: Mapping[str, Any] | None = None,
    metrics: Sequence[Metric] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Writes params, metrics and tags in as few calls as MLflow allows.

    MLflow ignores a metric that it already has, so writing twice changes nothing.
    """
    param_list = [Param(name, str(value)) for name, value in (params or {}).items()]
    tag_list = [RunTag(name, value) for name, value in (tags or {}).items()]
    while param_list or metrics or tag_list:
        client.log_batch(run_id, metrics[:_MAX_METRICS_PER_CALL], param_list[:_MAX_PARAMS_PER_CALL], tag_list)
        metrics, param_list = metrics[_MAX_METRICS_PER_CALL:], param_list[_MAX_PARAMS_PER_CALL:]
        tag_list = []


def to_milliseconds(seconds: float) -> int:
    """A time as MLflow has it."""
    return int(seconds * 1000)
