"""The sweeps' runs in a store, as they are found there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from galaxy_exp.tracking import names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["find_runs"]


def find_runs(client: MlflowClient, experiment: str, sweep_id: str | None = None) -> list[Run]:
    """The active runs that sweeps made in an experiment, or one sweep; none if there is no such experiment."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    query = f"tags.`{names.SOURCE}` = '{names.OWN_SOURCE}'"
    if sweep_id is not None:
        query += f" AND tags.`{names.SWEEP_ID}` = '{sweep_id}'"
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([found.experiment_id], query, max_results=1000, page_token=token)
        runs += [run for run in page if names.SWEEP_ID in run.data.tags and names.KIND in run.data.tags]
        token = page.token
        if not token:
            return runs
