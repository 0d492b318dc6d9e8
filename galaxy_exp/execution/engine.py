"""The interface between the loop and the engines, and the engine of this machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Protocol

from galaxy_exp.execution.worker import WorkerDied, WorkerProcess, end_processes
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialSpec

__all__ = ["Engine", "EngineEvent", "LocalEngine", "LostWorker", "SlotFreed", "WorkerEvent"]


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
        """Gives an attempt at a trial to a free worker; one that has left meanwhile is reported as `LostWorker`.

        Raises:
            RuntimeError: no worker is free.
            EngineError: no worker can be reached any more.
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


@dataclass(slots=True, eq=False)
class _Worker:
    process: WorkerProcess
    spec: TrialSpec | None = None
    """The trial that it has; None if it is free."""
    why_killed: str | None = None
    successor: WorkerProcess | None = None
    """The process that takes the place of `process` when its trial has ended."""
    is_surplus: bool = False
    """Whether it ends when its trial has ended."""

    def begin(self, spec: TrialSpec) -> None:
        self.process.start()
        self.spec, self.why_killed = spec, None
        self.process.send(spec)

    def receive(self) -> EngineEvent | None:
        """The message that is waiting, if any; a process that has died is replaced."""
        if self.spec is None:
            return None
        try:
            event = self.process.receive(0)
        except WorkerDied as death:
            lost = LostWorker(self.spec.number, self.spec.attempt, self.why_killed or str(death))
            self.spec = None
            if self.successor is None and not self.is_surplus:
                self.process.start()
            return lost
        if isinstance(event, TrialResult):
            self.spec = None
        return event


class LocalEngine:
    """Runs one trial at a time in each of several worker processes; see `Engine` for the methods.

    Args:
        processes: one for each worker, not started yet.
        make_processes: returns the processes for another number of workers; None: the number cannot change.
    """

    def __init__(
        self,
        processes: Sequence[WorkerProcess],
        make_processes: Callable[[int], Sequence[WorkerProcess]] | None = None,
    ) -> None:
        self._make_processes = make_processes
        self._workers = [_Worker(process) for process in processes]
        self._ready: deque[_Worker] = deque()
        """Workers with a message; each is read once before any is read again, so that none has to wait for long."""

    def start(self) -> None:
        for worker in self._workers:
            worker.process.start()

    def free_slots(self) -> int:
        return sum(worker.spec is None for worker in self._workers)

    def submit(self, spec: TrialSpec) -> None:
        free = next((worker for worker in self._workers if worker.spec is None), None)
        if free is None:
            numbers = ", ".join(str(worker.spec.number) for worker in self._workers if worker.spec)
            raise RuntimeError(f"every worker is busy with trial {numbers}")
        free.begin(spec)

    def next_event(self, timeout_seconds: float) -> EngineEvent | None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            while self._ready:
                worker = self._ready.popleft()
                event = worker.receive()
                if event is not None:
                    self._renew(worker)
                    return event
            busy = {worker.process.connection: worker for worker in self._workers if worker.spec is not None}
            ready = wait(list(busy), max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            self._ready.extend(worker for connection, worker in busy.items() if connection in ready)

    def answer(self, number: int, decision: Decision) -> None:
        worker = self._worker_with(number)
        if worker is not None:
            worker.process.send(decision)

    def kill(self, number: int, reason: str) -> None:
        worker = self._worker_with(number)
        if worker is not None:
            worker.why_killed = reason
            worker.process.kill()

    def scale(self, workers: int) -> None:
        """See `Engine.scale`; a process with other threads or another GPU than its place has now is replaced.

        Raises:
            RuntimeError: the number of workers cannot change.
        """
        if self._make_processes is None:
            raise RuntimeError("the number of workers is fixed")
        processes = list(self._make_processes(workers))
        self._workers.sort(key=lambda worker: worker.spec is None)  # those that train stay first
        for worker, process in zip(self._workers, processes, strict=False):
            is_same = process.environment == worker.process.environment
            worker.successor, worker.is_surplus = None if is_same else process, False
        for worker in self._workers[workers:]:
            worker.is_surplus = True
        further = [_Worker(process) for process in processes[len(self._workers) :]]
        for worker in list(self._workers):
            self._renew(worker)
        for worker in further:
            worker.process.start()
        self._workers += further

    def _renew(self, worker: _Worker) -> None:
        """Ends or replaces the process of a worker that is free, if `scale` has asked for that."""
        if worker.spec is not None or not (worker.is_surplus or worker.successor):
            return
        worker.process.end()
        if worker.is_surplus:
            self._workers.remove(worker)
        elif worker.successor is not None:
            worker.process, worker.successor = worker.successor, None
            worker.process.start()

    def close(self) -> None:
        for worker in self._workers:
            if worker.spec is not None:
                worker.process.kill()
                worker.spec = None
        self._ready.clear()
        end_processes(worker.process for worker in self._workers)

    def _worker_with(self, number: int) -> _Worker | None:
        return next((each for each in self._workers if each.spec is not None and each.spec.number == number), None)
