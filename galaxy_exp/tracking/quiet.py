"""Keeping MLflow's chatter off stderr for the length of a call, without touching the user's own logging."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from galaxy_exp.quiet import ScopedEnvironment

__all__ = ["quiet_mlflow"]

_HUSHED = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
"""No progress bars, and no address of each run on standard output."""

_HTTP_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own defaults wait four minutes for a dead server, and 16 for one that hangs, and a worker waits with them.

With these it is half a minute at most for a request; the user's own are kept.
"""

_ENVIRONMENT = ScopedEnvironment(forced=_HUSHED, defaults=_HTTP_PATIENCE)


class _BelowErrorInThread(logging.Filter):
    """Drops what one thread logs below ERROR; other threads and other libraries go on as before."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread or record.levelno >= logging.ERROR


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Within it MLflow logs only errors, shows no progress bars or addresses, gives up on a server that does not answer
    after half a minute, and Python warnings are not printed.

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
