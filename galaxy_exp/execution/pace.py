"""Whether a running trial still makes progress, judged by its own pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["LATER_EPOCH_SECONDS", "SLOWNESS", "Pace"]

LATER_EPOCH_SECONDS = 60.0
"""What a later epoch may always take, and so may saving the model at the end."""

SLOWNESS = 10.0
"""So many times the slowest epoch so far may pass without a word before a worker counts as hung."""


@dataclass(slots=True)
class _Running:
    heard_at: float
    slowest: float | None = None
    """Seconds; None before the first epoch was reported."""


class Pace:
    """Finds trials whose worker is hung: alive, but without a report for far longer than its epochs take.

    A first epoch is compared with the slowest first epoch of the other trials, later ones with the trial's own.

    Args:
        first_epoch_seconds: what a first epoch may always take: the worker's imports, reading the images, compiling.
        clock: seconds; stands still while the machine sleeps.
    """

    def __init__(self, first_epoch_seconds: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_epoch_seconds = first_epoch_seconds
        self._clock = clock
        self._running: dict[int, _Running] = {}
        self._slowest_first = 0.0

    def begin(self, number: int) -> None:
        """A worker got the trial."""
        self._running[number] = _Running(self._clock())

    def hear(self, number: int) -> None:
        """The trial reported an epoch and was told to go on; without effect if it is no longer watched."""
        trial, now = self._running.get(number), self._clock()
        if trial is None:
            return  # its last words before it was ended as hung
        seconds = now - trial.heard_at
        if trial.slowest is None:
            self._slowest_first = max(self._slowest_first, seconds)
        trial.slowest, trial.heard_at = max(seconds, trial.slowest or 0.0), now

    def forget(self, number: int) -> None:
        """The trial ended, or waits for an answer that it will not get."""
        self._running.pop(number, None)

    def overdue(self) -> dict[int, str]:
        """The trials that count as hung, with the reason in words."""
        now = self._clock()
        return {
            number: self._describe(trial, now - trial.heard_at)
            for number, trial in self._running.items()
            if now - trial.heard_at > self._limit(trial)
        }

    def _describe(self, trial: _Running, seconds: float) -> str:
        said = f"hung: nothing heard for {seconds:.0f} s, {self._limit(trial):.0f} s were allowed"
        return f"{said} for a first epoch (execution.first_epoch_minutes)" if trial.slowest is None else said

    def _limit(self, trial: _Running) -> float:
        if trial.slowest is None:
            return max(self._first_epoch_seconds, SLOWNESS * self._slowest_first)
        return max(LATER_EPOCH_SECONDS, SLOWNESS * trial.slowest)
