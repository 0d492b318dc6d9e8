"""The Dask engine: workers of a cluster."""

from __future__ import annotations

import math
import pickle
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from distributed import Future

from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.dask_protocol import DaskConnection, Message, TaskOver, answer_trial, kill_trial
from galaxy_exp.execution.engine import EngineEvent, LostWorker, SlotFreed, WorkerEvent
from galaxy_exp.records import Decision, EpochReport, TrialSpec

__all__ = ["DaskEngine"]

RENEW_SECONDS = 30.0
"""How often lost workers are replaced, and workers that could not run trials are tried again."""

START_SECONDS = 30.0
"""How long a Dask worker may take to answer before the first trial: it may have to import this package."""

_JOIN_SECONDS = 10.0
"""The same for one that joins later, while workers may wait for the driver."""

_LOOK_SECONDS = 1.0
"""How often the list of workers is updated."""

_FETCH_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class _Task:
    """An attempt at a trial on a Dask worker."""

    spec: TrialSpec
    address: str
    future: Future
    is_wanted: bool = True
    """False if it was killed; its worker is busy until the Dask task is over."""
    run: str = ""
    """Of its first message; see `Message.run`."""
    epoch: int = 0
    """The last one that was reported."""
    answer: Decision | None = None
    """To that report; None if there is none yet."""

    def sent(self, event: WorkerEvent | TaskOver) -> bool:
        """Whether an event belongs to this attempt."""
        if isinstance(event, TaskOver):
            return bool(self.future.key == event.key)
        return (self.spec.number, self.spec.attempt) == (event.number, event.attempt)

    def last_message(self) -> Message | None:
        """The last message, which may have been lost, from the result of the Dask task; None if it has no result."""
        if self.future.status != "finished":
            return None
        try:
            result = self.future.result(timeout=_FETCH_SECONDS)
        except Exception:  # noqa: BLE001 - whatever prevents it, the trial is then lost and issued again
            return None
        return pickle.loads(result) if result is not None else None


class DaskEngine:
    """Runs one trial at a time on each Dask worker; see `Engine` for the methods.

    A trial is a task for one free worker, so no task waits behind another. Dask's own retries are not used: the loop
    decides what follows from a lost worker. Only the methods of this class change its state, in the driver's thread.

    Args:
        connection: to the cluster, not open yet.
        say: prints a line about what the engine waits for.
    """

    def __init__(self, connection: DaskConnection, say: Callable[[str], None] = lambda _: None) -> None:
        self._connection = connection
        self._say = say
        self._addresses: list[str] = []
        """Of the workers that can run trials, in the order in which they joined."""
        self._unfit: dict[str, float] = {}
        """When a worker was found unable to run trials, by its address."""
        self._busy: dict[str, _Task] = {}
        """By the address of the worker."""
        self._losses: deque[LostWorker] = deque()
        """Found by the engine, and not reported yet."""
        self._looked_at = self._renewed_at = -math.inf
        self._is_waiting = False
        self._refusal: str | None = None
        """Why lost workers could not be replaced, as printed last."""

    def start(self) -> None:
        if self._connection.is_open:
            return
        self._connection.open()
        self._unfit = {}
        self._looked_at = self._renewed_at = time.monotonic()
        present = self._connection.workers()[: self._connection.cluster.limit]
        obstacles = self._connection.start_processes(present, START_SECONDS)
        if present and len(obstacles) == len(present):
            raise ConfigError(f"execution: {obstacles[present[0]]}")
        self._addresses = self._fit(present, obstacles)
        self._say_if_waiting()

    def free_slots(self) -> int:
        self.start()
        self._look_now_and_then()
        return len(self._free())

    def submit(self, spec: TrialSpec) -> None:
        self.start()
        free = self._free()  # without a new look: a worker that has left since is then reported as lost
        if not free:
            numbers = ", ".join(str(task.spec.number) for task in self._busy.values())
            raise RuntimeError(f"every worker is busy with trial {numbers}" if numbers else "no worker is there")
        address = free[0]
        self._busy[address] = _Task(spec, address, self._connection.submit(spec, address))

    def next_event(self, timeout_seconds: float) -> EngineEvent | None:
        deadline = time.monotonic() + timeout_seconds
        n_free = len(self._free())
        while True:
            self._look_now_and_then()
            if self._losses:
                return self._losses.popleft()
            if len(self._free()) > n_free:
                return SlotFreed()
            left = max(0.0, deadline - time.monotonic())
            message = self._connection.receive(min(_LOOK_SECONDS, left))
            event = self._accept(message) if message is not None else None
            if event is not None:
                return event
            if message is None and left <= _LOOK_SECONDS:
                return None

    def answer(self, number: int, decision: Decision) -> None:
        task = self._task_of(number)
        if task is not None:
            task.answer = decision
            self._connection.call(answer_trial, task.address, task.spec, task.epoch, decision)

    def kill(self, number: int, reason: str) -> None:
        """See `Engine.kill`; the loss is reported at once, since the worker may be unreachable."""
        task = self._task_of(number)
        if task is not None:
            self._connection.call(kill_trial, task.address, task.spec)
            self._lose(task, reason)

    def scale(self, workers: int) -> None:
        """See `Engine.scale`; workers of the cluster that are too many get no further trial."""
        self._connection.cluster.scale(workers)
        self._addresses = sorted(self._addresses, key=lambda address: address not in self._busy)[:workers]
        self._looked_at = -math.inf

    def close(self) -> None:
        self._busy.clear()
        if not self._connection.close():
            self._say("a Dask worker could not be reached at the end of the sweep; its process ends by itself")

    def _task_of(self, number: int) -> _Task | None:
        return next((task for task in self._busy.values() if task.is_wanted and task.spec.number == number), None)

    def _free(self) -> list[str]:
        return [address for address in self._addresses if address not in self._busy]

    def _look_now_and_then(self) -> None:
        now = time.monotonic()
        if not self._connection.is_open or now - self._looked_at < _LOOK_SECONDS:
            return
        self._look()
        limit = self._connection.cluster.limit
        if limit and len(self._addresses) < limit and now - self._renewed_at > RENEW_SECONDS:
            self._renewed_at = now
            refusal = self._connection.cluster.replace_lost_workers()
            if refusal is not None and refusal != self._refusal:
                self._say(f"{refusal}; trying again every {RENEW_SECONDS:.0f} s")
            self._refusal = refusal

    def _look(self) -> None:
        """Updates the list of workers, and finds the trials of those that have left."""
        self._looked_at = time.monotonic()
        present, limit = self._connection.workers(), self._connection.cluster.limit
        self._unfit = {address: found for address, found in self._unfit.items() if address in present}
        self._addresses = [address for address in self._addresses if address in present]
        due = [each for each in present if self._looked_at - self._unfit.get(each, -math.inf) >= RENEW_SECONDS]
        room = None if limit is None else max(0, limit - len(self._addresses))
        joined = [address for address in due if address not in self._addresses][:room]
        if joined:
            self._addresses += self._fit(joined, self._connection.start_processes(joined, _JOIN_SECONDS))
        for address in [address for address in self._busy if address not in present]:
            self._lose(self._busy.pop(address), f"the Dask worker at {address} has left the cluster")
        for task in self._busy.values():
            if not task.is_wanted:
                self._connection.call(kill_trial, task.address, task.spec)
        self._say_if_waiting()

    def _fit(self, joined: list[str], obstacles: dict[str, str]) -> list[str]:
        """Those of the workers that can run trials; for others a line is printed, and they are tried again later."""
        for address, obstacle in obstacles.items():
            if address not in self._unfit:
                self._say(f"left out: {obstacle}")
            self._unfit[address] = time.monotonic()
        fit = [address for address in joined if address not in obstacles]
        for address in fit:
            self._unfit.pop(address, None)
        return fit

    def _say_if_waiting(self) -> None:
        if not self._addresses and not self._is_waiting:
            self._say("no Dask worker is there; waiting for one")
        self._is_waiting = not self._addresses

    def _lose(self, task: _Task, reason: str) -> None:
        if task.is_wanted:
            task.is_wanted = False
            self._losses.append(LostWorker(task.spec.number, task.spec.attempt, reason))

    def _accept(self, message: Message) -> EngineEvent | None:
        """Updates the task that a message belongs to; returns the event if the loop has to know it."""
        task = next((task for task in self._busy.values() if task.sent(message.event)), None)
        if task is None:
            return None
        if isinstance(message.event, TaskOver):
            self._look()  # raises if the scheduler is lost, which ends all tasks too
            last = task.last_message()
            if last is not None and task.run in ("", last.run):
                message = last
            if self._busy.get(task.address) is not task:
                return None
        if message.run and task.run and message.run != task.run:
            self._connection.call(kill_trial, task.address, task.spec)
            self._lose(task, f"the Dask worker at {task.address} left the cluster and came back")
            return None
        task.run = task.run or message.run
        return self._update(task, message.event)

    def _update(self, task: _Task, event: WorkerEvent | TaskOver) -> EngineEvent | None:
        if isinstance(event, EpochReport):
            return event if task.is_wanted and self._is_new(task, event) else None
        del self._busy[task.address]
        if isinstance(event, TaskOver):
            self._lose(task, event.reason)
            return None
        return event if task.is_wanted else None

    def _is_new(self, task: _Task, report: EpochReport) -> bool:
        """False for a repeated report, whose answer was lost and is sent again.

        The next report of an attempt may be of an earlier epoch: its trial could not continue, and began anew.
        """
        if report.epoch != task.epoch:
            task.epoch, task.answer = report.epoch, None
            return True
        if task.answer is not None:
            self._connection.call(answer_trial, task.address, task.spec, task.epoch, task.answer)
        return False
