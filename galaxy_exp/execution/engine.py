"""The interface between the loop and the engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialSpec

__all__ = ["Engine", "EngineEvent", "LostWorker", "SlotFreed", "WorkerEvent"]


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A worker died while it had a trial; the reports of this attempt no longer count."""

    number: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class SlotFreed:
    """A slot became free without the end of a trial: a worker has joined or, on a cluster, was replaced."""


WorkerEvent = EpochReport | TrialResult | LostWorker
EngineEvent = WorkerEvent | SlotFreed


class Engine(Protocol):
    """Runs trials in worker processes; used from one thread.

    A worker waits for `answer` after each `EpochReport`. The engine replaces a worker that dies and reports it once, as
    `LostWorker`; whether the trial is issued again is the loop's decision.
    """

    def start(self) -> None:
        """Starts the workers without waiting until they are ready.

        Raises:
            ConfigError: the engine cannot work with the settings of the sweep file.
        """

    def free_slots(self) -> int:
        """How many trials can be submitted now; 0 while nothing runs means that no worker has joined yet."""

    def submit(self, spec: TrialSpec) -> None:
        """Gives an attempt at a trial to a free worker.

        Raises:
            RuntimeError: no worker is free.
        """

    def next_event(self, timeout_seconds: float) -> EngineEvent | None:
        """The next event of any worker; None after the timeout. Events of one worker come in their order.

        Raises:
            EngineError: no worker can be reached any more.
        """

    def answer(self, number: int, decision: Decision) -> None:
        """Answers the last report of a trial; no effect if its worker has died since."""

    def kill(self, number: int, reason: str) -> None:
        """Kills the worker that has a trial, which is then reported as `LostWorker` with this reason."""

    def scale(self, workers: int) -> None:
        """Changes the number of workers: further ones are started, free ones too many end, busy ones after their trial.

        Args:
            workers: at least 1; a cluster may have fewer, and then uses those that join later.
        """

    def close(self) -> None:
        """Ends all workers at once, without an event for the trials that they had; may be called twice."""
