from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from galaxy_exp.errors import ModelError, TrackingError
from galaxy_exp.tracking.store import open_client, open_existing_client, tracking_errors


def test_a_damaged_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be read as one")
    with pytest.raises(TrackingError, match=r"MLflow store sqlite:.*mlflow\.db: .*file is not a database") as caught:
        open_existing_client(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert "\n" not in str(caught.value)


def test_what_mlflow_refuses_names_the_store(finished) -> None:
    uri = f"sqlite:///{finished.path / 'mlflow.db'}"
    with (
        pytest.raises(TrackingError, match=r"MLflow store sqlite:.*Run with id=0123 not found"),
        tracking_errors(uri),
    ):
        open_client(uri).get_run("0123")


def test_the_default_store_is_not_created_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(ModelError, match=r"no MLflow store at sqlite:////.*/mlflow\.db"):
        open_existing_client(None)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_process_that_is_killed_while_it_makes_the_database_leaves_none_half_made(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'a b' / 'mlflow.db'}"
    folder = tmp_path / "a b"
    folder.mkdir()
    code = "import sys; from galaxy_exp.tracking.store import open_client; open_client(sys.argv[1])"
    maker = subprocess.Popen([sys.executable, "-c", code, uri])
    deadline = time.monotonic() + 100
    while not any(folder.glob(".mlflow.db.*.unfinished")):
        assert maker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(maker.pid, signal.SIGKILL)
    maker.wait()
    assert not (folder / "mlflow.db").exists()
    open_client(uri).create_experiment("one")
    assert [each.name for each in open_client(uri).search_experiments()] == ["one", "Default"]
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
