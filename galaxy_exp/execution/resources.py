"""How workers share the cores and GPUs of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import ConfigError

__all__ = [
    "available_cores",
    "count_workers",
    "gpu_environment",
    "refuse_too_many",
    "thread_environment",
    "threads_each",
    "visible_gpus",
    "worker_environments",
]

_THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
)
"""Read by TensorFlow (the first two), by OpenMP, by two BLAS libraries, and by the CPU client of JAX."""

WORKER_BYTES = 200 * 2**20
"""Memory that a worker with TensorFlow has for itself before its first trial: 240 MB, and some for other backends."""


def refuse_too_many(config: ExecutionConfig, memory: int | None = None) -> None:
    """Refuses a stated number of workers that this machine could not even start.

    Args:
        memory: bytes of the machine's memory; None: they are looked up.

    Raises:
        ConfigError: they have no room in memory.
    """
    memory = memory or psutil.virtual_memory().total
    number = config.workers
    if config.is_local and isinstance(number, int) and number * WORKER_BYTES > memory:
        needed = number * WORKER_BYTES
        raise ConfigError(
            f"execution.workers: {number} workers need {needed / 2**30:.0f} GiB before they train anything, and this "
            f"machine has {memory / 2**30:.0f} GiB; expected at most {memory // WORKER_BYTES}, and rather as many as "
            f"there are cores, {available_cores()}"
        )


def count_workers(config: ExecutionConfig) -> int:
    """Workers on this machine: the configured number, else `workers_per_gpu` for each GPU, at least one."""
    if config.engine == "inline":
        return 1
    if config.workers == "auto":
        raise ValueError("workers: auto has to be replaced by a number before the workers are counted")
    return config.workers or max(1, len(visible_gpus(os.environ)) * config.workers_per_gpu)


def worker_environments(config: ExecutionConfig) -> list[dict[str, str]]:
    """Environment variables of each worker on this machine: its threads and its GPU.

    A single worker may use all that this process may use, unless `execution.threads` is set.
    """
    n_workers = count_workers(config)
    if n_workers == 1:
        return [thread_environment(config.threads) if config.threads else {}]
    threads = thread_environment(config.threads or threads_each(available_cores(), n_workers))
    gpus = visible_gpus(os.environ)
    return [threads | gpu_environment(gpus, config.workers_per_gpu, position) for position in range(n_workers)]


def available_cores() -> int:
    """Cores that this process may use; a batch system or container can allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(n_cores: int, n_workers: int) -> int:
    """Threads of each worker, so that all together have at most one for each core; at least one."""
    return max(1, n_cores // n_workers)


def thread_environment(n_threads: int) -> dict[str, str]:
    """Environment variables that limit the threads of the numerical libraries."""
    return dict.fromkeys(_THREAD_VARIABLES, str(n_threads))


def visible_gpus(environment: Mapping[str, str], device_names: Sequence[str] | None = None) -> list[str]:
    """The GPUs that a process may use, in the notation of `CUDA_VISIBLE_DEVICES`.

    Args:
        environment: of the process; if CUDA_VISIBLE_DEVICES is set in it, only that counts.
        device_names: names of the files in /dev; None: they are listed.
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
    """The GPU of the worker at a position: neighbours share one, and after the last GPU the first one follows.

    Returns:
        An empty dictionary if there are no GPUs.
    """
    return {"CUDA_VISIBLE_DEVICES": gpus[position // workers_per_gpu % len(gpus)]} if gpus else {}
