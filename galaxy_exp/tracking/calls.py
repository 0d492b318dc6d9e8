"""How MLflow is called: with its messages kept back, with short time limits, timed, and with pauses after a failure."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from galaxy_exp.quiet import ScopedEnvironment

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["OutageNotice", "Patience", "TimedClient", "quiet_mlflow"]

_ENVIRONMENT = ScopedEnvironment(
    forced={
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "MLFLOW_UV_AUTO_DETECT": "false",
        "MLFLOW_LOG_UV_FILES": "false",
    },
    defaults={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"},
)
"""No progress bars and addresses of runs, and a request takes half a minute at most: with MLflow's own defaults, a
worker would wait four minutes for a dead server and 16 for one that hangs. Nothing is written later by a thread, which
would hide refusals, and a model gets no `pyproject.toml` and `uv.lock` of the current folder beside its own pins."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30.0, 600.0
"""The pause after a failure; doubled with each further failure."""
_SPELL_SECONDS = 5.0
"""How long MLflow may take in one go before it counts as slow."""


class _BelowErrorInThread(logging.Filter):
    """Drops what one thread logs below ERROR; other threads are not affected."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread or record.levelno >= logging.ERROR


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Lets MLflow log errors only, without progress bars or addresses, and gives up on a silent server after half a
    minute; hides Python warnings.

    Everything is restored on leaving. Warnings belong to all threads at once, so only the main thread hides them.
    """
    handlers = list(logging.getLogger("mlflow").handlers)
    only_errors = _BelowErrorInThread()
    for handler in handlers:
        handler.addFilter(only_errors)
    try:
        with ExitStack() as quiet:
            quiet.enter_context(_ENVIRONMENT)
            if threading.current_thread() is threading.main_thread():
                quiet.enter_context(warnings.catch_warnings(action="ignore"))
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(only_errors)


class TimedClient:
    """An MLflow client that is opened at its first call and adds up the `seconds` of its calls, without the opening."""

    def __init__(self, open_client: Callable[[], MlflowClient], clock: Callable[[], float]) -> None:
        self._open_client = open_client
        self._client: MlflowClient | None = None
        self._clock = clock
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            self._client = self._open_client()
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            began = self._clock()
            try:
                return attribute(*args, **kwargs)
            finally:
                self.seconds += self._clock() - began

        return call


class Patience:
    """Decides when MLflow is called again after it failed or was slow; `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next_pause = _FIRST_PAUSE_SECONDS
        self._paused_until = -math.inf

    @property
    def is_pausing(self) -> bool:
        return self._clock() < self._paused_until

    @staticmethod
    def is_spent(seconds: float) -> bool:
        """Whether calls that took this long in one go were slow."""
        return seconds > _SPELL_SECONDS

    def pause_after_failure(self, seconds: float) -> None:
        """Begins a pause, longer than the last one, after calls that took so long and failed."""
        self.pause_after_slow_calls(max(self._next_pause, seconds))
        self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE_SECONDS)

    def pause_after_slow_calls(self, seconds: float) -> None:
        """Begins a pause as long as calls that worked took: a slow MLflow is called half of the time."""
        self._paused_until = self._clock() + seconds

    def reset(self) -> None:
        """Makes the next failure count as the first one."""
        self._next_pause = _FIRST_PAUSE_SECONDS


class OutageNotice:
    """Warns once of an outage, and once of its end."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._was_given = False

    def begin(self, message: str) -> None:
        if not self._was_given:
            self._was_given = True
            self._warn(message)

    def end(self, message: str) -> None:
        if self._was_given:
            self._was_given = False
            self._warn(message)
