"""What a tracking store knows of a search, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunStructure", "describe_runs"]

_PARENT_TAG = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True)
class RunStructure:
    """How the fits of a search lie in MLflow."""

    n_runs: int
    n_nested: int
    """Runs with a parent."""
    n_with_hyperparameters: int
    """Runs that have every tuned hyperparameter as a parameter."""
    n_with_mixed_curves: int
    """Runs in which two fits wrote the same epoch of the same curve."""
    n_with_artifacts: int
    """Runs with files of their own."""
    n_models: int
    """Logged models in the experiment."""


def describe_runs(tracking_uri: str, experiment: str, hyperparameters: Sequence[str]) -> RunStructure:
    """Looks at all runs of an experiment (the first 1,000).

    Args:
        tracking_uri: of the store.
        experiment: its name.
        hyperparameters: names of what was tuned.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise LookupError(f"{tracking_uri}: no experiment is called {experiment!r}")
    runs = client.search_runs([found.experiment_id], max_results=1000)
    return RunStructure(
        n_runs=len(runs),
        n_nested=sum(_PARENT_TAG in run.data.tags for run in runs),
        n_with_hyperparameters=sum(has_hyperparameters(run.data.params, hyperparameters) for run in runs),
        n_with_mixed_curves=sum(_has_mixed_curve(client, run) for run in runs),
        n_with_artifacts=sum(bool(client.list_artifacts(run.info.run_id)) for run in runs),
        n_models=len(client.search_logged_models([found.experiment_id])),
    )


def has_hyperparameters(params: dict[str, Any], names: Sequence[str]) -> bool:
    """Whether every name is there; autologging's `opt_learning_rate` counts as `learning_rate`."""
    return all(name in params or f"opt_{name}" in params for name in names)


def _has_mixed_curve(client: MlflowClient, run: Run) -> bool:
    if "val_accuracy" not in run.data.metrics:
        return False
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
    return len(set(steps)) < len(steps)
