"""What the loop needs from an engine, whatever runs behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from galaxy_exp.records import EpochReport, TrialResult, TrialSpec

__all__ = ["Engine", "EngineEvent", "LostWorker"]


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A worker died while it had a trial; whatever that execution reported is to be discarded."""

    number: int
    attempt: int
    reason: str


EngineEvent = EpochReport | TrialResult | LostWorker


class Engine(Protocol):
    """Runs executions of trials in processes other than the driver's.

    Used from one thread. The worker waits for `answer` after each `EpochReport`. A worker that dies is
    replaced by the engine and reported once as `LostWorker`; issuing the trial again is the loop's
    decision. `close` ends all workers at once, and may be called twice.
    """

    def start(self) -> None:
        """Starts the workers without waiting until they are ready.

        Raises:
            ConfigError: what the sweep file says of the engine cannot be had.
        """
        ...

    def free_slots(self) -> int:
        """How many trials can be submitted now; 0 with nothing running means that workers are still to come."""
        ...

    def submit(self, spec: TrialSpec) -> None:
        """Hands one execution to a free worker; RuntimeError if none is free."""
        ...

    def next_event(self, timeout_seconds: float | None = None) -> EngineEvent | None:
        """The next thing a worker says, in the order said; None after the timeout, or when a slot became free.

        Raises:
            EngineError: nothing more will come from any worker.
        """
        ...

    def answer(self, number: int, go_on: bool) -> None:
        """Replies to the last report of a trial; without effect if its worker has died since."""
        ...

    def kill(self, number: int, reason: str) -> None:
        """Ends the worker that has a trial, which is then reported as `LostWorker` with this reason."""
        ...

    def close(self) -> None:
        """Ends all workers; running executions are lost without an event."""
        ...
