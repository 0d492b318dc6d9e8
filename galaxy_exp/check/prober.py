"""The probing process of `galaxy-exp check` (`python -m galaxy_exp.check.prober FD`), and how to use it."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from galaxy_exp.deferred_imports import import_keras
from galaxy_exp.execution.worker import WorkerDied, WorkerProcess, main
from galaxy_exp.records import Decision, EpochReport, Probe, TrialSpec

__all__ = ["Prober"]

_LOG_LINE = re.compile(r"\S+ worker \d+ ")
"""How lines of the log begin that are the worker's own."""


class Prober:
    """Builds networks in a separate process, so that one that takes all memory ends nothing else.

    The process is started at once, and again after it died; it ends with the context.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="galaxy_exp_check_")
        self._log = Path(self._folder.name, "worker.log")
        self._process = WorkerProcess(self._log, module="galaxy_exp.check.prober")

    def __enter__(self) -> Prober:
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.end()
        self._folder.cleanup()

    def probe(self, spec: TrialSpec, *, with_timing: bool) -> Probe:
        """Finds out about the network of a trial; a network that kills the process has that as its problem."""
        self._process.start()
        printed_before = self._log.stat().st_size
        self._process.send(spec)
        try:
            self._process.receive(None)  # the question whether to time it
            self._process.send(Decision.CONTINUE if with_timing else Decision.STOP)
            found: Any = self._process.receive(None)
        except WorkerDied as died:
            return Probe(problem=self._describe_end(str(died), printed_before))
        assert isinstance(found, Probe)
        return found

    def _describe_end(self, message: str, printed_before: int) -> str:
        if "SIGKILL" in message:
            return "its process was ended by the system, probably because memory ran out"
        lines = self._log.read_bytes()[printed_before:].decode("utf-8", "replace").strip().splitlines()
        printed = [line for line in lines if not _LOG_LINE.match(line)]
        how = message.removeprefix("worker ").partition("; see ")[0]
        return f"its process {how}" + (f" ({printed[-1]})" if printed else "")


def _find_probing() -> Any:
    """Imports Keras and its backend."""
    import_keras()
    from galaxy_exp.check.probing import probe_network

    def probe(spec: TrialSpec, ask: Callable[[EpochReport], Decision]) -> Probe:
        answer = ask(EpochReport(spec.number, spec.attempt, 0, {}))
        return probe_network(spec, with_timing=answer is Decision.CONTINUE)

    return probe


if __name__ == "__main__":
    with suppress(OSError):  # where memory runs out, the system should end this process before any other
        Path("/proc/self/oom_score_adj").write_text("1000")
    main(int(sys.argv[1]), _find_probing, "probes the network of")
