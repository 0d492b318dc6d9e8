"""What a process keeps in memory of its own, apart from files that the kernel maps and may drop."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PeakMemory", "parse_rollup", "peak_rss_mb", "watch_memory"]

SAMPLE_SECONDS = 0.25
"""Oftener would slow down a process that maps gigabytes: the kernel walks through its pages each time."""


@dataclass(slots=True)
class PeakMemory:
    """Largest values seen, MiB; 0 where there is no /proc."""

    anonymous_mb: float = 0.0
    """Written by the process itself: nothing of it is page cache."""
    mapped_mb: float = 0.0
    """The rest of its resident pages: mapped files, which the kernel shares between workers and drops at need."""
    samples: int = 0


def parse_rollup(text: str) -> tuple[float, float]:
    """Anonymous and resident memory in MiB, from /proc/PID/smaps_rollup; 0 for what is not there."""
    kib = {"Anonymous:": 0, "Rss:": 0}
    for line in text.splitlines():
        name, *rest = line.split()
        if name in kib:
            kib[name] = int(rest[0])
    return kib["Anonymous:"] / 1024, kib["Rss:"] / 1024


def peak_rss_mb() -> float:
    """The kernel's peak of this process' resident memory, mapped files included, in MiB (on macOS it counts bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def watch_memory() -> Iterator[PeakMemory]:
    """Samples this process in a thread while the block runs."""
    peak, stop = PeakMemory(), threading.Event()
    thread = threading.Thread(target=_sample, args=(peak, stop), daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _sample(peak: PeakMemory, stop: threading.Event) -> None:
    rollup = Path("/proc/self/smaps_rollup")
    while rollup.is_file():
        anonymous, resident = parse_rollup(rollup.read_text())
        peak.anonymous_mb = max(peak.anonymous_mb, anonymous)
        peak.mapped_mb = max(peak.mapped_mb, resident - anonymous)
        peak.samples += 1
        if stop.wait(SAMPLE_SECONDS):
            return
