"""Detection of hung workers: alive, but without a report for far longer than their epochs take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["LATER_EPOCH_SECONDS", "SLOWNESS", "HangDetector"]

LATER_EPOCH_SECONDS = 60.0
"""Time that an epoch after the first, or saving the model at the end, may always take."""

SLOWNESS = 10.0
"""A worker counts as hung after this many times the duration of the slowest epoch so far."""

_STANDSTILL_SECONDS = 10.0
"""A driver that looks after its workers less often than this stood still, and so may they have."""


@dataclass(slots=True)
class _Trial:
    reported_at: float
    slowest: float | None = None
    """Seconds of its slowest epoch; None before the first report."""


class HangDetector:
    """Finds the trials whose worker is hung.

    The first epoch of a trial is compared with the slowest first epoch of all trials, later epochs with the slowest one
    of the same trial.

    Args:
        first_epoch_seconds: what a first epoch may always take: imports, reading the images, compiling.
        clock: seconds; should not advance while the machine sleeps.
    """

    def __init__(self, first_epoch_seconds: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_epoch_seconds = first_epoch_seconds
        self._clock = clock
        self._trials: dict[int, _Trial] = {}
        self._slowest_first = 0.0
        self._alive_at = clock()

    def note_alive(self) -> None:
        """Called often by the driver; a time in which it was not, suspended or busy, does not count for the workers."""
        now = self._clock()
        gap, self._alive_at = now - self._alive_at, now
        if gap > _STANDSTILL_SECONDS:
            for trial in self._trials.values():
                trial.reported_at = min(now, trial.reported_at + gap)

    def watch(self, number: int) -> None:
        """A worker began a trial."""
        self._trials[number] = _Trial(self._clock())

    def note_report(self, number: int) -> None:
        """The trial reported an epoch and continues; no effect if it is no longer watched."""
        trial, now = self._trials.get(number), self._clock()
        if trial is None:
            return
        seconds = now - trial.reported_at
        if trial.slowest is None:
            self._slowest_first = max(self._slowest_first, seconds)
        trial.slowest, trial.reported_at = max(seconds, trial.slowest or 0.0), now

    def forget(self, number: int) -> None:
        """The trial is no longer watched: it ended, or it was not answered."""
        self._trials.pop(number, None)

    def hung_trials(self) -> dict[int, str]:
        """The reason why a trial's worker counts as hung, by the number of the trial."""
        now = self._clock()
        return {
            number: self._describe(trial, now - trial.reported_at)
            for number, trial in self._trials.items()
            if now - trial.reported_at > self._limit(trial)
        }

    def _describe(self, trial: _Trial, seconds: float) -> str:
        reason = f"hung: no report for {seconds:.0f} s, the limit is {self._limit(trial):.0f} s"
        return f"{reason} for a first epoch (execution.first_epoch_minutes)" if trial.slowest is None else reason

    def _limit(self, trial: _Trial) -> float:
        if trial.slowest is None:
            return max(self._first_epoch_seconds, SLOWNESS * self._slowest_first)
        return max(LATER_EPOCH_SECONDS, SLOWNESS * trial.slowest)
