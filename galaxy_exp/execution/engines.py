"""The engine that a sweep file asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.execution.engine import Engine
from galaxy_exp.execution.inline import InlineEngine
from galaxy_exp.execution.process import WorkerProcess
from galaxy_exp.execution.shares import thread_environment, visible_gpus

__all__ = ["build_engine", "count_workers", "is_inline"]


def build_engine(config: ExecutionConfig, log_file: Path, say: Callable[[str], None] = lambda _: None) -> Engine:
    """The engine, not started yet.

    Args:
        config: what the sweep file says, with a number of workers in place of `auto`.
        log_file: where workers print.
        say: takes a line about what the engine waits for.
    """
    max_growth = int(config.max_memory_growth * 2**30)
    if is_inline(config):
        environment = thread_environment(config.threads) if config.threads else {}
        return InlineEngine(WorkerProcess(log_file, environment=environment, max_growth=max_growth))
    from galaxy_exp.execution.dask_engine import DaskEngine, LocalWorkers, RunningCluster, SlurmJobs, Workers

    workers: Workers
    if config.cluster is not None:
        workers = SlurmJobs(_settled(config) or 1, config.cluster_options, log_file.with_suffix(".tls"))
    elif config.scheduler is not None or config.scheduler_file is not None:
        file = Path(config.scheduler_file).resolve() if config.scheduler_file else None
        workers = RunningCluster(config.scheduler, file, _settled(config))
    else:
        workers = LocalWorkers(count_workers(config), config.threads, config.workers_per_gpu)
    return DaskEngine(workers, log_file, max_growth=max_growth, say=say)


def is_inline(config: ExecutionConfig) -> bool:
    """Whether one worker process beside the driver is all that was asked for."""
    if config.engine is not None:
        return config.engine == "inline"
    elsewhere = config.scheduler or config.scheduler_file or config.cluster
    return not elsewhere and count_workers(config) == 1


def count_workers(config: ExecutionConfig) -> int:
    """Worker processes on this machine: as many as asked for, else `workers_per_gpu` for each GPU, at least one."""
    return _settled(config) or max(1, len(visible_gpus(os.environ)) * config.workers_per_gpu)


def _settled(config: ExecutionConfig) -> int | None:
    if config.workers == "auto":
        raise ValueError("workers: auto has to be settled before there is an engine")
    return config.workers
