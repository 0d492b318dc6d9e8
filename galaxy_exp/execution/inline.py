"""The inline engine: one worker process beside the driver, talked to over a pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from galaxy_exp.execution.engine import EngineEvent, LostWorker
from galaxy_exp.records import EpochReport, TrialResult, TrialSpec

__all__ = ["InlineEngine"]

_CLOSE_SECONDS = 5.0
_WORKER_DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""Environment of the worker where the user's own does not say otherwise."""


class InlineEngine:
    """Runs one trial at a time in a process of its own, so that a crash takes the trial and not the sweep.

    The worker is started as a module, not forked or re-imported from the caller's script, so that a sweep
    can be run from a notebook or an unguarded script. It is a process group of its own: Ctrl-C reaches
    the driver only.

    Args:
        log_file: where the worker's stdout and stderr go.
    """

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._current: TrialSpec | None = None

    def start(self) -> None:
        """See `Engine.start`."""
        if self._process is not None:
            return
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = Pipe()
        with self._log_file.open("ab") as log, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "galaxy_exp.execution.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={**_WORKER_DEFAULTS, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,
            )
        self._pipe = ours
        ours.send(list(sys.path))

    def free_slots(self) -> int:
        """See `Engine.free_slots`."""
        return 0 if self._current else 1

    def submit(self, spec: TrialSpec) -> None:
        """See `Engine.submit`."""
        if self._current is not None:
            raise RuntimeError(f"the worker is busy with trial {self._current.number}")
        self.start()
        self._current = spec
        self._send(spec)

    def next_event(self, timeout_seconds: float | None = None) -> EngineEvent | None:
        """See `Engine.next_event`."""
        if self._current is None or self._pipe is None:
            return None
        try:
            if not self._pipe.poll(timeout_seconds):
                return None
            event: EpochReport | TrialResult = self._pipe.recv()
        except (EOFError, OSError):
            return self._lose_worker()
        if isinstance(event, TrialResult):
            self._current = None
        return event

    def answer(self, number: int, go_on: bool) -> None:
        """See `Engine.answer`."""
        if self._current is not None and self._current.number == number:
            self._send(go_on)

    def close(self) -> None:
        """See `Engine.close`."""
        self._current = None
        self._end_process()

    def _send(self, message: TrialSpec | bool | None) -> None:
        """A broken pipe is not reported here: `next_event` finds it and says which trial is lost."""
        if self._pipe is not None:
            try:
                self._pipe.send(message)
            except (BrokenPipeError, ConnectionResetError):
                return

    def _lose_worker(self) -> LostWorker:
        spec = self._current
        assert spec is not None
        reason = self._end_process()
        self._current = None
        self.start()
        return LostWorker(spec.number, spec.attempt, reason)

    def _end_process(self) -> str:
        """Makes sure the worker is dead and returns how it ended."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is None:
            return "never started"
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


def _describe_exit(code: int, log_file: Path) -> str:
    if code >= 0:
        return f"worker ended with exit code {code}; see {log_file}"
    name = signal.Signals(-code).name
    hint = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"worker was ended by {name}{hint}; see {log_file}"
