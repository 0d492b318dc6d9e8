from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_databases import old_database
from privileges import without_roots_rights

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


def test_looking_names_a_migration_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uri = old_database(tmp_path / "old.db")
    open_existing_client(uri)
    assert f"will migrate its database {uri}" in caplog.text


PLAIN_STORES = """
import os, sys
from pathlib import Path
from urllib.parse import unquote
from galaxy_exp.tracking.addresses import resolve_tracking_uri

top = Path.cwd()
places = {
    "empty": lambda: None,
    "a b 50% ü": lambda: None,
    "artifacts": lambda: Path("mlruns/1/run/artifacts").mkdir(parents=True),
    "address": lambda: os.environ.update(MLFLOW_TRACKING_URI="http://127.0.0.1:5000"),
    "relative": lambda: os.environ.update(MLFLOW_TRACKING_URI="sqlite:///own.db"),
    "no address": lambda: os.environ.update(MLFLOW_TRACKING_URI=""),
}

def visit(name):
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    (top / name).mkdir(exist_ok=True)
    os.chdir(top / name)

ours = {}
for name, furnish in places.items():
    visit(name)
    furnish()
    ours[name] = resolve_tracking_uri(None)
assert "mlflow" not in sys.modules
import mlflow
for name, furnish in places.items():
    visit(name)
    if "address" in name or name == "relative":
        furnish()
    theirs = resolve_tracking_uri(None)
    assert ours[name] == theirs, (name, ours[name], theirs)
    whole = unquote(mlflow.get_tracking_uri())  # MLflow encodes it and then makes a folder called a%20b
    assert name == "relative" or theirs == whole, (name, theirs, whole)
"""
OLD_RUNS = """
from pathlib import Path
from galaxy_exp.tracking.addresses import resolve_tracking_uri

Path("mlruns/0").mkdir(parents=True)
Path("mlruns/0/meta.yaml").write_text("")
assert resolve_tracking_uri(None) == Path("mlruns").absolute().as_uri()
"""


@pytest.mark.parametrize("code", [PLAIN_STORES, OLD_RUNS])
def test_the_default_store_is_the_one_that_mlflow_would_take(tmp_path: Path, code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


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


READ_ONLY = """
import sys
from galaxy_exp.errors import GalaxyExpError
from galaxy_exp.registry.catalogue import list_models
from galaxy_exp.registry.champion import rollback

print(list_models(sys.argv[1]))
try:
    rollback("galaxy10-cnn", sys.argv[1])
except GalaxyExpError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def colleague(tmp_path: Path) -> Iterator[Path]:
    """A folder with a store that may only be read."""
    open_client(f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "mlflow.db").chmod(0o444)
    yield tmp_path
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("mode", [0o555, 0o111], ids=oct)
def test_a_store_that_may_only_be_read_is_read_and_not_written(colleague: Path, mode: int) -> None:
    colleague.chmod(mode)
    command = without_roots_rights([sys.executable, "-c", READ_ONLY, f"sqlite:///{colleague / 'mlflow.db'}"])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed, refused = done.stdout.splitlines()
    assert listed == "[]"
    assert re.search("^UnusableStoreError .*no permission to write .*: make it writable for this user$", refused)
