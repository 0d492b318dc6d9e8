"""What MLflow prints is silenced only while it is at work, whichever threads are."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

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


def test_writes_are_not_left_to_a_thread(monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    with quiet_mlflow():
        assert os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] == "false"
    assert os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] == "true"


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


@pytest.mark.parametrize(("stated", "found"), [(None, "true"), ("false", "false")])
def test_mlflow_reports_no_usage_unless_the_user_wants_it(stated, found):
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_DISABLE_TELEMETRY"}
    environment |= {} if stated is None else {"MLFLOW_DISABLE_TELEMETRY": stated}
    code = "import os, galaxy_exp; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
