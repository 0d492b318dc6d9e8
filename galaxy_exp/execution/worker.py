"""The worker process: `python -m galaxy_exp.execution.worker FD`.

It gets `TrialSpec`s over a pipe, trains them one after the other, reports each epoch and waits for the
answer. It keeps nothing between trials, so it may be killed at any moment. As several workers print into one log, it
says there when it is ready and which trial comes next.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from io import TextIOWrapper
from multiprocessing.connection import Connection

from galaxy_exp.records import EpochReport, TrialResult, TrialSpec

__all__ = ["RunTrial", "die_with_parent", "main"]

RunTrial = Callable[[TrialSpec, Callable[[EpochReport], bool]], TrialResult]
"""Carries out one execution; it reports each epoch and is told whether to go on."""

_PARENT_CHECK_SECONDS = 1.0


def _find_training() -> RunTrial:
    """What trains a network; imports TensorFlow."""
    from galaxy_exp.training.trial import run_trial

    return run_trial


def main(descriptor: int, find_run_trial: Callable[[], RunTrial] = _find_training, doing: str = "begins") -> None:
    """Serves one driver until it closes the pipe or dies.

    Args:
        descriptor: of the pipe.
        find_run_trial: gives what carries out the trials; called before there is one, so it may take its time.
        doing: what it does with a trial, for the log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is printed is in the log even if the process is killed
    die_with_parent(os.getppid())
    with Connection(descriptor) as pipe:
        try:
            _serve(pipe, find_run_trial, doing)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the driver is gone, and with it everyone who could want a result


def _serve(pipe: Connection, find_run_trial: Callable[[], RunTrial], doing: str) -> None:
    sys.path[:], idle_seconds = pipe.recv()
    run_trial = find_run_trial()  # the expensive import, while the driver is still preparing
    _log("is ready")

    def report(epoch: EpochReport) -> bool:
        pipe.send(epoch)
        go_on: bool = pipe.recv()
        return go_on

    while pipe.poll(idle_seconds):
        spec: TrialSpec = pipe.recv()
        _log(f"{doing} trial {spec.number}, attempt {spec.attempt}")
        pipe.send(run_trial(spec, report))


def _log(what: str) -> None:
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    with suppress(OSError):  # no trial is lost because there is no room for a log
        os.write(1, f"{now} worker {os.getpid()} {what}\n".encode())


def die_with_parent(parent: int) -> None:
    """Ends this process soon after its driver is gone, even in the middle of an epoch."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
