"""Projects in folders with names that MLflow decodes or encodes: all is stored in the folder and can be read back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from mlflow_servers import free_port
from PIL import Image

pytestmark = pytest.mark.slow

STORE = """
import os
import sys
from pathlib import Path
from mlflow.artifacts import download_artifacts
from galaxy_exp.tracking.addresses import resolve_tracking_uri
from galaxy_exp.tracking.mlflow_runs import create_experiment
from galaxy_exp.tracking.store import open_client

top = Path.cwd()
for name in sys.argv[1:]:
    folder = top / name
    folder.mkdir()
    os.chdir(folder)
    Path("file.txt").write_text("x")
    uri = resolve_tracking_uri(None)
    client = open_client(uri)
    run = client.create_run(create_experiment(client, "one", {})).info.run_id
    client.log_artifact(run, "file.txt")
    model = client.create_logged_model(client.get_run(run).info.experiment_id, "m", run)
    Path("package").mkdir()
    Path("package/file.txt").write_text("y")
    client.log_model_artifacts(model.model_id, "package")
    assert [found.path for found in client.list_artifacts(run)] == ["file.txt"], name
    assert Path(download_artifacts(artifact_uri=model.artifact_location), "file.txt").read_text() == "y", name
    assert resolve_tracking_uri(client.tracking_uri) == resolve_tracking_uri(uri) == uri, name
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlruns", "file.txt", "package"}, name
assert {path.name for path in top.iterdir()} == set(sys.argv[1:]), list(top.iterdir())
"""
NAMES = ("my work", "Zoë", "set #1", "50% done", "a%41b", "what?", "%3F and ?x=%20", "a;b&c=d+e", "a@b:c", "it's")
WORST = "50% #1 %41 Zoë?"


def test_stores_are_whole_and_nothing_is_beside_them(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-c", STORE, *NAMES]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_sweep_its_model_and_its_ui(project: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    top = tmp_path_factory.mktemp("top")
    folder = top / WORST
    project = project.copy_to(folder)
    project.call("sweep", "sweep.yaml", "--set", "search.max_trials=1")
    assert [path.name for path in top.iterdir()] == [WORST]
    images = folder / "images"
    images.mkdir()
    Image.new("RGB", (24, 24)).save(images / "a.png")
    done = project.call("predict", "images", "--model", "tiny-model", "-o", "out.csv")
    assert "models:/tiny-model/1" in done.stderr
    assert (folder / "out.csv").read_text().count("a.png") == 1
    record = project.record()
    (trial,) = record.trials.values()
    for command in (["-m", "galaxy_exp", "ui"], ["-m", "mlflow", "ui"]):
        with server(project, command) as address:
            answer = requests.get(
                f"{address}/get-artifact", {"run_id": trial.run_id, "path": "history.csv"}, timeout=60
            )
            assert answer.text.startswith("epoch,"), answer.text
    assert [path.name for path in top.iterdir()] == [WORST]


@contextmanager
def server(project: Any, command: list[str]) -> Iterator[str]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = project.environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        cwd=project.path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 300
        while not answers(f"{address}/health"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.kill()
        process.wait()


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=1).ok
    except requests.RequestException:
        return False
