"""Names in MLflow: tags, states and names of runs, the only place where they are spelled; what a trial's run has."""

from __future__ import annotations

import getpass
import math
import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import chain, count
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE, MLFLOW_SOURCE_NAME, MLFLOW_USER

from galaxy_exp.journal.record import TrialRecord
from galaxy_exp.records import TrialState

__all__ = [
    "ATTEMPT",
    "CLOSED",
    "CONFIGURATION",
    "EPOCHS",
    "EXPERIMENT_KIND",
    "FINISHED_BUT",
    "KIND",
    "NOTE",
    "OWN_SOURCE",
    "PARENT",
    "REASON",
    "RETRAINS",
    "SOURCE",
    "STATE",
    "STATUS",
    "SWEEP_ID",
    "TRAINING_MODE",
    "TRIAL",
    "USER",
    "VIEW_PARAM",
    "VIEW_TAG",
    "RunStatus",
    "allowed_name",
    "merged_names",
    "outcome_metrics",
    "outcome_params",
    "query_runs",
    "trial_params",
    "trial_run_name",
    "user_name",
]

_ALLOWED = re.compile(r"[^\w\-./: ]")
"""Characters that MLflow refuses in the name of a param or metric."""
_LONGEST = 240
"""Characters of a name; MLflow takes 250, some of which a number or a replaced part of a path may add."""

PARENT = MLFLOW_PARENT_RUN_ID
NOTE = MLFLOW_RUN_NOTE
SOURCE = MLFLOW_SOURCE_NAME
USER = MLFLOW_USER

OWN_SOURCE = "galaxy-exp"
"""The source of runs of sweeps; those of `track_tuner` have another."""

EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""On an experiment: the MLflow UI opens it as model training, not as an evaluation of language models."""

SWEEP_ID = "galaxy_exp.sweep_id"
KIND = "galaxy_exp.kind"
"""`sweep` on a parent run, `trial` on a child run."""
TRIAL = "galaxy_exp.trial"
"""The trial's number, on child runs."""
CONFIGURATION = "galaxy_exp.configuration"
"""`trial 4`, the first with the same hyperparameters, on child runs: to group those that differ in the seed alone."""
ATTEMPT = "galaxy_exp.attempt"
STATE = "galaxy_exp.state"
REASON = "galaxy_exp.reason"
CLOSED = "galaxy_exp.closed"
"""Why `galaxy-exp doctor` closed a run that its driver had left open; removed when the sweep is resumed."""
RETRAINS = "galaxy_exp.confirms"
"""The finalist's number, on the runs that train it again."""
EPOCHS = "galaxy_exp.epochs"

VIEW_TAG = "mlflow.sharedViewState."
"""Prefix of an experiment's tags that hold a saved view; the view's key follows."""
VIEW_PARAM = "viewStateShareKey"
"""The key of a view in the UI's addresses."""
TRAINING_MODE = "workflowType=machine_learning"
"""In the UI's addresses: opens the pages about training, not those about language models."""


class RunStatus(StrEnum):
    """MLflow's states of a run."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


STATUS = {
    TrialState.RUNNING: RunStatus.RUNNING,
    TrialState.COMPLETED: RunStatus.FINISHED,
    TrialState.STOPPED: RunStatus.FINISHED,
    TrialState.FAILED: RunStatus.FAILED,
    TrialState.LOST: RunStatus.KILLED,
    TrialState.INFEASIBLE: RunStatus.FINISHED,
}
"""The state of a trial's run, by the state of the trial."""

FINISHED_BUT = (TrialState.STOPPED, TrialState.INFEASIBLE)
"""States of trials that MLflow shows as it shows completed ones."""


def query_runs(sweep_id: str, kind: str) -> str:
    """The query for a sweep's runs of one `KIND`."""
    return f"tags.`{SWEEP_ID}` = '{sweep_id}' AND tags.`{KIND}` = '{kind}'"


def trial_run_name(trial: TrialRecord, has_baseline: bool) -> str:
    """`trial 007`, `trial 000 (baseline)`, `trial 021 (trial 7 again)`, or `trial 008 (stopped)`.

    The name has the state of trials that MLflow shows as completed but that are not.
    """
    notes = [f"trial {trial.retrains} again"] if trial.retrains is not None else []
    if has_baseline and trial.number == 0:
        notes.append("baseline")
    if trial.state in FINISHED_BUT:
        notes.append(str(trial.state))
    return f"trial {trial.number:03d}" + (f" ({', '.join(notes)})" if notes else "")


def allowed_name(name: str) -> str:
    """The name with `_` for every character, and every part of a path, that MLflow refuses; cut to what it takes."""
    parts = _ALLOWED.sub("_", name)[:_LONGEST].split("/")
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)


def merged_names(names: Iterable[str]) -> dict[str, list[str]]:
    """By allowed name, those of these names that MLflow cannot tell apart."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(allowed_name(name), []).append(name)
    return {allowed: same for allowed, same in found.items() if len(same) > 1}


def trial_params(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters and other params by allowed names.

    Of hyperparameters with the same allowed name, `a_b`, one that has it already or else the last keeps it, and others
    are `a_b_2` and so on. Other params get a prefix if a hyperparameter has the name.
    """
    params: dict[str, Any] = {}
    unchanged = [name for name in values if allowed_name(name) == name]
    changed = [name for name in reversed(list(values)) if allowed_name(name) != name]
    for name in (*unchanged, *changed):
        allowed = allowed_name(name)
        numbered = (f"{allowed}_{number}" for number in count(2))
        params[next(each for each in chain([allowed], numbered) if each not in params)] = values[name]
    return params | {f"galaxy_exp.{name}" if name in params else name: value for name, value in others.items()}


def outcome_params(trial: TrialRecord) -> dict[str, Any]:
    """Params of a trial that are known at its end; none for a trial without a model."""
    result = trial.result
    if result is None or not result.state.has_model:
        return {}
    return {name: getattr(result, name) for name in ("precision", "backend", "parameters", "flops")}


def outcome_metrics(trial: TrialRecord) -> dict[str, float]:
    """Metrics of a trial that are known at its end; those of the best epoch as `best_val_...`, to sort runs by."""
    result = trial.result
    if result is None:
        return {}
    best = {allowed_name(f"best_{name}"): value for name, value in result.metrics.items() if name.startswith("val_")}
    spent = {"seconds": trial.seconds, "training_seconds": result.training_seconds}
    if result.seconds_per_image:
        spent["seconds_per_image"] = result.seconds_per_image
    found = best | spent | {"best_epoch": result.best_epoch}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def user_name() -> str:
    """The user's name, or id where it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
