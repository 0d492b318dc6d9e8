"""A worker: the process that trains networks, and `WorkerProcess`, with which another process starts and ends one.

The process is started as `python -m galaxy_exp.execution.worker FD`. It gets `TrialSpec`s over a pipe, trains them one
after the other, reports each epoch, and waits for the answer before it trains the next epoch. It keeps nothing between
trials, so it can be killed at any moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from io import TextIOWrapper
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import psutil

from galaxy_exp.deferred_imports import import_keras
from galaxy_exp.records import Decision, EpochReport, TrialResult, TrialSpec

__all__ = ["WORKER_MODULE", "RunTrial", "WorkerDied", "WorkerProcess", "die_with_parent", "end_processes", "main"]

WORKER_MODULE = "galaxy_exp.execution.worker"

RunTrial = Callable[[TrialSpec, Callable[[EpochReport], Decision]], TrialResult]
"""Trains one attempt at a trial; calls the function with each epoch's report and ends unless it answers CONTINUE."""

_EXIT_SECONDS = 0.2
_TERMINATE_SECONDS = 5.0
_PARENT_CHECK_SECONDS = 1.0
_KILLED_SECONDS = 0.05
"""Between the ends of a killed process's pipes and its own."""
_DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # memory growth of JAX
}
"""Environment variables of the process, unless the user's environment sets them."""


class WorkerDied(Exception):
    """The process has ended, with the reason as its message; it can be started again."""


class WorkerProcess:
    """Starts, restarts and ends one worker process, and exchanges messages with it.

    The process is started as a module and is neither forked nor re-imports the caller's script, so a sweep can run from
    a notebook or from a script without a main guard. It has a process group of its own, so Ctrl-C in a terminal does
    not reach it, and it ends when the process that started it has ended.

    Args:
        log_file: its stdout and stderr are appended to it.
        environment: variables that replace those of this process.
        import_paths: folders that are searched for modules after those of this process.
        max_growth: bytes of unshared memory that it may gain after its first trial before it is replaced.
        idle_seconds: it ends after this time without a trial; None: never.
        module: what it runs; a module that calls `galaxy_exp.execution.worker.main`.
    """

    def __init__(
        self,
        log_file: Path,
        *,
        environment: Mapping[str, str] | None = None,
        import_paths: Sequence[str] = (),
        max_growth: int | None = None,
        idle_seconds: float | None = None,
        module: str = WORKER_MODULE,
    ) -> None:
        self._log_file = log_file
        self.environment = dict(environment or {})
        """Variables that replace those of this process."""
        self._import_paths = import_paths
        self._max_growth = max_growth
        self._idle_seconds = idle_seconds
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._first_size: int | None = None

    @property
    def connection(self) -> Connection:
        """For `multiprocessing.connection.wait`: ready when there is a message or the process has ended.

        Raises:
            WorkerDied: the process was not started.
        """
        if self._pipe is None:
            raise WorkerDied("the worker was never started")
        return self._pipe

    def start(self) -> None:
        """Starts the process without waiting until it is ready; no effect while it is alive."""
        if self._process is not None and self._process.poll() is None:
            return
        self.end()
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = Pipe()
        path = [*sys.path, *(folder for folder in self._import_paths if folder not in sys.path)]
        variables = {**_DEFAULTS, **os.environ, **self.environment}
        with self._log_file.open("ab") as log, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={**variables, "PYTHONPATH": os.pathsep.join(filter(None, path))},
                process_group=0,
            )
        self._pipe = ours
        self._first_size = None
        ours.send((path, self._idle_seconds))

    def send(self, message: TrialSpec | Decision) -> None:
        """Sends a trial, or the answer to a report; if the process has died, `receive` reports it."""
        if self._pipe is not None:
            try:
                self._pipe.send(message)
            except (BrokenPipeError, ConnectionResetError):
                return

    def receive(self, timeout_seconds: float | None) -> EpochReport | TrialResult | None:
        """The next message; None after the timeout. Between trials a process that has grown too much is replaced.

        Raises:
            WorkerDied: once for each death.
        """
        pipe = self.connection
        try:
            if not pipe.poll(timeout_seconds):
                return None
            event: EpochReport | TrialResult = pipe.recv()
        except (EOFError, OSError):
            raise WorkerDied(self.end()) from None
        if isinstance(event, TrialResult):
            self._replace_if_grown()
        return event

    def kill(self) -> None:
        """Kills the process, and those that it started, at once; may be called from any thread."""
        process = self._process
        if process is not None:  # it may be dead, and what it started alive
            _kill_group(process.pid)

    def disconnect(self) -> None:
        """Closes the pipe, which ends an idle process."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def terminate(self, deadline: float) -> None:
        """Asks the process to end if it has not ended by itself at `deadline` (of `time.monotonic`)."""
        if self._process is not None:
            try:
                self._process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.terminate()

    def end(self) -> str:
        """Ends the process, and those that it left behind, and waits until it has ended; returns how it ended."""
        self.disconnect()
        if self._process is None:
            return "the worker was never started"
        self.terminate(time.monotonic() + _EXIT_SECONDS)
        if self._process.poll() is None:
            try:
                self._process.wait(_TERMINATE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        _kill_group(self._process.pid)
        code = self._process.returncode
        self._process = None
        return _describe_exit(code, self._log_file)

    def _replace_if_grown(self) -> None:
        if self._process is None or self._max_growth is None:
            return
        try:
            size = _unshared_memory(self._process.pid)
        except psutil.NoSuchProcess:
            return
        if self._first_size is None:
            self._first_size = size
        elif size - self._first_size > self._max_growth:
            self.end()
            self.start()


def end_processes(processes: Iterable[WorkerProcess]) -> None:
    """Ends several processes at the same time and waits until all have ended."""
    processes = list(processes)
    for process in processes:
        process.disconnect()
    deadline = time.monotonic() + _EXIT_SECONDS
    for process in processes:
        process.terminate(deadline)
    for process in processes:
        process.end()


def main(descriptor: int, find_run_trial: Callable[[], RunTrial] | None = None, doing: str = "begins") -> None:
    """Runs in the worker process until the process that started it closes the pipe or dies.

    Args:
        descriptor: of the pipe.
        find_run_trial: returns the function that runs a trial; called before the first trial, so it may do slow
            imports. None: the function that trains networks.
        doing: what the function does with a trial, for the log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the driver
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a killed process leaves all that it printed in the log
    parent = os.getppid()
    die_with_parent(parent)
    with Connection(descriptor) as pipe:
        os.register_at_fork(after_in_child=pipe.close)  # else the driver could not see the end of this process
        try:
            _serve(pipe, find_run_trial or _find_training, doing)
        except (EOFError, BrokenPipeError, ConnectionResetError):  # nobody is left who could want a result
            time.sleep(_KILLED_SECONDS)
            if os.getppid() != parent:
                _die()


def die_with_parent(parent: int) -> None:
    """Ends this process, and what it started, within a second after its parent has ended, even in an epoch."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        _die()

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _die() -> None:
    if os.getpgrp() == os.getpid():
        _kill_group(os.getpid())
    os._exit(1)


def _kill_group(leader: int) -> None:
    """Kills a process with a group of its own, and what it started, such as the processes that load a user's images."""
    with suppress(ProcessLookupError, PermissionError):  # the latter on macOS, where only a zombie is left
        os.killpg(leader, signal.SIGKILL)


def _find_training() -> RunTrial:
    import_keras()
    from galaxy_exp.training.trial import run_trial

    return run_trial


def _serve(pipe: Connection, find_run_trial: Callable[[], RunTrial], doing: str) -> None:
    sys.path[:], idle_seconds = pipe.recv()
    run_trial = find_run_trial()  # imports TensorFlow while the driver prepares the sweep
    _log("is ready")

    def report(epoch: EpochReport) -> Decision:
        pipe.send(epoch)
        decision: Decision = pipe.recv()
        return decision

    while pipe.poll(idle_seconds):
        spec: TrialSpec = pipe.recv()
        _log(f"{doing} trial {spec.number}, attempt {spec.attempt}")
        pipe.send(run_trial(spec, report))


def _log(what: str) -> None:
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    with suppress(OSError):  # a full disk is no reason to lose a trial
        os.write(1, f"{now} worker {os.getpid()} {what}\n".encode())


def _unshared_memory(pid: int) -> int:
    """Resident bytes that are not shared with other processes, as memory-mapped images are."""
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _describe_exit(code: int, log_file: Path) -> str:
    if code >= 0:
        return f"worker ended with exit code {code}; see {log_file}"
    name = signal.Signals(-code).name
    hint = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"worker was ended by {name}{hint}; see {log_file}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
