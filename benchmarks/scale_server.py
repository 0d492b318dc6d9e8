"""A real MLflow server over a SQLite database, and how fast it answers what its UI asks for."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.process import free_port, own_environment, wait_for_answer

__all__ = ["UI_QUESTIONS", "mlflow_server", "time_run_list"]

START_SECONDS = 120.0
UI_QUESTIONS = {
    "newest first": "attributes.start_time DESC",
    "best first": "metrics.`best_val_macro_f1` DESC",
    "by a hyperparameter": "params.`learning_rate` ASC",
}
"""How the UI has the list of runs sorted: by default, and after a click on a column."""
PAGE = 100
"""Runs that the UI asks for at a time."""


@contextmanager
def mlflow_server(folder: Path, database: Path) -> Iterator[str]:
    """A server on this machine's loopback; gives its address.

    Raises:
        RuntimeError: it does not answer.
    """
    port = free_port()
    uri, artifacts = f"sqlite:///{database.resolve()}", (folder / "mlruns").resolve().as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--default-artifact-root", artifacts, "--no-serve-artifacts"]
    with (folder / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=own_environment())
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_answer(f"{address}/health", process, START_SECONDS)
        yield address
    finally:
        process.terminate()
        process.wait()


def time_run_list(address: str, experiment: str, asks: int = 5) -> dict[str, Any]:
    """Seconds that the server takes for the UI's list of runs: first time, median and worst, by order; and the page."""
    session = requests.Session()
    api = f"{address}/ajax-api/2.0/mlflow"
    found = session.get(f"{api}/experiments/get-by-name", params={"experiment_name": experiment}, timeout=60)
    found.raise_for_status()
    experiment_id = found.json()["experiment"]["experiment_id"]
    seconds: dict[str, Any] = {"page": _times(lambda: session.get(f"{address}/", timeout=60), asks)}
    n_runs = 0
    for name, order in UI_QUESTIONS.items():
        question: dict[str, Any] = {
            "experiment_ids": [experiment_id],
            "max_results": PAGE,
            "order_by": [order],
            "run_view_type": "ACTIVE_ONLY",
        }
        seconds[name] = _times(lambda asked=question: session.post(f"{api}/runs/search", json=asked, timeout=60), asks)
        n_runs = max(n_runs, len(session.post(f"{api}/runs/search", json=question, timeout=60).json()["runs"]))
    return {"seconds": seconds, "runs_on_a_page": n_runs}


def _times(ask: Any, asks: int) -> dict[str, float]:
    seconds = []
    for _ in range(asks):
        began = time.perf_counter()
        ask().raise_for_status()
        seconds.append(time.perf_counter() - began)
    return {"first": seconds[0], "median": statistics.median(seconds), "worst": max(seconds)}
