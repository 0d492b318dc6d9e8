"""What the driver and the Dask workers send each other: `DaskConnection` for the driver, functions for the workers.

A Dask worker owns a worker process for each driver and trains in it, not in itself: a crash does not affect the Dask
worker, and training does not keep it from answering its scheduler. Reports travel as Dask events and answers as calls
through the scheduler, so a worker need not be able to reach the driver. Dask guarantees the delivery of neither. A
worker therefore repeats a report until it is answered, and the last message of a trial is the result of its Dask task
too.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from distributed import Client, Future, Status, Worker, get_worker
from distributed.utils import silence_logging_cmgr

from galaxy_exp.environment import user_import_paths
from galaxy_exp.errors import EngineError, first_line
from galaxy_exp.execution.clusters import CONNECT_SECONDS, Cluster
from galaxy_exp.execution.engine import LostWorker, WorkerEvent
from galaxy_exp.execution.resources import thread_environment
from galaxy_exp.execution.worker import WORKER_MODULE, WorkerDied, WorkerProcess
from galaxy_exp.records import Decision, TrialResult, TrialSpec

__all__ = ["DaskConnection", "Message", "TaskOver", "answer_trial", "kill_trial"]

REPEAT_SECONDS = 10.0
"""A report without an answer is sent again after this time: report or answer may have been lost."""

_POLL_SECONDS = 0.5
"""How often a Dask worker looks whether its trial is still wanted."""

_IDLE_SECONDS = 300.0
"""A worker process ends after this time without a trial, since its driver may have died."""

_RECONNECT_SECONDS = 2 * CONNECT_SECONDS
"""How long the driver waits for a broken connection; Dask itself gives up after `CONNECT_SECONDS`."""

_RECONNECT_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 10.0
_LOST = "the connection to the Dask scheduler was lost"


@dataclass(frozen=True, slots=True)
class TaskOver:
    """A Dask task has ended, with the reason in one line."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """What the driver receives."""

    run: str
    """Identifies the run of the Dask task that sent it: Dask may run a task again whose worker left and came back.
    Empty for `TaskOver`."""
    event: WorkerEvent | TaskOver


@dataclass(frozen=True, slots=True)
class _Driver:
    """What a Dask worker has to know of a driver."""

    topic: str
    """The Dask topic that the driver listens to; unique for each driver."""
    log_file: Path
    import_paths: tuple[str, ...]
    max_growth: int | None
    module: str


class DaskConnection:
    """The driver's connection to a cluster: starts worker processes, submits trials, sends and receives messages.

    Args:
        cluster: not connected yet.
        log_file: the worker processes print to it; the same path on all machines.
        max_growth, module: see `WorkerProcess`.
    """

    def __init__(
        self, cluster: Cluster, log_file: Path, *, max_growth: int | None = None, module: str = WORKER_MODULE
    ) -> None:
        self.cluster = cluster
        self._driver = _Driver("", log_file, tuple(user_import_paths()), max_growth, module)
        self._client: Client | None = None
        self._at_close = ExitStack()
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    @property
    def is_open(self) -> bool:
        """Whether `open` was called, and `close` not yet."""
        return self._client is not None

    def open(self) -> None:
        """Connects to the cluster.

        Raises:
            ConfigError: this is not possible.
        """
        self._driver.log_file.parent.mkdir(parents=True, exist_ok=True)
        # Dask's warnings and tracebacks are replaced by one line of the engine each
        self._at_close.enter_context(silence_logging_cmgr(logging.CRITICAL))
        self._at_close.callback(self.cluster.close)
        self._client = self.cluster.connect()
        self._at_close.callback(self._client.close, timeout=_CLOSE_SECONDS)
        # messages to an earlier connection are ignored
        self._driver, self._messages = (
            replace(self._driver, topic=f"galaxy-exp-{uuid.uuid4().hex}"),
            queue.SimpleQueue(),
        )

    def close(self) -> bool:
        """Ends the worker processes and disconnects; False if not all Dask workers could be reached.

        The processes of those that could not be reached end after some minutes.
        """
        client, self._client = self._client, None
        with self._at_close:
            if client is not None and client.status == "running":
                try:
                    client.sync(self._end_processes, client, callback_timeout=_CLOSE_SECONDS)
                except (OSError, TimeoutError):
                    return False
        return True

    def workers(self) -> list[str]:
        """The addresses of all Dask workers; waits while the connection is broken and Dask tries to restore it.

        Raises:
            EngineError: the connection is lost.
        """
        client, deadline = self._open_client, time.monotonic() + _RECONNECT_SECONDS
        while client.status != "closed" and time.monotonic() < deadline:
            try:
                if client.status == "running":
                    # repeated, since a scheduler forgets it when the connection breaks
                    client.subscribe_topic(self._driver.topic, self._unpickle)
                    return list(client.nthreads())
            except OSError:
                pass  # the connection is broken
            time.sleep(_RECONNECT_POLL_SECONDS)
        raise EngineError(_LOST)

    def start_processes(self, addresses: Sequence[str], timeout_seconds: float) -> dict[str, str]:
        """Starts the worker processes of some Dask workers, all at the same time.

        Returns:
            By address, why a worker cannot run trials; a worker that does not answer in this time is one of them.
        """
        client = self._open_client

        async def start() -> list[str | None]:
            return await asyncio.gather(*(self._start_process(client, each, timeout_seconds) for each in addresses))

        found = zip(addresses, client.sync(start), strict=True)
        return {address: obstacle for address, obstacle in found if obstacle is not None}

    async def _start_process(self, client: Client, address: str, timeout_seconds: float) -> str | None:
        logs = self._driver.log_file.parent
        try:
            async with asyncio.timeout(timeout_seconds):
                found = await client.run(logs.exists, workers=[address])
                if not found.get(address):
                    return (
                        f"the Dask worker at {address} has no {logs}; "
                        "expected the project on a file system that all workers share, at the same path"
                    )
                await client.run(_start_process, self._driver, workers=[address])
        except TimeoutError:
            return f"the Dask worker at {address} does not answer within {timeout_seconds:.0f} s"
        except (ImportError, OSError) as error:
            return f"the Dask worker at {address} cannot run trials: {first_line(error)}"
        return None

    def submit(self, spec: TrialSpec, address: str) -> Future:
        """Runs an attempt at a trial as a task on one Dask worker; `TaskOver` is received when the task has ended.

        Raises:
            EngineError: the connection is lost.
        """
        if self._open_client.status == "closed":
            raise EngineError(_LOST)
        # the key is unique, or Dask would return the result of an earlier task instead of running this one
        key = f"{self._driver.topic}-{spec.number}-{spec.attempt}-{uuid.uuid4().hex[:8]}"
        future = self._open_client.submit(
            _run_trial, self._driver, spec, key, key=key, workers=[address], retries=0, pure=False
        )
        future.add_done_callback(partial(_note_end, self._messages))
        return future

    def call(self, function: Callable[..., None], address: str, spec: TrialSpec, *arguments: object) -> None:
        """Calls `answer_trial` or `kill_trial` on a Dask worker, without waiting for it."""
        client = self._open_client

        async def call() -> None:
            try:
                await client.run(
                    function, self._driver.topic, spec.number, spec.attempt, *arguments,
                    workers=[address], on_error="ignore",
                )  # fmt: skip
            except OSError:
                return  # the scheduler cannot be reached, which `workers` reports

        client.loop.add_callback(call)

    def receive(self, timeout_seconds: float) -> Message | None:
        """The next message; None after the timeout."""
        try:
            return self._messages.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def take(self, message: Message) -> None:
        """Makes a message available to `receive`; called by Dask in a thread of its own."""
        self._messages.put(message)

    @property
    def _open_client(self) -> Client:
        if self._client is None:
            raise RuntimeError("the connection is not open")
        return self._client

    def _unpickle(self, event: tuple[float, bytes]) -> None:
        self.take(pickle.loads(event[1]))

    async def _end_processes(self, client: Client) -> None:
        await client.run(_end_process, self._driver.topic, on_error="ignore")


def _note_end(messages: queue.SimpleQueue[Message], future: Future) -> None:
    """Called by Dask in a thread of its own when a task has ended, or because the client closes."""
    error = future.exception() if future.status == "error" else None
    reason = first_line(error) if error is not None else f"the Dask task is {future.status}"
    messages.put(Message("", TaskOver(future.key, reason)))


@dataclass(slots=True)
class _Host:
    """The worker process that a Dask worker has for one driver."""

    process: WorkerProcess
    trial: tuple[int, int] | None = None
    """Number and attempt of the trial that is trained."""
    unanswered: int | None = None
    """The epoch that was reported and is not answered yet."""
    in_use: threading.Lock = field(default_factory=threading.Lock)
    """Held by the task that uses the process; a cancelled task may still be ending it when the next one starts."""


_HOSTS: dict[tuple[str, str], _Host] = {}
"""By topic and address of the Dask worker, since one process can contain several Dask workers."""


def answer_trial(topic: str, number: int, attempt: int, epoch: int, decision: Decision, dask_worker: Worker) -> None:
    """Answers the report of an epoch; no effect if that was answered before or if the trial has ended."""
    host = _HOSTS.get((topic, dask_worker.address))
    if host is not None and host.trial == (number, attempt) and host.unanswered == epoch:
        host.unanswered = None
        host.process.send(decision)


def kill_trial(topic: str, number: int, attempt: int, dask_worker: Worker) -> None:
    """Kills the worker process if it still has this attempt."""
    host = _HOSTS.get((topic, dask_worker.address))
    if host is not None and host.trial == (number, attempt):
        host.process.kill()


def _run_trial(driver: _Driver, spec: TrialSpec, key: str) -> bytes | None:
    """The Dask task of an attempt; ends the worker process if the task is cancelled or driver or scheduler are gone.

    Returns:
        The last message, pickled; None if nobody wants it.
    """
    worker = get_worker()
    host = _host(driver, worker)
    run = uuid.uuid4().hex

    def send(event: WorkerEvent) -> bytes:
        message = pickle.dumps(Message(run, event))
        worker.log_event(driver.topic, message)
        return message

    with host.in_use:
        last = _train(host, spec, send, partial(_is_wanted, worker, key))
        if isinstance(last, LostWorker) and _HOSTS.get((driver.topic, worker.address)) is host:
            host.process.start()
    return send(last) if last is not None else None


def _start_process(driver: _Driver, dask_worker: Worker) -> None:
    _host(driver, dask_worker).process.start()


async def _end_process(topic: str, dask_worker: Worker) -> None:
    host = _HOSTS.pop((topic, dask_worker.address), None)
    if host is None:
        return
    if host.in_use.locked():
        host.process.kill()  # `_run_trial` then receives its death
    else:
        await asyncio.to_thread(host.process.end)


def _train(
    host: _Host, spec: TrialSpec, send: Callable[[WorkerEvent], object], is_wanted: Callable[[], bool]
) -> TrialResult | LostWorker | None:
    """Sends each report until it is answered; returns how the trial ended, None if nobody wants it any more."""
    host.process.start()
    host.trial, host.unanswered = (spec.number, spec.attempt), None
    host.process.send(spec)
    report, sent_at = None, 0.0
    try:
        while True:
            event = host.process.receive(_POLL_SECONDS)
            if isinstance(event, TrialResult):
                return event
            if event is not None:
                report, host.unanswered, sent_at = event, event.epoch, time.monotonic()
                send(report)
            elif not is_wanted():
                host.process.end()
                return None
            elif report is not None and host.unanswered and time.monotonic() - sent_at > REPEAT_SECONDS:
                sent_at = time.monotonic()
                send(report)
    except WorkerDied as death:
        return LostWorker(spec.number, spec.attempt, str(death))
    finally:
        host.trial = None


def _host(driver: _Driver, worker: Worker) -> _Host:
    key = (driver.topic, worker.address)
    if key not in _HOSTS:
        process = WorkerProcess(
            driver.log_file,
            environment=thread_environment(worker.state.nthreads),
            import_paths=driver.import_paths,
            max_growth=driver.max_growth,
            idle_seconds=_IDLE_SECONDS,
            module=driver.module,
        )
        _HOSTS[key] = _Host(process)
    return _HOSTS[key]


def _is_wanted(worker: Worker, key: str) -> bool:
    """False if driver or scheduler are gone, or the task was cancelled."""
    task = worker.state.tasks.get(key)
    is_leaving = worker.status in (Status.closing, Status.closed, Status.failed)
    return not is_leaving and task is not None and task.state == "executing"
