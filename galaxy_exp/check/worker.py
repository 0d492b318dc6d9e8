"""The probing process of `galaxy-exp check`: `python -m galaxy_exp.check.worker FD`.

It gets a `TrialSpec` and whether to time it over a pipe and answers with a `Probe`; then the next. Where memory runs
out, the system is asked to end this process before any other.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from galaxy_exp.execution.worker import die_with_parent

__all__ = ["main"]


def main(descriptor: int) -> None:
    """Serves one driver until it closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    die_with_parent(os.getppid())
    with suppress(OSError):  # not every system has it or lets it be changed
        Path("/proc/self/oom_score_adj").write_text("1000")
    with Connection(descriptor) as pipe:
        try:
            sys.path[:] = pipe.recv()
            from galaxy_exp.check.probing import probe_network  # the expensive import, while the driver is preparing

            while True:
                spec, with_timing = pipe.recv()
                pipe.send(probe_network(spec, with_timing=with_timing))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the driver is gone or has heard enough


if __name__ == "__main__":
    main(int(sys.argv[1]))
