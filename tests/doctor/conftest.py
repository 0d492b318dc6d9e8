"""A folder with one sweep in a real MLflow store, and the doctor."""

import json

import pytest
from journaled_sweeps import JournaledSweep
from mlflow import MlflowClient

from galaxy_exp.cli.main import run_command
from galaxy_exp.folders import ProjectFolder


@pytest.fixture(scope="session")
def store(new_store):
    uri = new_store()
    return uri, MlflowClient(uri)


@pytest.fixture
def ward(tmp_path, prepared, store, request, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    uri, client = store
    experiment = request.node.name
    client.create_experiment(experiment, artifact_location=(tmp_path / "artifacts").as_uri())
    return JournaledSweep(ProjectFolder.default(), client, uri, experiment, prepared)


@pytest.fixture
def doctor(capsys):
    """Runs `galaxy-exp doctor --format json`; returns the exit code and (finding, state) of each row."""

    def doctor(*arguments):
        capsys.readouterr()
        code = run_command(["doctor", "--format", "json", *arguments])
        rows = json.loads(capsys.readouterr().out)
        print(rows)
        return code, [(row["finding"], row["state"]) for row in rows]

    return doctor
