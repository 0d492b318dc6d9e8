"""What MLflow prints is silenced only while it is at work, whichever threads are."""

from __future__ import annotations

import os
import sys
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


def test_a_variable_that_another_thread_sets_and_removes_does_not_matter():
    """As MLflow's own threads do."""
    over, name = threading.Event(), "OF_ANOTHER_THREAD"

    def flip() -> None:
        while not over.is_set():
            os.environ[name] = "x"
            os.environ.pop(name, None)

    other, interval = threading.Thread(target=flip), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    other.start()
    try:
        for _ in range(2000):
            with quiet_mlflow():
                pass
    finally:
        over.set()
        other.join(10)
        sys.setswitchinterval(interval)
    assert name not in os.environ
