"""An engine without workers or waiting: its clock jumps to the next thing a worker would say.

What the driver itself takes is real and counts: the clock goes on by it between the calls of the engine, so workers
wait for a slow driver here as they would in earnest.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

from benchmarks.scale_worker import made_up_metrics
from galaxy_exp.execution.engine import EngineEvent
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialSpec, TrialState

__all__ = ["SimulatedEngine"]


class SimulatedEngine:
    """Trials of equal epochs on workers that exist in name only.

    Args:
        workers: how many.
        seconds: of a trial that is not stopped.
        stopwatch: real seconds, for what the driver takes.
    """

    def __init__(self, workers: int, seconds: float, stopwatch: Callable[[], float] = time.perf_counter) -> None:
        self._workers = workers
        self._seconds = seconds
        self._stopwatch = stopwatch
        self._left_at = stopwatch()
        self._now = 0.0
        self._started_at: dict[int, float] = {}
        self._specs: dict[int, TrialSpec] = {}
        self._epochs: dict[int, int] = {}
        """Of each running trial, the one that it is in."""
        self._to_say: list[tuple[float, int, EngineEvent]] = []
        """A heap, by the time at which it is said and then by order."""
        self._n_said = 0
        self.idle_seconds = 0.0
        """How long the driver had nothing to do."""

    def clock(self) -> float:
        """Simulated seconds since the engine was made, with what the driver took since its last call."""
        return self._now + self._stopwatch() - self._left_at

    def start(self) -> None:
        """See `Engine.start`; nothing to start."""

    def free_slots(self) -> int:
        """See `Engine.free_slots`."""
        return self._workers - len(self._specs)

    def submit(self, spec: TrialSpec) -> None:
        """See `Engine.submit`."""
        self._enter()
        self._specs[spec.number], self._started_at[spec.number] = spec, self._now
        self._report_later(spec, 1)
        self._leave()

    def next_event(self, timeout_seconds: float) -> EngineEvent | None:
        """See `Engine.next_event`."""
        self._enter()
        event = self._next(timeout_seconds)
        self._leave()
        return event

    def answer(self, number: int, decision: Decision) -> None:
        """See `Engine.answer`."""
        self._enter()
        spec, epoch = self._specs[number], self._epochs[number]
        if decision is Decision.CONTINUE and epoch < spec.epochs:
            self._report_later(spec, epoch + 1)
        else:
            self._say(self._now, self._result(spec, epoch))
        self._leave()

    def kill(self, number: int, reason: str) -> None:
        """Nothing hangs here."""
        raise AssertionError(f"trial {number} was to be ended: {reason}")

    def scale(self, workers: int) -> None:
        """See `Engine.scale`."""
        self._workers = workers

    def close(self) -> None:
        """See `Engine.close`; nothing to end."""

    def _enter(self) -> None:
        self._now = self.clock()

    def _leave(self) -> None:
        """The bookkeeping of the simulation itself costs nothing."""
        self._left_at = self._stopwatch()

    def _next(self, timeout_seconds: float) -> EngineEvent | None:
        until = self._now + timeout_seconds
        if not self._to_say or self._to_say[0][0] > until:
            self.idle_seconds += timeout_seconds
            self._now = until
            return None
        said_at, _, event = heapq.heappop(self._to_say)
        self.idle_seconds += max(0.0, said_at - self._now)
        self._now = max(self._now, said_at)
        if isinstance(event, TrialResult):
            del self._specs[event.number], self._started_at[event.number], self._epochs[event.number]
        return event

    def _report_later(self, spec: TrialSpec, epoch: int) -> None:
        self._epochs[spec.number] = epoch
        report = EpochReport(spec.number, spec.attempt, epoch, made_up_metrics(spec.seed, epoch))
        self._say(self._now + self._seconds / spec.epochs, report)

    def _say(self, moment: float, event: EngineEvent) -> None:
        self._n_said += 1
        heapq.heappush(self._to_say, (moment, self._n_said, event))

    def _result(self, spec: TrialSpec, epoch: int) -> TrialResult:
        return TrialResult(
            spec.number,
            spec.attempt,
            TrialState.COMPLETED if epoch == spec.epochs else TrialState.STOPPED,
            f"simulated {epoch} of {spec.epochs} epochs",
            best_epoch=epoch,
            metrics=made_up_metrics(spec.seed, epoch),
            epochs=epoch,
            seconds=self._now - self._started_at[spec.number],
            training_seconds=epoch * self._seconds / spec.epochs,
            parameters=1,
            flops=1,
        )
