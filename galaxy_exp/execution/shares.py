"""How workers share the cores and GPUs of a machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["available_cores", "gpu_environment", "thread_environment", "threads_each", "visible_gpus"]

_THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
)
"""Read by TensorFlow (the first two), by OpenMP, by two BLAS libraries, and by the CPU client of JAX."""


def available_cores() -> int:
    """Cores that this process may use: a batch system or container may have given it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(n_cores: int, n_workers: int) -> int:
    """Threads for each worker, so that all together have no more than there are cores; at least one."""
    return max(1, n_cores // n_workers)


def thread_environment(n_threads: int) -> dict[str, str]:
    """What tells the libraries under a worker how many threads to use."""
    return dict.fromkeys(_THREAD_VARIABLES, str(n_threads))


def visible_gpus(environment: Mapping[str, str], device_names: Sequence[str] | None = None) -> list[str]:
    """The GPUs that a process may use, as `CUDA_VISIBLE_DEVICES` names them.

    Args:
        environment: of the process; its own CUDA_VISIBLE_DEVICES decides if it is set.
        device_names: of the files in /dev; None looks there.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        # CUDA ignores everything from the first -1 on
        return [name for name in (names[: names.index("-1")] if "-1" in names else names) if name]
    if device_names is None:
        device_names = [path.name for path in Path("/dev").glob("nvidia*")]
    return [str(index) for index in range(sum(bool(re.fullmatch(r"nvidia\d+", name)) for name in device_names))]


def gpu_environment(gpus: Sequence[str], workers_per_gpu: int, position: int) -> dict[str, str]:
    """The GPU of one worker, by its position among all: neighbours share one, and beyond the last it goes round.

    Returns:
        Nothing without GPUs.
    """
    return {"CUDA_VISIBLE_DEVICES": gpus[position // workers_per_gpu % len(gpus)]} if gpus else {}
