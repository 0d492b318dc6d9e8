"""What a Dask worker does for a sweep: it owns a worker process, hands it trials and passes on what it says.

Networks are trained in that process and not in the Dask worker: a crash there leaves the Dask worker as it is,
and a busy network does not keep the Dask worker from answering its scheduler.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from distributed import Status, Worker, get_worker

from galaxy_exp.execution.engine import EngineEvent, LostWorker
from galaxy_exp.execution.process import WorkerDied, WorkerProcess
from galaxy_exp.execution.shares import thread_environment
from galaxy_exp.records import TrialResult, TrialSpec

__all__ = ["Hosting", "answer_trial", "end_process", "kill_trial", "missing_paths", "run_trial", "start_process"]

_LOOK_SECONDS = 0.5
"""How often a Dask worker looks whether its trial is still wanted."""

_REPEAT_SECONDS = 10.0
"""A report that is not answered for so long is sent again: report or answer may have been lost on the way."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How the Dask workers keep their worker processes for one driver."""

    topic: str
    """Names the driver, and is the Dask topic on which it listens."""
    log_file: Path
    import_paths: tuple[str, ...]
    environments: Mapping[str, dict[str, str]]
    """Variables for single workers, by their address."""
    max_growth: int | None
    idle_seconds: float | None
    module: str
    """See `WorkerProcess`."""


@dataclass(slots=True)
class _Host:
    process: WorkerProcess
    trial: tuple[int, int] | None = None
    """Number and attempt of what the process trains."""
    unanswered: int | None = None
    """The epoch that was reported and not answered yet."""
    in_use: threading.Lock = field(default_factory=threading.Lock)
    """A task that is no longer wanted may still be ending its process when the next one comes."""


_HOSTS: dict[tuple[str, str], _Host] = {}
"""By topic and address of the Dask worker, since several Dask workers may live in one process."""


def run_trial(hosting: Hosting, spec: TrialSpec, key: str) -> bytes | None:
    """The Dask task: one trial from its specification to its end.

    Everything is said on the topic of the driver, as pickled events, each with the name of this run of the task. The
    last is the task's result as well, for the driver to fetch if it was lost on the way; None if it is not wanted.
    When the driver or the scheduler is gone, or the task is cancelled, the worker process is ended.
    """
    worker = get_worker()
    host = _host(hosting, worker)
    run = uuid.uuid4().hex

    def say(event: EngineEvent) -> None:
        worker.log_event(hosting.topic, pickle.dumps((run, event)))

    with host.in_use:
        last = _train(host, spec, say, partial(_is_wanted, worker, key))
        if isinstance(last, LostWorker) and _HOSTS.get((hosting.topic, worker.address)) is host:
            host.process.start()
    if last is None:
        return None
    say(last)
    return pickle.dumps((run, last))


def start_process(hosting: Hosting, dask_worker: Worker) -> None:
    """Starts the worker process before there is a trial, so that its imports are done when one comes."""
    _host(hosting, dask_worker).process.start()


def answer_trial(topic: str, number: int, attempt: int, epoch: int, go_on: bool, dask_worker: Worker) -> None:
    """Passes the driver's answer to a report on; without effect the second time, or if the trial is no longer there."""
    host = _HOSTS.get((topic, dask_worker.address))
    if host is not None and host.trial == (number, attempt) and host.unanswered == epoch:
        host.unanswered = None
        host.process.send(go_on)


def kill_trial(topic: str, number: int, attempt: int, dask_worker: Worker) -> None:
    """Ends the worker process if it still has this trial."""
    host = _HOSTS.get((topic, dask_worker.address))
    if host is not None and host.trial == (number, attempt):
        host.process.kill()


async def end_process(topic: str, dask_worker: Worker) -> None:
    """Ends the worker process of a driver that leaves."""
    host = _HOSTS.pop((topic, dask_worker.address), None)
    if host is None:
        return
    if host.in_use.locked():
        host.process.kill()  # `run_trial` notices and clears it away
    else:
        await asyncio.to_thread(host.process.end)


def missing_paths(paths: tuple[Path, ...]) -> list[str]:
    """Those of the driver's folders that this machine does not have."""
    return [str(path) for path in paths if not path.exists()]


def _train(
    host: _Host, spec: TrialSpec, say: Callable[[EngineEvent], None], is_wanted: Callable[[], bool]
) -> TrialResult | LostWorker | None:
    """Says each report, again and again until it is answered; returns how the trial ended, None if it is not wanted."""
    host.process.start()
    host.trial, host.unanswered = (spec.number, spec.attempt), None
    host.process.send(spec)
    report, said_at = None, 0.0
    try:
        while True:
            event = host.process.receive(_LOOK_SECONDS)
            if isinstance(event, TrialResult):
                return event
            if event is not None:
                report, host.unanswered, said_at = event, event.epoch, time.monotonic()
                say(report)
            elif not is_wanted():
                host.process.end()
                return None
            elif report is not None and host.unanswered and time.monotonic() - said_at > _REPEAT_SECONDS:
                said_at = time.monotonic()
                say(report)
    except WorkerDied as death:
        return LostWorker(spec.number, spec.attempt, str(death))
    finally:
        host.trial = None


def _host(hosting: Hosting, worker: Worker) -> _Host:
    key = (hosting.topic, worker.address)
    if key not in _HOSTS:
        threads = thread_environment(worker.state.nthreads)
        process = WorkerProcess(
            hosting.log_file,
            environment={**threads, **hosting.environments.get(worker.address, {})},
            import_paths=hosting.import_paths,
            max_growth=hosting.max_growth,
            idle_seconds=hosting.idle_seconds,
            module=hosting.module,
        )
        _HOSTS[key] = _Host(process)
    return _HOSTS[key]


def _is_wanted(worker: Worker, key: str) -> bool:
    """Not once the driver is gone or has cancelled the task, nor once the Dask worker has lost its scheduler."""
    task = worker.state.tasks.get(key)
    is_leaving = worker.status in (Status.closing, Status.closed, Status.failed)
    return not is_leaving and task is not None and task.state == "executing"
