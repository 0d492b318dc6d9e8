"""The Dask engine: worker processes on this machine, on a running cluster, or as batch jobs."""

from __future__ import annotations

import logging
import math
import os
import pickle
import queue
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import dask
from distributed import Client, Future, LocalCluster, Security
from distributed.utils import silence_logging_cmgr

from galaxy_exp.environment import user_import_paths
from galaxy_exp.errors import ConfigError, EngineError, first_line
from galaxy_exp.execution import dask_worker
from galaxy_exp.execution.dask_certificates import make_certificate
from galaxy_exp.execution.dask_contact import find_obstacle, read_address
from galaxy_exp.execution.dask_worker import Hosting
from galaxy_exp.execution.engine import EngineEvent, LostWorker
from galaxy_exp.execution.process import WORKER_MODULE
from galaxy_exp.execution.shares import available_cores, gpu_environment, threads_each, visible_gpus
from galaxy_exp.records import EpochReport, TrialSpec

__all__ = ["DaskEngine", "LocalWorkers", "RunningCluster", "SlurmJobs", "Workers"]

CONNECT_SECONDS = 5.0
"""How long a scheduler may take to answer."""

_LOOK_SECONDS = 1.0
"""How often the list of workers is renewed."""

_IDLE_SECONDS = 300.0
"""A worker process on a cluster ends when it had no trial for so long: its driver may be gone."""

_RENEW_SECONDS = 30.0
"""How often batch jobs that ended are replaced."""

_RECONNECT_SECONDS = 2 * CONNECT_SECONDS
"""How long a broken connection to the scheduler is waited for; Dask gives up after `CONNECT_SECONDS`."""

_PAUSE_SECONDS = 0.1

_CLOSE_SECONDS = 10.0

_LOOPBACK = "127.0.0.1:0"


class Workers(Protocol):
    """Where Dask workers come from."""

    @property
    def limit(self) -> int | None:
        """So many of them are used at most."""
        ...

    @property
    def idle_seconds(self) -> float | None:
        """See `WorkerProcess`."""
        ...

    def connect(self) -> Client:
        """A client of the scheduler that they belong to.

        Raises:
            ConfigError: there is none.
        """
        ...

    def environments(self, addresses: list[str]) -> dict[str, dict[str, str]]:
        """Variables for single workers, by address."""
        ...

    def renew(self) -> None:
        """Replaces workers that have left, if that is this side's to do; called now and then."""
        ...

    def close(self) -> None:
        """Ends what `connect` started."""
        ...


class LocalWorkers:
    """Worker processes on this machine.

    Scheduler and Dask workers are threads of the driver, and nothing is open to other machines. Each Dask worker has
    a worker process of its own, in which networks are trained.

    Args:
        number: of worker processes.
        threads: of each; None: all cores of this machine, divided.
        workers_per_gpu: how many share a GPU, where there are GPUs.
    """

    idle_seconds = None

    def __init__(self, number: int, threads: int | None = None, workers_per_gpu: int = 1) -> None:
        self.limit = number
        self._threads = threads or threads_each(available_cores(), number)
        self._workers_per_gpu = workers_per_gpu
        self._cluster: LocalCluster | None = None

    def connect(self) -> Client:
        """See `Workers.connect`."""
        settings: dict[str, Any] = {
            # Dask's HTTP servers cannot be left out, but they can be kept to this machine and empty
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            # these workers are threads of the driver; a machine that slept must not take them for lost
            "distributed.scheduler.worker-ttl": None,
            # looks at every thread a hundred times a second for each worker, for a dashboard that there is not
            "distributed.worker.profile.enabled": False,
        }
        with dask.config.set(settings):
            self._cluster = LocalCluster(
                protocol="inproc://",
                n_workers=self.limit,
                threads_per_worker=self._threads,
                processes=False,
                scheduler_kwargs={"dashboard": False, "dashboard_address": _LOOPBACK},
                worker_dashboard_address=_LOOPBACK,
                memory_limit=0,
                silence_logs=False,
            )
        return Client(self._cluster, set_as_default=False)

    def environments(self, addresses: list[str]) -> dict[str, dict[str, str]]:
        """One GPU each, or `workers_per_gpu` on each."""
        gpus = visible_gpus(os.environ)
        return {
            address: gpu_environment(gpus, self._workers_per_gpu, position)
            for position, address in enumerate(sorted(addresses))
        }

    def renew(self) -> None:
        """Never needed: they live and die with the driver."""

    def close(self) -> None:
        """See `Workers.close`."""
        if self._cluster is not None:
            self._cluster.close()


class RunningCluster:
    """The workers of a scheduler that somebody else started.

    Args:
        address: `tcp://HOST:PORT` or `tls://HOST:PORT`.
        scheduler_file: what `dask scheduler --scheduler-file` wrote; used if there is no address.
        limit: so many workers are used at most.
    """

    idle_seconds = _IDLE_SECONDS

    def __init__(self, address: str | None, scheduler_file: Path | None = None, limit: int | None = None) -> None:
        self._address = address
        self._scheduler_file = scheduler_file
        self.limit = limit

    def connect(self) -> Client:
        """See `Workers.connect`."""
        key = "scheduler" if self._address else "scheduler_file"
        address = self._address or self._read_file()
        where = f"execution.{key}: {address}" + ("" if self._address else f" of {self._scheduler_file}")
        obstacle = find_obstacle(address, CONNECT_SECONDS)
        if obstacle is not None:
            raise ConfigError(f"{where}: {obstacle}")
        try:
            return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"{where}: no Dask scheduler answers: {first_line(error)}") from None

    def _read_file(self) -> str:
        assert self._scheduler_file is not None
        try:
            return read_address(self._scheduler_file)
        except FileNotFoundError:
            raise ConfigError(f"execution.scheduler_file: {self._scheduler_file} does not exist") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"execution.scheduler_file: {self._scheduler_file}: {first_line(error)}") from None

    def environments(self, addresses: list[str]) -> dict[str, dict[str, str]]:
        """None: whoever started the workers divided the GPUs."""
        return {}

    def renew(self) -> None:
        """Not ours to do."""

    def close(self) -> None:
        """Leaves the cluster as it is."""


class SlurmJobs:
    """Dask workers as jobs of SLURM, started by dask-jobqueue; the scheduler is a thread of the driver.

    They use TLS: with the certificates of Dask's own configuration, if it has any, else with one made for this sweep.

    Args:
        number: of workers.
        options: of `dask_jobqueue.SLURMCluster`; `security: false` among them turns TLS off.
        certificate_folder: where a certificate is kept until the end; on a file system that all workers share.
    """

    idle_seconds = _IDLE_SECONDS

    def __init__(self, number: int, options: dict[str, Any], certificate_folder: Path) -> None:
        self.limit = number
        self._options = options
        self._certificate_folder = certificate_folder
        self._cluster: Any = None

    def connect(self) -> Client:
        """See `Workers.connect`."""
        try:
            from dask_jobqueue import SLURMCluster
        except ImportError:
            message = "execution.cluster: slurm needs dask-jobqueue; install it with: pip install 'galaxy-exp[slurm]'"
            raise ConfigError(message) from None
        security = self._security()
        try:
            loopback = {"dashboard": False, "dashboard_address": _LOOPBACK}
            options = {"processes": 1, "scheduler_options": loopback, **self._options, "security": security}
            self._cluster = SLURMCluster(**options)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            reason = first_line(error).removesuffix(", for example:")
            raise ConfigError(f"execution.cluster_options: {reason}") from None
        try:
            self._cluster.sync(self._submit)
        except (OSError, RuntimeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ConfigError(f"execution.cluster: slurm: sbatch does not take the jobs: {lines[-1]}") from None
        return Client(self._cluster, set_as_default=False)

    def _security(self) -> Security | None:
        is_on = self._options.get("security", True)
        if not isinstance(is_on, bool):
            raise ConfigError(f"execution.cluster_options: security: found {is_on!r}; expected true or false")
        if not is_on:
            return None
        protocol = self._options.get("protocol", "tls://")
        if str(protocol).startswith("tcp"):
            raise ConfigError(
                f"execution.cluster_options: protocol: {protocol} is not encrypted; expected tls://, or "
                "security: false as well, with which whoever reaches the scheduler's port can run programs as you"
            )
        own = Security(require_encryption=True)
        try:
            return own if own.tls_ca_file else make_certificate(self._certificate_folder)
        except ImportError:
            raise ConfigError(
                "execution.cluster: slurm: TLS needs cryptography; install it with: pip install cryptography"
            ) from None

    async def _submit(self) -> None:
        """The first jobs, until the batch system has taken them; what it says of later ones is in Dask's log alone."""
        self._cluster.scale(self.limit)
        await self._cluster._correct_state()

    def environments(self, addresses: list[str]) -> dict[str, dict[str, str]]:
        """None: SLURM gives each job its GPUs."""
        return {}

    def renew(self) -> None:
        """Submits jobs in place of those that have ended."""
        self._cluster.scale(self.limit)

    def close(self) -> None:
        """Cancels the jobs, and removes the certificate."""
        if self._cluster is not None:
            with suppress(AssertionError):  # Dask takes it for granted that no job was ever refused
                self._cluster.close()
        shutil.rmtree(self._certificate_folder, ignore_errors=True)


@dataclass(slots=True)
class _Task:
    """A trial on a Dask worker."""

    spec: TrialSpec
    address: str
    future: Future
    run: str = ""
    """Of the first word heard; Dask may start the task once more when a worker left and came back."""
    epoch: int = 0
    """The last that was reported."""
    answer: bool | None = None
    """To that report, once there is one."""

    def is_meant_by(self, event: EngineEvent | _TaskOver) -> bool:
        """Whether an event belongs to this very attempt."""
        if isinstance(event, _TaskOver):
            return bool(self.future.key == event.key)
        return (self.spec.number, self.spec.attempt) == (event.number, event.attempt)

    def last_word(self) -> tuple[str, EngineEvent] | None:
        """How the trial ended, after its task: heard again if the message was lost; None if nothing is known."""
        if self.future.status != "finished":
            return None
        try:
            said = self.future.result(timeout=_CLOSE_SECONDS)
        except Exception:  # noqa: BLE001 - whatever keeps Dask from fetching it, the trial is then lost and issued again
            return None
        return pickle.loads(said) if said is not None else None


@dataclass(frozen=True, slots=True)
class _TaskOver:
    """A Dask task came to its end, whatever that was."""

    key: str
    how: str


_Said = tuple[str, EngineEvent | _TaskOver]


class DaskEngine:
    """Runs one trial at a time on each Dask worker.

    A trial is a task pinned to a free worker, so that no task ever waits behind another. Dask's own retries are
    not used: a lost worker is reported, and the loop decides. Reports come as Dask events through the scheduler,
    and answers go the same way back, so a worker need not be able to reach the driver. Dask promises delivery of
    neither: a worker repeats a report until it is answered, an answer is given again to a repeated report, and how a
    trial ended is the result of its task too.

    Args:
        workers: where they come from.
        log_file: where their processes print; on other machines the same path.
        max_growth: see `WorkerProcess`.
        say: takes a line about what is waited for.
        module: see `WorkerProcess`.
    """

    def __init__(
        self,
        workers: Workers,
        log_file: Path,
        *,
        max_growth: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        module: str = WORKER_MODULE,
    ) -> None:
        self._workers = workers
        self._log_file = log_file
        self._max_growth = max_growth
        self._say = say
        self._module = module
        self._topic = f"galaxy-exp-{uuid.uuid4().hex}"
        self._client: Client | None = None
        self._at_close = ExitStack()
        self._hosting: Hosting | None = None
        self._said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        """With the run of the task that said it, see `_Task`."""
        self._losses: deque[LostWorker] = deque()
        """Found here, not said by a worker."""
        self._addresses: list[str] = []
        """Of the workers, in the order in which they were first seen."""
        self._unfit: dict[str, float] = {}
        """Workers that could not run trials, and when that was found."""
        self._running: dict[int, _Task] = {}
        self._busy: dict[str, _Task] = {}
        """By address; a trial that was killed keeps its worker busy until the task is over."""
        self._looked_at = self._renewed_at = -math.inf
        self._has_said_waiting = False

    def start(self) -> None:
        """See `Engine.start`."""
        if self._client is not None:
            return
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        # what matters of its warnings and tracebacks is said here, in one line
        self._at_close.enter_context(silence_logging_cmgr(logging.CRITICAL))
        self._at_close.callback(self._workers.close)
        self._client = self._workers.connect()
        # nothing that is still said of an earlier start concerns this one
        self._topic, self._said = f"galaxy-exp-{uuid.uuid4().hex}", queue.SimpleQueue()
        self._hosting, self._unfit = None, {}
        self._at_close.callback(self._client.close, timeout=_CLOSE_SECONDS)
        self._renewed_at = time.monotonic()
        self._look()
        self._hosting = Hosting(
            topic=self._topic,
            log_file=self._log_file,
            import_paths=tuple(user_import_paths()),
            environments=self._workers.environments(self._addresses),
            max_growth=self._max_growth,
            idle_seconds=self._workers.idle_seconds,
            module=self._module,
        )
        self._prepare_first_workers()

    def free_slots(self) -> int:
        """See `Engine.free_slots`."""
        self.start()
        self._look_now_and_then()
        return len(self._free())

    def submit(self, spec: TrialSpec) -> None:
        """See `Engine.submit`."""
        if not self.free_slots():
            numbers = ", ".join(str(task.spec.number) for task in self._busy.values())
            raise RuntimeError(f"every worker is busy with trial {numbers}" if numbers else "no worker is there")
        # a key of its own: Dask does not run one again whose result it still has
        address, key = self._free()[0], f"{self._topic}-{spec.number}-{spec.attempt}-{uuid.uuid4().hex[:8]}"
        future = self._connected.submit(
            dask_worker.run_trial, self._hosting, spec, key, key=key, workers=[address], retries=0, pure=False
        )
        self._running[spec.number] = self._busy[address] = _Task(spec, address, future)
        future.add_done_callback(partial(self._note_end, self._said))

    def next_event(self, timeout_seconds: float | None = None) -> EngineEvent | None:
        """See `Engine.next_event`."""
        if timeout_seconds is None and not (self._running or self._losses):
            return None
        until = time.monotonic() + (math.inf if timeout_seconds is None else timeout_seconds)
        free = len(self._free())
        while True:
            self._look_now_and_then()
            if self._losses:
                return self._losses.popleft()
            if len(self._free()) > free:
                return None
            left = max(0.0, until - time.monotonic())
            try:
                event = self._accept(*self._said.get(timeout=min(_LOOK_SECONDS, left)))
            except queue.Empty:
                if left <= _LOOK_SECONDS:
                    return None
                continue
            if event is not None:
                return event

    def answer(self, number: int, go_on: bool) -> None:
        """See `Engine.answer`."""
        task = self._running.get(number)
        if task is not None:
            task.answer = go_on
            self._tell(task, dask_worker.answer_trial, task.epoch, go_on)

    def kill(self, number: int, reason: str) -> None:
        """See `Engine.kill`. Reported at once: the worker may be out of reach."""
        task = self._running.pop(number, None)
        if task is not None:
            self._tell(task, dask_worker.kill_trial)
            self._losses.append(LostWorker(number, task.spec.attempt, reason))

    def close(self) -> None:
        """See `Engine.close`."""
        client, self._client = self._client, None
        try:
            if client is not None and client.status == "running":
                client.sync(self._end_processes, client, callback_timeout=_CLOSE_SECONDS)
        except (OSError, TimeoutError):
            self._say("a Dask worker could not be told that the sweep is over; its process ends by itself")
        finally:
            self._running.clear()
            self._busy.clear()
            self._at_close.close()

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise RuntimeError("the engine was not started")
        return self._client

    def _free(self) -> list[str]:
        return [address for address in self._addresses if address not in self._busy]

    def _look_now_and_then(self) -> None:
        if self._client is None or time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._look()
        limit = self._workers.limit
        if limit and len(self._addresses) < limit and time.monotonic() - self._renewed_at > _RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            self._workers.renew()

    def _look(self) -> None:
        """Renews the list of workers, and finds those that have left."""
        self._looked_at = time.monotonic()
        present = self._present_workers()
        self._unfit = {address: found for address, found in self._unfit.items() if address in present}
        self._addresses = [address for address in self._addresses if address in present]
        for address in present:
            if address in self._addresses or self._looked_at - self._unfit.get(address, -math.inf) < _RENEW_SECONDS:
                continue
            if self._workers.limit is not None and len(self._addresses) >= self._workers.limit:
                break
            if self._hosting is None or self._is_fit(address):
                self._addresses.append(address)
        for address in [address for address in self._busy if address not in present]:
            self._lose(self._busy.pop(address), f"the Dask worker at {address} has left the cluster")
        for task in self._busy.values():
            if self._running.get(task.spec.number) is not task:
                self._tell(task, dask_worker.kill_trial)
        if not self._addresses and not self._has_said_waiting:
            self._say("no Dask worker is there; waiting for one")
        self._has_said_waiting = not self._addresses

    def _present_workers(self) -> list[str]:
        """Their addresses; waits while the connection to the scheduler is broken and Dask tries to mend it."""
        client, until = self._connected, time.monotonic() + _RECONNECT_SECONDS
        while client.status != "closed" and time.monotonic() < until:
            try:
                if client.status == "running":
                    # again each time: after a new connection the scheduler knows nothing of it
                    client.subscribe_topic(self._topic, self._hear)
                    return list(client.nthreads())
            except OSError:  # what Dask raises for a broken connection is one
                pass
            time.sleep(_PAUSE_SECONDS)
        raise EngineError("the connection to the Dask scheduler was lost")

    def _lose(self, task: _Task, reason: str) -> None:
        if self._running.get(task.spec.number) is task:
            del self._running[task.spec.number]
            self._losses.append(LostWorker(task.spec.number, task.spec.attempt, reason))

    def _accept(self, run: str, event: EngineEvent | _TaskOver) -> EngineEvent | None:
        """Brings the books up to date; returns what concerns the caller."""
        task = next((task for task in self._busy.values() if task.is_meant_by(event)), None)
        if isinstance(event, _TaskOver) and task is not None:
            self._look()  # or a lost scheduler would look like lost workers
            word = task.last_word()
            if word is not None and task.run in ("", word[0]):
                run, event = word
        if task is None or task.address not in self._busy:
            return None
        number = task.spec.number
        is_running = self._running.get(number) is task
        if run and run != task.run:
            if task.run:
                if is_running:
                    self.kill(number, f"the Dask worker at {task.address} left the cluster and came back")
                return None
            task.run = run
        if isinstance(event, EpochReport):
            return event if is_running and self._is_new(task, event) else None
        del self._busy[task.address]
        if isinstance(event, _TaskOver):
            self._lose(task, event.how)
            return None
        if not is_running:
            return None
        del self._running[number]
        return event

    def _is_new(self, task: _Task, report: EpochReport) -> bool:
        """False for a report that was repeated because its answer was not heard; it is answered again."""
        if report.epoch > task.epoch:
            task.epoch, task.answer = report.epoch, None
            return True
        if report.epoch == task.epoch and task.answer is not None:
            self._tell(task, dask_worker.answer_trial, task.epoch, task.answer)
        return False

    def _hear(self, event: tuple[float, bytes]) -> None:
        """Called by Dask, in its own thread, with everything on the topic."""
        self._said.put(pickle.loads(event[1]))

    @staticmethod
    def _note_end(said: queue.SimpleQueue[_Said], future: Future) -> None:
        """Called by Dask, in a thread of its own, when a task is over; also when that is because the client closes."""
        error = future.exception() if future.status == "error" else None
        how = first_line(error) if error is not None else f"the Dask task is {future.status}"
        said.put(("", _TaskOver(future.key, how)))

    def _tell(self, task: _Task, function: Callable[..., None], *arguments: object) -> None:
        """Runs a function beside the task of a trial, and does not wait until it has."""
        client, spec = self._connected, task.spec

        async def tell() -> None:
            try:
                await client.run(
                    function, self._topic, spec.number, spec.attempt, *arguments,
                    workers=[task.address], on_error="ignore",
                )  # fmt: skip
            except OSError:
                return  # the scheduler is gone, which `_look` finds and reports

        client.loop.add_callback(tell)

    def _prepare_first_workers(self) -> None:
        """Starts the processes of the workers that are there, so that their imports go on while the driver prepares.

        Raises:
            ConfigError: a worker lacks galaxy_exp, or does not see the project's folder.
        """
        obstacle = self._prepare(self._addresses)
        if obstacle is not None:
            raise ConfigError(f"execution: {obstacle}")

    def _is_fit(self, address: str) -> bool:
        """Prepares a worker that came later; one that cannot run trials is told and left out, and asked again later."""
        obstacle = self._prepare([address])
        if obstacle is None:
            self._unfit.pop(address, None)
            return True
        if address not in self._unfit:
            self._say(f"left out: {obstacle}")
        self._unfit[address] = time.monotonic()
        return False

    def _prepare(self, addresses: Sequence[str]) -> str | None:
        """Starts the worker processes of some Dask workers; returns why one of them cannot run trials."""
        workers = list(addresses)
        try:
            missing = self._connected.run(dask_worker.missing_paths, (self._log_file.parent,), workers=workers)
            for address, paths in missing.items():
                if paths:
                    return (
                        f"the Dask worker at {address} has no {paths[0]}; "
                        "expected the project on a file system that all workers share, at the same path"
                    )
            self._connected.run(dask_worker.start_process, self._hosting, workers=workers)
        except (ImportError, OSError) as error:
            return f"a Dask worker cannot run trials: {first_line(error)}"
        return None

    async def _end_processes(self, client: Client) -> None:
        await client.run(dask_worker.end_process, self._topic, on_error="ignore")
