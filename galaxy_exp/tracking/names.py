"""The tags and run names the projection writes; the only place they are spelled."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE, MLFLOW_SOURCE_NAME, MLFLOW_USER

from galaxy_exp.journal.record import TrialRecord
from galaxy_exp.records import TrialState

__all__ = [
    "ATTEMPT",
    "CLOSED",
    "CONFIRMS",
    "EPOCHS",
    "EXPERIMENT_KIND",
    "FINISHED_BUT",
    "KIND",
    "NOTE",
    "OWN_SOURCE",
    "PARENT",
    "REASON",
    "SOURCE",
    "STATE",
    "SWEEP_ID",
    "TRAINING_MODE",
    "TRIAL",
    "USER",
    "VIEW_PARAM",
    "VIEW_TAG",
    "allowed_name",
    "trial_params",
    "trial_run_name",
    "user_name",
]

_ALLOWED = re.compile(r"[^\w\-./: ]")
"""What MLflow does not take in the name of a param or metric."""

PARENT = MLFLOW_PARENT_RUN_ID
NOTE = MLFLOW_RUN_NOTE
SOURCE = MLFLOW_SOURCE_NAME
USER = MLFLOW_USER

OWN_SOURCE = "galaxy-exp"
"""The source of runs that sweeps make; those of `track_tuner` have another."""

EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""On an experiment: the MLflow UI opens it as model training, not as an evaluation of language models."""

SWEEP_ID = "galaxy_exp.sweep_id"
KIND = "galaxy_exp.kind"
"""`sweep` on a parent run, `trial` on a child run."""
TRIAL = "galaxy_exp.trial"
"""The trial's number, on child runs."""
ATTEMPT = "galaxy_exp.attempt"
STATE = "galaxy_exp.state"
REASON = "galaxy_exp.reason"
CLOSED = "galaxy_exp.closed"
"""Why `galaxy-exp doctor` closed a run, on runs whose driver was gone; taken off when the sweep goes on."""
CONFIRMS = "galaxy_exp.confirms"
"""The finalist's number, on the runs that train it again."""
EPOCHS = "galaxy_exp.epochs"

VIEW_TAG = "mlflow.sharedViewState."
"""How the tags of an experiment begin that hold a view of it which was saved in the MLflow UI; then comes its key."""
VIEW_PARAM = "viewStateShareKey"
"""What the UI's addresses call that key."""
TRAINING_MODE = "workflowType=machine_learning"
"""In the UI's addresses: shows what belongs to the training of models, not the pages about language models."""


FINISHED_BUT = (TrialState.STOPPED, TrialState.INFEASIBLE)
"""States other than completed of which MLflow shows the run as finished."""


def trial_run_name(trial: TrialRecord, has_baseline: bool) -> str:
    """`trial 007`, `trial 000 (baseline)`, `trial 021 (trial 7 again)`, or `trial 008 (stopped)`.

    A state is named where MLflow shows a trial's run as it shows that of a completed one.
    """
    said = [f"trial {trial.retrains} again"] if trial.retrains is not None else []
    if has_baseline and trial.number == 0:
        said.append("baseline")
    if trial.state in FINISHED_BUT:
        said.append(str(trial.state))
    return f"trial {trial.number:03d}" + (f" ({', '.join(said)})" if said else "")


def allowed_name(name: str) -> str:
    """The name with `_` for every character that MLflow does not take."""
    return _ALLOWED.sub("_", name)


def trial_params(values: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters and our own params under names that MLflow takes; on a clash ours gets a prefix."""
    params = {allowed_name(name): value for name, value in values.items()}
    return params | {f"galaxy_exp.{name}" if name in params else name: value for name, value in ours.items()}


def user_name() -> str:
    """Who runs this; a user id without a name, as in some containers, is given as a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
