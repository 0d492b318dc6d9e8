"""Worker processes that train the same network at the same time, to be measured together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from galaxy_exp.execution.process import WorkerDied, WorkerProcess
from galaxy_exp.records import EpochReport, TrialSpec

__all__ = ["Memory", "NotMeasuredError", "ProcessTeam"]

_MODULE = "galaxy_exp.execution.throughput_worker"

_PATIENCE_SECONDS = 120.0
"""For all processes to build their networks, or to get through a window."""


class NotMeasuredError(Exception):
    """Why a team could not be measured, in one line."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    of_each: int
    """What a process of the team has held at most; 0: not known."""
    limit: int
    """Of the machine, or of the control group."""


class ProcessTeam:
    """So many processes, each with its share of the threads.

    Args:
        number: of processes.
        environment: of each; see `thread_environment`.
        log_file: where they print.
    """

    def __init__(self, number: int, environment: Mapping[str, str], log_file: Path) -> None:
        self._processes = [WorkerProcess(log_file, environment=environment, module=_MODULE) for _ in range(number)]

    def start(self) -> None:
        """Starts the processes, and with them their imports, without waiting."""
        for process in self._processes:
            process.start()

    def load(self, spec: TrialSpec) -> Memory:
        """Has each build the network and train its first steps.

        Raises:
            NotMeasuredError: one of them cannot.
        """
        self.start()
        for process in self._processes:
            process.send(spec)
        metrics = [report.metrics for report in self._hear()]
        return Memory(
            int(max(each["memory_bytes"] for each in metrics)), int(min(each["memory_limit"] for each in metrics))
        )

    def measure(self) -> float:
        """Has all of them train for a while at the same time; images/s of all together.

        Raises:
            NotMeasuredError: one of them died or failed.
        """
        for process in self._processes:
            process.send(True)
        return sum(report.metrics["images_per_second"] for report in self._hear())

    def end(self) -> None:
        """Ends all processes; may be called twice."""
        for process in self._processes:
            process.kill()  # there is nothing in them to be lost
        for process in self._processes:
            process.end()

    def _hear(self) -> list[EpochReport]:
        """What each says next."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        reports = []
        for process in self._processes:
            try:
                event = process.receive(max(0.0, deadline - time.monotonic()))
            except WorkerDied as death:
                raise NotMeasuredError(str(death)) from None
            if event is None:
                raise NotMeasuredError(f"it takes more than {_PATIENCE_SECONDS:g} s")
            if not isinstance(event, EpochReport):
                raise NotMeasuredError(event.reason)
            reports.append(event)
        return reports
