"""A worker process and the pipe to it, as seen by whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import psutil

from galaxy_exp.records import EpochReport, TrialResult, TrialSpec

__all__ = ["WORKER_MODULE", "WorkerDied", "WorkerProcess"]

WORKER_MODULE = "galaxy_exp.execution.worker"

_CLOSE_SECONDS = 5.0
_DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""Environment of the worker where the user's own does not say otherwise; the last is the memory growth of JAX."""


class WorkerDied(Exception):
    """The process is gone; says how it ended. It has been cleared away and can be started again."""


class WorkerProcess:
    """One worker process: trained in, killed, replaced.

    It is started as a module, not forked or re-imported from the caller's script, so that a sweep can be run
    from a notebook or an unguarded script. It is a process group of its own, so Ctrl-C in a terminal does not
    reach it, and it ends itself when the process that started it is gone.

    Args:
        log_file: where its stdout and stderr are appended.
        environment: variables that replace those of this process.
        import_paths: folders that are searched for modules after those of this process.
        max_growth: bytes of memory of its own that it may gain after its first trial before it is replaced.
        idle_seconds: after so long without a trial it ends; None: it waits for ever.
        module: what it runs; one that calls `galaxy_exp.execution.worker.main`.
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
        self._environment = dict(environment or {})
        self._import_paths = import_paths
        self._max_growth = max_growth
        self._idle_seconds = idle_seconds
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._first_size: int | None = None

    def start(self) -> None:
        """Starts it without waiting until it is ready; without effect while it lives."""
        if self._process is not None and self._process.poll() is None:
            return
        self.end()
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = Pipe()
        path = [*sys.path, *(folder for folder in self._import_paths if folder not in sys.path)]
        variables = {**_DEFAULTS, **os.environ, **self._environment}
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

    def send(self, message: TrialSpec | bool) -> None:
        """A trial, or the answer to a report. That the process is dead is not said here but by `receive`."""
        if self._pipe is not None:
            try:
                self._pipe.send(message)
            except (BrokenPipeError, ConnectionResetError):
                return

    def receive(self, timeout_seconds: float | None) -> EpochReport | TrialResult | None:
        """What it says next; None after the timeout. Between trials a process that has grown is replaced.

        Raises:
            WorkerDied: once.
        """
        if self._pipe is None:
            raise WorkerDied("the worker was never started")
        try:
            if not self._pipe.poll(timeout_seconds):
                return None
            event: EpochReport | TrialResult = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerDied(self.end()) from None
        if isinstance(event, TrialResult):
            self._replace_if_grown()
        return event

    def kill(self) -> None:
        """Ends it at once, whatever it is doing; may be called from any thread."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()

    def end(self) -> str:
        """Makes sure that it is dead, and returns how it ended."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is None:
            return "the worker was never started"
        try:
            # a closed pipe ends a healthy worker; one in the middle of an epoch would take too long
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(_CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        code = self._process.returncode
        self._process, self._pipe = None, None
        return _describe_exit(code, self._log_file)

    def _replace_if_grown(self) -> None:
        if self._process is None or self._max_growth is None:
            return
        try:
            size = _own_memory(self._process.pid)
        except psutil.NoSuchProcess:
            return
        if self._first_size is None:
            self._first_size = size
        elif size - self._first_size > self._max_growth:
            self.end()
            self.start()


def _own_memory(pid: int) -> int:
    """Resident bytes without what is shared with other processes, such as memory-mapped images."""
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _describe_exit(code: int, log_file: Path) -> str:
    if code >= 0:
        return f"worker ended with exit code {code}; see {log_file}"
    name = signal.Signals(-code).name
    hint = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"worker was ended by {name}{hint}; see {log_file}"
