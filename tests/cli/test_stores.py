"""Commands on an MLflow store or a model name other than the usual, and passwords in the address of a store."""

import json
import signal
import subprocess
import sys

import psutil
import pytest
import requests
from mlflow_servers import free_port
from PIL import Image

from galaxy_exp.cli.main import run_command
from galaxy_exp.cli.sweep import next_steps
from galaxy_exp.errors import GalaxyExpError
from galaxy_exp.records import SweepState
from galaxy_exp.sweep_rows import describe_sweep
from galaxy_exp.tracking.store import open_client

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
    @pytest.fixture(autouse=True)
    def _wide(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")

    def test_what_a_command_is_for_is_below_it_where_there_is_no_room(self, make_record, monkeypatch):
        monkeypatch.setenv("COLUMNS", "70")
        lines = next_steps(make_record())
        assert lines[:2] == ["next:  galaxy-exp ui --open", "         compare trials in the MLflow UI"]
        assert len(lines) == 8

    def test_are_plain_for_the_usual_store_and_model(self, make_record):
        assert next_steps(make_record()) == [
            "next:  galaxy-exp ui --open                     compare trials in the MLflow UI",
            "       galaxy-exp trials                        the same as a table",
            "       galaxy-exp report --open                 one page about all of it",
            "       galaxy-exp predict IMAGES... -o out.csv  use the registered model",
        ]

    def test_a_store_given_by_its_absolute_path_is_the_usual_one(self, make_record, tmp_path):
        assert "--uri" not in str(next_steps(make_record(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")))

    def test_another_model_name_is_given(self, make_record):
        ui, trials, _, predict = commands(make_record(registry={"model": "my model"}))
        assert (ui, trials) == ("galaxy-exp ui --open", "galaxy-exp trials")
        assert predict == "galaxy-exp predict IMAGES... -o out.csv --model 'my model'"

    def test_another_store_is_given(self, make_record):
        ui, trials, _, predict = commands(make_record(tracking_uri="http://localhost:5000"))
        assert (ui, trials) == ("galaxy-exp ui --open --uri http://localhost:5000", "galaxy-exp trials")
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


def test_ui_is_served_to_this_machine_says_when_it_is_ready_and_ends_with_ctrl_c(tmp_path):
    open_client(f"sqlite:///{tmp_path / 'mlflow.db'}")
    port = free_port()
    command = [sys.executable, "-m", "galaxy_exp", "ui", "--port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        lines = [process.stderr.readline().strip() for _ in range(3)]
        assert lines[1:] == [
            "ready (Ctrl-C ends it):",
            f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning",
        ]
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=60).ok
        experiments = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/search?max_results=5"
        assert [each["name"] for each in requests.get(experiments, timeout=60).json()["experiments"]] == ["Default"]
        assert {each.laddr.ip for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"} == {
            "127.0.0.1"
        }
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


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
        (row,) = json.loads(elsewhere.call("models", "list", *uri, "--format", "json").stdout)
        assert row["name"] == "tiny-model"
        assert (
            "version 1 of tiny-model is champion already"
            in elsewhere.call("models", "promote", "tiny-model", "1", *uri).stderr
        )
        refused = elsewhere.call("models", "rollback", "tiny-model", *uri, exit_code=2)
        assert "replaced no champion" in refused.stderr
        unknown = elsewhere.call("models", "promote", "nothing", "1", *uri, exit_code=2)
        assert f"galaxy-exp models list --uri {elsewhere.uri} shows them all" in unknown.stderr
        assert not (elsewhere.path / "mlflow.db").exists()

    def test_predict_takes_its_model_from_there(self, elsewhere):
        Image.new("RGB", (24, 24)).save(elsewhere.path / "a.png")
        done = elsewhere.call("predict", "a.png", "--model", "tiny-model", "--uri", elsewhere.uri)
        assert "model: models:/tiny-model/1" in done.stderr
