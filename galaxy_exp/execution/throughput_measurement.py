"""Measures how many workers train fastest together on the cores of this machine, for `execution.workers: auto`.

The measuring processes run this module: `python -m galaxy_exp.execution.throughput_measurement FD`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from galaxy_exp.execution.resources import threads_each
from galaxy_exp.execution.worker import RunTrial, WorkerDied, WorkerProcess, end_processes, main
from galaxy_exp.records import Decision, EpochReport, Throughput, TrialSpec

__all__ = [
    "Measurements",
    "MeasuringProcesses",
    "Memory",
    "NotMeasuredError",
    "Split",
    "ThroughputMeasurement",
    "choose",
    "explain",
    "possible_splits",
]

TOLERANCE = 0.05
"""A split that is slower than the fastest by no more than this counts as equally fast. Of these, the one with the
fewest workers is chosen: more results are known at each proposal, and one worker alone trains the same proposals in
every run."""

ROUNDS = 3
"""Measurements of each of two splits that are compared."""

_MEMORY_FRACTION = 0.8
"""Of the machine's memory; the rest is for the driver and the system."""

_TIMEOUT_SECONDS = 120.0
"""For all processes to build their networks, or to complete one measurement."""


class NotMeasuredError(Exception):
    """Why the throughput could not be measured, in one line."""


@dataclass(frozen=True, slots=True)
class Split:
    """One way to share the cores."""

    workers: int
    threads: int
    """Of each worker."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in bytes."""

    of_each: int
    """The largest amount that any of the processes has held; 0: unknown."""
    limit: int
    """Of the machine, or of the control group."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """The measured splits, the fewest workers first, and why no more were measured."""

    measured: tuple[Throughput, ...]
    note: str = ""
    """Empty if nothing prevented further measurements."""


class MeasuringProcesses:
    """Processes that train the same network at the same time.

    Args:
        environment: variables of each process; see `thread_environment`.
        log_file: the processes print to it.
    """

    def __init__(self, number: int, environment: Mapping[str, str], log_file: Path) -> None:
        module = "galaxy_exp.execution.throughput_measurement"
        self._processes = [WorkerProcess(log_file, environment=environment, module=module) for _ in range(number)]

    def start(self) -> None:
        """Starts the processes, which begin with their imports, without waiting."""
        for process in self._processes:
            process.start()

    def load(self, spec: TrialSpec) -> Memory:
        """Lets each process build the network and train its first steps.

        Raises:
            NotMeasuredError: one of them died or failed.
        """
        self.start()
        for process in self._processes:
            process.send(spec)
        metrics = [report.metrics for report in self._next_reports()]
        return Memory(
            int(max(each["memory_bytes"] for each in metrics)), int(min(each["memory_limit"] for each in metrics))
        )

    def measure(self) -> float:
        """Lets all processes train for about a second; images/s of all together.

        Raises:
            NotMeasuredError: one of them died or failed.
        """
        for process in self._processes:
            process.send(Decision.CONTINUE)
        return sum(report.metrics["images_per_second"] for report in self._next_reports())

    def end(self) -> None:
        """Ends all processes; may be called twice."""
        for process in self._processes:
            process.kill()
        end_processes(self._processes)

    def _next_reports(self) -> list[EpochReport]:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        reports = []
        for process in self._processes:
            try:
                event = process.receive(max(0.0, deadline - time.monotonic()))
            except WorkerDied as death:
                raise NotMeasuredError(str(death)) from None
            if event is None:
                raise NotMeasuredError(f"it takes more than {_TIMEOUT_SECONDS:g} s")
            if not isinstance(event, EpochReport):
                raise NotMeasuredError(event.reason)
            reports.append(event)
        return reports


class ThroughputMeasurement:
    """Measures splits of the cores with more and more workers, as long as more workers are faster.

    Two splits are measured in turns, so that other work on the machine slows both down equally. The workers of the
    first two are started before the network is known, since that takes several seconds.

    Args:
        splits: the fewest workers first; at least two.
        open_workers: makes the workers of a split without starting them.
    """

    def __init__(self, splits: Sequence[Split], open_workers: Callable[[Split], MeasuringProcesses]) -> None:
        self._splits = splits
        self._open_workers = open_workers
        self._workers: dict[Split, MeasuringProcesses] = {}

    def start(self) -> None:
        """Starts the workers of the first two splits without waiting."""
        for split in self._splits[:2]:
            self._workers_of(split).start()

    def run(self, spec: TrialSpec) -> Measurements:
        """Measures with the network of a trial, and ends all workers."""
        try:
            return self._measure_splits(spec)
        finally:
            self.close()

    def close(self) -> None:
        """Ends all workers; may be called twice."""
        while self._workers:
            self._workers.popitem()[1].end()

    def _measure_splits(self, spec: TrialSpec) -> Measurements:
        measured: list[Throughput] = []
        slower = self._splits[0]
        try:
            memory = self._workers_of(slower).load(spec)
        except NotMeasuredError as error:
            return Measurements((), f"its training could not be measured: {error}")
        for split in self._splits[1:]:
            # the workers of both splits exist at once, so networks larger than this one will fit as well
            if memory.of_each * (slower.workers + split.workers) > _MEMORY_FRACTION * memory.limit:
                return Measurements(tuple(measured), f"{split.workers} could need more memory than this machine has")
            try:
                memory = self._workers_of(split).load(spec)
                before, now = self._compare(slower, split)
            except NotMeasuredError as error:
                return Measurements(tuple(measured), f"{split.workers} could not be measured: {error}")
            if not measured:
                measured.append(Throughput(slower.workers, slower.threads, before))
            measured.append(Throughput(split.workers, split.threads, now))
            if now < before:
                break
            self._workers.pop(slower).end()
            slower = split
        return Measurements(tuple(measured))

    def _workers_of(self, split: Split) -> MeasuringProcesses:
        if split not in self._workers:
            self._workers[split] = self._open_workers(split)
        return self._workers[split]

    def _compare(self, one: Split, other: Split) -> tuple[float, float]:
        """Median images/s of two splits that are measured in turns."""
        rates: dict[Split, list[float]] = {one: [], other: []}
        for number in range(ROUNDS):
            for split in (one, other) if number % 2 == 0 else (other, one):
                rates[split].append(self._workers[split].measure())
        return statistics.median(rates[one]), statistics.median(rates[other])


def possible_splits(n_cores: int, threads: int | None = None) -> list[Split]:
    """1, 2, 4, ... workers, up to one for each core, or for each `threads` cores."""
    most = max(1, n_cores // (threads or 1))
    numbers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [Split(number, threads or threads_each(n_cores, number)) for number in [*numbers, most]]


def choose(measured: Sequence[Throughput]) -> Throughput:
    """The fewest workers that are as fast as the fastest, within `TOLERANCE`."""
    enough = (1 - TOLERANCE) * max(each.images_per_second for each in measured)
    return min((each for each in measured if each.images_per_second >= enough), key=lambda each: each.workers)


def explain(measurements: Measurements) -> str:
    """The chosen number of workers and the reason for it, in one line."""
    if not measurements.measured:
        return f"1; {measurements.note}"
    chosen = choose(measurements.measured)
    others = [each for each in measurements.measured if each != chosen]
    other = others[0] if chosen.workers > 1 else max(others, key=lambda each: each.images_per_second)
    line = (
        f"{chosen.workers} of {_count(chosen.threads, 'thread')}{' each' if chosen.workers > 1 else ''}: "
        f"{chosen.images_per_second:.0f} images/s{' together' if chosen.workers > 1 else ''}, against "
        f"{other.images_per_second:.0f} with {_count(other.workers, 'worker')}"
    )
    if other.images_per_second > chosen.images_per_second:
        line += f", which is no more than {TOLERANCE:.0%} faster"
    return f"{line}; {measurements.note}" if measurements.note else line


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _find_measuring() -> RunTrial:
    from galaxy_exp.training.throughput import measure_throughput

    return measure_throughput


if __name__ == "__main__":
    with suppress(OSError):  # if memory runs out, the system should end this process first; Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")
    main(int(sys.argv[1]), _find_measuring, "measures with the network of")
