"""The local engine: worker processes of this machine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait

from galaxy_exp.execution.engine import EngineEvent, LostWorker
from galaxy_exp.execution.worker import WorkerDied, WorkerProcess, end_processes
from galaxy_exp.records import Decision, TrialResult, TrialSpec

__all__ = ["LocalEngine"]


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
