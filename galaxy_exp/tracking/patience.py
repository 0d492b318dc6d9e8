"""How long a sweep waits for MLflow, and how long it leaves it alone afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["Patience", "TimedClient"]

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30.0, 600.0
"""How long an MLflow that failed is left alone; doubled each time it fails again."""
_SPELL_SECONDS = 5.0
"""How long MLflow may take at a stretch, besides the call that goes over it."""
_PAUSE_PER_SECOND = 1.0
"""So many times as long as it took it is then left alone: one that cannot keep up is written to half of the time."""


class TimedClient:
    """A client that adds up how long its calls take, in `seconds`; otherwise the one it was made of.

    Args:
        client: an MlflowClient.
        clock: seconds, monotonic.
    """

    def __init__(self, client: Any, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
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
    """Decides when MLflow is written to again after it failed or took too long.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next_pause = _FIRST_PAUSE_SECONDS
        self._paused_until = -math.inf

    @property
    def is_pausing(self) -> bool:
        return self._clock() < self._paused_until

    @staticmethod
    def is_spent(seconds: float) -> bool:
        """Whether so many seconds at a stretch are too many."""
        return seconds > _SPELL_SECONDS

    def fail(self, seconds: float) -> None:
        """MLflow failed, after it was waited for so long."""
        self._pause(max(self._next_pause, _PAUSE_PER_SECOND * seconds))
        self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE_SECONDS)

    def rest(self, seconds: float) -> None:
        """MLflow did what was asked, but took too long for it."""
        self._pause(_PAUSE_PER_SECOND * seconds)

    def recover(self) -> None:
        """MLflow has everything: its next failure is a first one."""
        self._next_pause = _FIRST_PAUSE_SECONDS

    def _pause(self, seconds: float) -> None:
        self._paused_until = self._clock() + seconds
