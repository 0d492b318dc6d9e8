"""Runs a command in a folder and watches its time and memory."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

__all__ = [
    "ROOT",
    "CommandFailed",
    "Usage",
    "busy_seconds",
    "descendants",
    "free_port",
    "own_environment",
    "run_command",
    "wait_for_answer",
]

ROOT = Path(__file__).resolve().parent.parent
_SAMPLE_SECONDS = 0.5
"""Reading what processes share takes the kernel some 10 ms each; oftener would slow down what is measured."""
_MIB = 2**20
_LEFT_OUT = ("MLFLOW_", "GALAXY_EXP_HOME")
"""How variables begin that name stores and folders of the user."""


class CommandFailed(Exception):
    """A command ended with another exit code than 0; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took."""

    wall_seconds: float
    cpu_seconds: float
    """Of all its processes; other work on the machine shifts it less than the wall time."""
    other_cpu_seconds: float | None
    """Of everything else on the machine meanwhile; None where there is no /proc."""
    peak_process_mb: float
    """Resident memory of its largest process, MiB, from the kernel."""
    peak_total_mb: float | None
    """All its processes at once, shared pages counted once, MiB, sampled; None where there is no /proc."""


def run_command(command: Sequence[str], folder: Path, log: Path) -> Usage:
    """Runs a command in `folder`, its output in `log`.

    Raises:
        CommandFailed: it ended with another exit code than 0.
    """
    with log.open("wb") as output:
        began, busy_before = time.perf_counter(), busy_seconds()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=own_environment(),
        )
        status, rusage, peak_sampled = _watch(process.pid)
        wall = time.perf_counter() - began
        busy = busy_seconds() - busy_before
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise CommandFailed(f"exit code {process.returncode} from: {' '.join(command)}\n{tail}")
    peak_process = rusage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / _MIB
    own = rusage.ru_utime + rusage.ru_stime
    return Usage(wall, own, max(busy - own, 0.0) if busy else None, peak_process, peak_sampled or None)


def own_environment() -> dict[str, str]:
    """Of a command that keeps everything in its own folder and can import the benchmarks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **kept, "PYTHONPATH": os.pathsep.join(paths)}


def free_port() -> int:
    """A port of the loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_answer(url: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Returns when a server answers.

    Raises:
        RuntimeError: its process has ended, or it does not answer in time.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers at {url}; the exit code of its process is {process.poll()}")


def busy_seconds() -> float:
    """Processor time of the whole machine since it started; 0 where there is no /proc."""
    file = Path("/proc/stat")
    return parse_busy_ticks(file.read_text()) / os.sysconf("SC_CLK_TCK") if file.is_file() else 0.0


def parse_busy_ticks(text: str) -> int:
    """Of the first line of /proc/stat: user, nice, system, irq and softirq; neither idle, waiting, nor stolen."""
    user, nice, system, _idle, _waiting, irq, softirq = map(int, text.split()[1:8])
    return user + nice + system + irq + softirq


def _watch(pid: int) -> tuple[int, resource.struct_rusage, float]:
    """Waits; returns the wait status, the kernel's account and the sampled peak of all processes in MiB."""
    peak = 0.0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, usage, peak
        peak = max(peak, sum(_memory_mb(process.pid) for process in descendants(pid)))
        time.sleep(_SAMPLE_SECONDS)


def descendants(pid: int) -> list[psutil.Process]:
    """The process and everything it started; nothing if it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory_mb(pid: int) -> float:
    """Proportional set size; 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return parse_proportional_mb(text)


def parse_proportional_mb(text: str) -> float:
    """The `Pss:` line of /proc/PID/smaps_rollup in MiB; 0 without one."""
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1]) / 1024
