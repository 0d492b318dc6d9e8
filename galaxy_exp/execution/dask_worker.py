"""What a Dask worker does for a sweep: it owns a worker process, hands it trials and passes on what it says.

Networks are trained in that process and not in the Dask worker: a crash there leaves the Dask worker as it is,
and a busy network does not keep the Dask worker from answering its scheduler.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distributed import Status, Worker, get_worker

from galaxy_exp.execution.engine import LostWorker
from galaxy_exp.execution.process import WorkerDied, WorkerProcess
from galaxy_exp.execution.shares import thread_environment
from galaxy_exp.records import EpochReport, TrialSpec

__all__ = ["Hosting", "answer_trial", "end_process", "kill_trial", "missing_paths", "run_trial", "start_process"]

_LOOK_SECONDS = 0.5
"""How often a Dask worker looks whether its trial is still wanted."""


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


_HOSTS: dict[tuple[str, str], _Host] = {}
"""By topic and address of the Dask worker, since several Dask workers may live in one process."""


def run_trial(hosting: Hosting, spec: TrialSpec, key: str) -> None:
    """The Dask task: one trial from its specification to its end.

    Everything is said on the topic of the driver, as pickled events. When the driver or the scheduler is gone, or
    the task is cancelled, the worker process is ended.
    """
    worker = get_worker()
    host = _host(hosting, worker)
    host.process.start()
    host.trial = (spec.number, spec.attempt)
    host.process.send(spec)
    event: object = None
    try:
        while event is None or isinstance(event, EpochReport):
            if event is not None:
                worker.log_event(hosting.topic, pickle.dumps(event))
            elif not _is_wanted(worker, key):
                host.process.end()
                return
            event = host.process.receive(_LOOK_SECONDS)
    except WorkerDied as death:
        event = LostWorker(spec.number, spec.attempt, str(death))
        if _HOSTS.get((hosting.topic, worker.address)) is host:
            host.process.start()
    finally:
        host.trial = None
    worker.log_event(hosting.topic, pickle.dumps(event))


def start_process(hosting: Hosting, dask_worker: Worker) -> None:
    """Starts the worker process before there is a trial, so that its imports are done when one comes."""
    _host(hosting, dask_worker).process.start()


def answer_trial(topic: str, number: int, attempt: int, go_on: bool, dask_worker: Worker) -> None:
    """Passes the driver's answer to a report on; without effect if the trial is no longer there."""
    host = _HOSTS.get((topic, dask_worker.address))
    if host is not None and host.trial == (number, attempt):
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
    if host.trial is not None:
        host.process.kill()  # `run_trial` notices and clears it away
    else:
        await asyncio.to_thread(host.process.end)


def missing_paths(paths: tuple[Path, ...]) -> list[str]:
    """Those of the driver's folders that this machine does not have."""
    return [str(path) for path in paths if not path.exists()]


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
