"""MLflow is imported when it is first needed: once, and an error is reported as one of the store."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from galaxy_exp.errors import TrackingError
from galaxy_exp.tracking.sweep_tracking import LazyProjection

from .test_api import run_python


def test_is_built_once_by_any_thread():
    builders = []

    def build():
        builders.append(threading.current_thread())
        time.sleep(0.1)
        return object()

    tracking = LazyProjection(build)
    assert builders == []
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: tracking.projection, range(4)))
    assert len(builders) == 1
    assert builders[0] is not threading.main_thread(), "Ctrl-C in the main thread would leave an import half done"
    assert len(set(map(id, made))) == 1


def test_an_error_is_raised_each_time():
    def build():
        raise TrackingError("MLflow store x: away")

    tracking = LazyProjection(build)
    for _ in range(2):
        with pytest.raises(TrackingError, match="MLflow store x: away"):
            _ = tracking.projection


@pytest.mark.slow
def test_mlflow_that_cannot_be_imported_is_one_line(finished, tmp_path):
    output = run_python(
        finished.copy_to(tmp_path),
        "import sys\n"
        "sys.modules['mlflow'] = None\n"
        "from galaxy_exp.errors import TrackingError\n"
        "from galaxy_exp.sweep import sync_sweep\n"
        "try:\n"
        "    sync_sweep()\n"
        "except TrackingError as error:\n"
        "    print(error)\n",
    )
    assert output.startswith("MLflow store sqlite:")
    assert "import of mlflow halted" in output
    assert output.count("\n") == 1
