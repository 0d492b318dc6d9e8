"""The inline engine: one worker process beside the driver."""

from __future__ import annotations

from galaxy_exp.execution.engine import EngineEvent, LostWorker
from galaxy_exp.execution.process import WorkerDied, WorkerProcess
from galaxy_exp.records import TrialResult, TrialSpec

__all__ = ["InlineEngine"]


class InlineEngine:
    """Runs one trial at a time in a process of its own, so that a crash takes the trial and not the sweep.

    Args:
        process: not started yet.
    """

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._current: TrialSpec | None = None
        self._why_killed: str | None = None

    def start(self) -> None:
        """See `Engine.start`."""
        self._process.start()

    def free_slots(self) -> int:
        """See `Engine.free_slots`."""
        return 0 if self._current else 1

    def submit(self, spec: TrialSpec) -> None:
        """See `Engine.submit`."""
        if self._current is not None:
            raise RuntimeError(f"the worker is busy with trial {self._current.number}")
        self._process.start()
        self._current, self._why_killed = spec, None
        self._process.send(spec)

    def next_event(self, timeout_seconds: float | None = None) -> EngineEvent | None:
        """See `Engine.next_event`."""
        if self._current is None:
            return None
        try:
            event = self._process.receive(timeout_seconds)
        except WorkerDied as death:
            return self._lose_worker(str(death))
        if isinstance(event, TrialResult):
            self._current = None
        return event

    def answer(self, number: int, go_on: bool) -> None:
        """See `Engine.answer`."""
        if self._current is not None and self._current.number == number:
            self._process.send(go_on)

    def kill(self, number: int, reason: str) -> None:
        """See `Engine.kill`."""
        if self._current is not None and self._current.number == number:
            self._why_killed = reason
            self._process.kill()

    def close(self) -> None:
        """See `Engine.close`."""
        self._current = None
        self._process.end()

    def _lose_worker(self, how: str) -> LostWorker:
        spec, reason = self._current, self._why_killed or how
        assert spec is not None
        self._current, self._why_killed = None, None
        self._process.start()
        return LostWorker(spec.number, spec.attempt, reason)
