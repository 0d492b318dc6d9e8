"""Commands on an MLflow store or a model name other than the usual, and passwords in the address of a store."""

import json
import os

import pytest
from PIL import Image

from galaxy_exp.cli.main import run_command
from galaxy_exp.cli.sweep import next_steps
from galaxy_exp.errors import GalaxyExpError
from galaxy_exp.sweep_rows import SweepState, describe_sweep

SECRET = "postgresql://me:hunter2@db.example/mlflow"


@pytest.fixture(autouse=True)
def plain_store(tmp_path, monkeypatch):
    """What a command without `--uri` takes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:///mlflow.db")


def commands(record):
    """The commands, without `next:` and without what they are for."""
    return [line[7:].split("  ")[0] for line in next_steps(record)]


class TestNextSteps:
    def test_are_plain_for_the_usual_store_and_model(self, make_record):
        assert next_steps(make_record()) == [
            "next:  galaxy-exp ui                            compare trials in the MLflow UI",
            "       galaxy-exp trials                        the same as a table",
            "       galaxy-exp report --open                 one page about all of it",
            "       galaxy-exp predict IMAGES... -o out.csv  use the registered model",
        ]

    def test_a_store_given_by_its_absolute_path_is_the_usual_one(self, make_record, tmp_path):
        assert "--uri" not in str(next_steps(make_record(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")))

    def test_another_model_name_is_given(self, make_record):
        ui, trials, _, predict = commands(make_record(registry={"model": "my model"}))
        assert (ui, trials) == ("galaxy-exp ui", "galaxy-exp trials")
        assert predict == "galaxy-exp predict IMAGES... -o out.csv --model 'my model'"

    def test_another_store_is_given(self, make_record):
        ui, trials, _, predict = commands(make_record(tracking_uri="http://localhost:5000"))
        assert (ui, trials) == ("galaxy-exp ui --uri http://localhost:5000", "galaxy-exp trials")
        assert predict == "galaxy-exp predict IMAGES... -o out.csv --uri http://localhost:5000"


class TestPasswords:
    def test_are_not_among_the_next_steps(self, make_record):
        steps = str(next_steps(make_record(tracking_uri=SECRET)))
        assert "db.example/mlflow" in steps
        assert "hunter2" not in steps

    def test_are_not_shown_with_a_sweep(self, make_record):
        assert "hunter2" not in str(describe_sweep(make_record(tracking_uri=SECRET), SweepState.RUNNING))

    def test_are_not_told_by_ui(self, capsys):
        assert run_command(["ui", "--uri", "https://me:hunter2@mlflow.example"]) == 0
        message = capsys.readouterr().err
        assert "mlflow.example" in message
        assert "hunter2" not in message

    def test_are_not_told_by_an_error(self, monkeypatch, capsys):
        def fail(*_):
            raise GalaxyExpError(f"nothing at {SECRET}")

        monkeypatch.setattr("galaxy_exp.registry.catalogue.list_models", fail)
        assert run_command(["models", "list"]) == 1
        assert capsys.readouterr().err == "error: nothing at postgresql://***@db.example/mlflow\n"


def test_ui_creates_no_store(tmp_path, capsys):
    assert run_command(["ui"]) == 2
    assert f"error: no MLflow store at sqlite:///{tmp_path}/mlflow.db; make a model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_ui_is_bound_to_this_machine(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").touch()
    started = []
    monkeypatch.setattr("os.execve", lambda program, command, environment: started.append((command, environment)))
    assert run_command(["ui", "--port", "5999"]) == 0
    (((*_, option, host, _, port), environment),) = started
    assert (option, host, port) == ("--host", "127.0.0.1", "5999")
    assert environment == os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def test_an_error_with_a_line_break_is_one_line(capsys):
    assert run_command(["check", "no\nfile.yaml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class TestUri:
    """Each command that reads the registry, from a folder without a store of its own."""

    @pytest.fixture
    def elsewhere(self, finished, project):
        copy = finished.copy_to(project.path / "there")
        project.uri = f"sqlite:///{copy.path / 'mlflow.db'}"
        return project

    def test_models_are_listed_promoted_and_rolled_back(self, elsewhere):
        uri = ["--uri", elsewhere.uri]
        (row,) = json.loads(elsewhere.run("models", "list", *uri, "--format", "json").stdout)
        assert row["name"] == "tiny-model"
        assert (
            "version 1 of tiny-model is now champion"
            in elsewhere.run("models", "promote", "tiny-model", "1", *uri).stderr
        )
        refused = elsewhere.run("models", "rollback", "tiny-model", *uri, exit_code=2)
        assert "is the first champion" in refused.stderr
        unknown = elsewhere.run("models", "promote", "nothing", "1", *uri, exit_code=2)
        assert f"galaxy-exp models list --uri {elsewhere.uri} shows them all" in unknown.stderr
        assert not (elsewhere.path / "mlflow.db").exists()

    def test_predict_takes_its_model_from_there(self, elsewhere):
        Image.new("RGB", (24, 24)).save(elsewhere.path / "a.png")
        done = elsewhere.run("predict", "a.png", "--model", "tiny-model", "--uri", elsewhere.uri)
        assert "model: models:/tiny-model/1" in done.stderr
