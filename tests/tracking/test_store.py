from __future__ import annotations

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
