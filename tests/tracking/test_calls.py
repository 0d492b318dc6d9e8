"""What MLflow prints is silenced only while it is at work, whichever threads are."""

from __future__ import annotations

import os
import threading

from galaxy_exp.tracking.calls import quiet_mlflow

ADDRESSES = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


def test_the_environment_is_put_back_when_the_last_thread_leaves(monkeypatch):
    monkeypatch.delenv(ADDRESSES, raising=False)
    monkeypatch.setenv(BARS, "true")
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with quiet_mlflow():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=work)
    with quiet_mlflow():
        other.start()
        assert entered.wait(10)
    assert (os.environ[ADDRESSES], os.environ[BARS]) == ("true", "false")
    leave.set()
    other.join(10)
    assert ADDRESSES not in os.environ
    assert os.environ[BARS] == "true"


def test_it_is_put_back_after_an_exception(monkeypatch):
    monkeypatch.delenv(ADDRESSES, raising=False)
    try:
        with quiet_mlflow():
            raise ValueError
    except ValueError:
        pass
    assert ADDRESSES not in os.environ
