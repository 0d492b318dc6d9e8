"""Sweep files, journals and MLflow stores of earlier releases, as these wrote them, are read, and their sweeps resumed.

`tests/samples/<version>` has two sweeps: `tiny`, which ended, and `stopped`, whose driver was killed during its third
trial. In the journals, and in the dump of the MLflow database, PROJECT stands for the folder. Packaged models are in
`tests/registry/packages`. A release whose format differs gets a folder of its own; what was kept is never changed.
"""

from __future__ import annotations

import gzip
import shutil
import sqlite3
from pathlib import Path

import pytest
from conftest import Project

from galaxy_exp.config import load_sweep
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.journal.journal import read_record
from galaxy_exp.records import TrialState

SAMPLES = sorted(Path(__file__).with_name("samples").iterdir())


@pytest.fixture(params=SAMPLES, ids=lambda path: path.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project folder as the earlier release left it."""
    sample: Path = request.param
    project = Project(tmp_path)
    shutil.copytree(sample / "sweeps", tmp_path / ".galaxy_exp" / "sweeps")
    for file in sample.glob("*.yaml"):
        shutil.copy(file, tmp_path)
    for journal in tmp_path.rglob("journal.jsonl"):
        journal.write_text(journal.read_text(encoding="utf-8").replace("PROJECT", str(tmp_path)), encoding="utf-8")
    dump = gzip.decompress((sample / "mlflow.sql.gz").read_bytes()).decode().replace("PROJECT", str(tmp_path))
    store = sqlite3.connect(tmp_path / "mlflow.db")
    store.executescript(dump)
    store.close()
    return project


def folder_of(project: Project, name: str) -> Path:
    (folder,) = (project.path / ".galaxy_exp" / "sweeps").glob(f"{name}-*")
    return folder


def test_sweep_files_are_read(old: Project) -> None:
    config = load_sweep(old.path / "tiny.yaml")
    assert config.search.scheduler == "asha-stop"  # `pruner: asha` of 0.1
    assert config.search.max_trials == 5


def test_a_sweep_that_ended_has_its_trials_and_its_test(old: Project) -> None:
    record = read_record(folder_of(old, "tiny"))
    completed, stopped = TrialState.COMPLETED, TrialState.STOPPED
    states = [trial.result and trial.result.state for trial in record.trials.values()]
    assert states == [completed, completed, stopped, stopped, completed, completed, completed]
    assert record.winner in record.test_reports
    assert record.registered is not None
    assert record.registered.version == 1


def test_a_sweep_that_was_killed_has_the_trials_that_ended(old: Project) -> None:
    record = read_record(folder_of(old, "stopped"))
    results = [trial.result for trial in record.trials.values()]
    assert [result and result.state for result in results] == [TrialState.COMPLETED, TrialState.COMPLETED, None]


def test_folders_are_found_by_the_beginning_of_an_id(old: Project) -> None:
    project = ProjectFolder(old.path / ".galaxy_exp")
    assert project.find_sweep("tiny").path == folder_of(old, "tiny")


@pytest.mark.slow
def test_the_killed_sweep_is_resumed_in_its_old_store(old: Project) -> None:
    before = read_record(folder_of(old, "stopped"))
    old.call("resume", "stopped")
    record = read_record(folder_of(old, "stopped"))
    assert record.ended
    assert len(record.searched) == 5
    for number in (0, 1):
        assert record.trials[number].reports == before.trials[number].reports
    client = old.client()
    (experiment,) = (each for each in client.search_experiments() if each.name == "tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {str(version.version) for version in client.search_model_versions("name='tiny-model'")} == {"1", "2"}
    listed = old.call("list", "--format", "csv").stdout
    assert listed.count("finished") == 2
    assert "tiny-model" in old.call("models", "list").stdout
