"""Keeping MLflow's chatter off stderr for the length of a call, without touching the user's own logging."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["quiet_mlflow"]

_PROGRESS_BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


class _BelowErrorInThread(logging.Filter):
    """Drops what one thread logs below ERROR; other threads and other libraries go on as before."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread or record.levelno >= logging.ERROR


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Within it MLflow logs only errors, shows no progress bars, and Python warnings are not printed.

    Everything is put back on leaving, also after an exception. Python's warnings are those of all threads at once, so
    only the main thread silences them.
    """
    handlers = list(logging.getLogger("mlflow").handlers)
    hush = _BelowErrorInThread()
    bar = os.environ.get(_PROGRESS_BAR)
    for handler in handlers:
        handler.addFilter(hush)
    os.environ[_PROGRESS_BAR] = "false"
    try:
        with ExitStack() as quiet:
            if threading.current_thread() is threading.main_thread():
                quiet.enter_context(warnings.catch_warnings(action="ignore"))
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(hush)
        _restore(_PROGRESS_BAR, bar)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
