"""Keeping MLflow's chatter off stderr for the length of a call, without touching the user's own logging."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["quiet_mlflow"]

_HUSHED = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
"""Environment variables while MLflow is at work: no progress bars, and no address of each run on standard output."""


class _BelowErrorInThread(logging.Filter):
    """Drops what one thread logs below ERROR; other threads and other libraries go on as before."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread or record.levelno >= logging.ERROR


class _HushedEnvironment:
    """Sets `_HUSHED` from when the first thread enters until the last one leaves: the environment belongs to all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = {name: os.environ.get(name) for name in _HUSHED}
                os.environ.update(_HUSHED)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for name, value in self._before.items():
                    _restore(name, value)


_ENVIRONMENT = _HushedEnvironment()


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Within it MLflow logs only errors, shows no progress bars or addresses, and Python warnings are not printed.

    Everything is put back on leaving, also after an exception. Python's warnings are those of all threads at once, so
    only the main thread silences them.
    """
    handlers = list(logging.getLogger("mlflow").handlers)
    hush = _BelowErrorInThread()
    for handler in handlers:
        handler.addFilter(hush)
    try:
        with ExitStack() as quiet:
            quiet.enter_context(_ENVIRONMENT)
            if threading.current_thread() is threading.main_thread():
                quiet.enter_context(warnings.catch_warnings(action="ignore"))
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(hush)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
