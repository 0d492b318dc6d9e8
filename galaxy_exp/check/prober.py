"""The driver's end of the probing process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any

from galaxy_exp.check.findings import Probe
from galaxy_exp.records import TrialSpec

__all__ = ["Prober"]

_CLOSE_SECONDS = 0.2


class Prober:
    """Looks at networks in a process of its own, so that one that takes all memory ends nothing else.

    The process is started at once, and again after it died. It is a process group of its own: Ctrl-C reaches this one
    only, which ends it on leaving the context.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._log: Any = None

    def __enter__(self) -> Prober:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def probe(self, spec: TrialSpec, *, with_timing: bool) -> Probe:
        """What the network of a trial is like; if it kills the process, that is its problem."""
        pipe = self._start()
        try:
            pipe.send((spec, with_timing))
            found: Probe = pipe.recv()
        except (EOFError, OSError):
            return Probe(problem=self._end())
        return found

    def _start(self) -> Connection:
        if self._pipe is not None:
            return self._pipe
        ours, theirs = Pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_end`
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "galaxy_exp.check.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={
                    "TF_CPP_MIN_LOG_LEVEL": "2",
                    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                process_group=0,
            )
        ours.send(list(sys.path))
        self._pipe = ours
        return ours

    def _end(self) -> str:
        """Makes sure that the process is gone; returns how it ended."""
        if self._pipe is None or self._process is None:
            return "never started"
        self._pipe.close()
        try:
            # a process that died by itself may still be on its way out
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.close()
        self._pipe = self._process = None
        return _describe_end(code, said)


def _describe_end(code: int, said: list[str]) -> str:
    if code == -signal.SIGKILL:
        return "its process was ended by the system, most likely for want of memory"
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"its process {how}" + (f" ({said[-1]})" if said else "")
