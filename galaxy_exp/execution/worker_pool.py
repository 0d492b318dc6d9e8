"""The workers of one sweep, and the engine that runs trials on them."""

from __future__ import annotations

import os
from pathlib import Path

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.engine import Engine, LocalEngine
from galaxy_exp.execution.resources import (
    available_cores,
    refuse_too_many,
    thread_environment,
    visible_gpus,
    worker_environments,
)
from galaxy_exp.execution.throughput_measurement import (
    MeasuringProcesses,
    Split,
    ThroughputMeasurement,
    choose,
    explain,
    possible_splits,
)
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.journal.events import WorkersChosen
from galaxy_exp.records import TrialSpec
from galaxy_exp.wording import Say

__all__ = ["WorkerPool", "build_engine"]


class WorkerPool:
    """Starts and ends the workers of one sweep; with `execution.workers: auto` it first finds out their number.

    Args:
        log_file: the workers print to it.
        known: the number that `auto` was replaced by before the sweep was resumed, if any.
    """

    def __init__(
        self, config: ExecutionConfig, log_file: Path, say: Say = lambda _: None, known: WorkersChosen | None = None
    ) -> None:
        self._config = config
        self._log_file = log_file
        self._say = say
        self._chosen = _choose_without_measuring(config) if config.workers == "auto" and known is None else None
        self._measurement: ThroughputMeasurement | None = None
        self._engine: Engine | None = None
        number = (known or self._chosen) if config.workers == "auto" else None
        if number is not None:
            self._engine = self._build_engine(number.workers)
        elif config.workers == "auto":
            splits = possible_splits(available_cores(), config.threads)
            self._measurement = ThroughputMeasurement(splits, self._open_workers)
        else:
            self._engine = build_engine(config, log_file, say)

    @property
    def engine(self) -> Engine:
        """Runs the trials.

        Raises:
            RuntimeError: the number of workers is not known yet; `choose_workers` finds it out.
        """
        if self._engine is None:
            raise RuntimeError("the number of workers is not known yet")
        return self._engine

    def start(self) -> None:
        """Starts the workers, or those that measure, without waiting until they are ready.

        Raises:
            ConfigError: the engine cannot work with the settings of the sweep file.
        """
        if self._measurement is not None:
            self._measurement.start()
        else:
            self.engine.start()

    def choose_workers(self, spec: TrialSpec) -> WorkersChosen | None:
        """Finds out the best number of workers, if it is `auto`, and starts them.

        Args:
            spec: the trial whose network is trained for the measurement.

        Returns:
            The event to be journaled; None if the sweep file or the journal has the number already.
        """
        if self._measurement is not None:
            self._say(f"measuring how many workers train fastest on these {available_cores()} cores (about 10 s)")
            found = self._measurement.run(spec)
            self._measurement = None
            workers = choose(found.measured).workers if found.measured else 1
            self._chosen = WorkersChosen(workers=workers, why=explain(found), measured=list(found.measured))
            self._engine = self._build_engine(workers)
            self._engine.start()
        if self._chosen is not None:
            self._say(f"workers: {self._chosen.why}")
        return self._chosen

    def close(self) -> None:
        """Ends all processes; may be called twice."""
        if self._measurement is not None:
            self._measurement.close()
        if self._engine is not None:
            self._engine.close()

    def _build_engine(self, workers: int) -> Engine:
        return build_engine(self._config.model_copy(update={"workers": workers}), self._log_file, self._say)

    def _open_workers(self, split: Split) -> MeasuringProcesses:
        # a single worker has no thread limit in the sweep either
        is_unlimited = split.workers == 1 and self._config.threads is None
        return MeasuringProcesses(
            split.workers, {} if is_unlimited else thread_environment(split.threads), self._log_file
        )


def build_engine(config: ExecutionConfig, log_file: Path, say: Say = lambda _: None) -> Engine:
    """The engine that a sweep file configures, not started yet.

    Args:
        config: with a number of workers, not `auto`.
        log_file: the workers print to it.
        say: prints a line about what the engine waits for.

    Raises:
        ConfigError: a cluster is configured and dask is not installed, or this machine has no memory for the workers.
    """
    max_growth = int(config.max_memory_growth * 2**30)
    if config.is_local:
        refuse_too_many(config)

        def make_processes(workers: int | str | None) -> list[WorkerProcess]:
            environments = worker_environments(config.model_copy(update={"workers": workers}))
            return [WorkerProcess(log_file, environment=each, max_growth=max_growth) for each in environments]

        return LocalEngine(make_processes(config.workers), make_processes)
    try:
        from galaxy_exp.execution.clusters import build_cluster
        from galaxy_exp.execution.dask_engine import DaskEngine
        from galaxy_exp.execution.dask_protocol import DaskConnection
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("dask", "distributed"):
            raise
        raise ConfigError("execution: a cluster needs dask; install it with: pip install 'galaxy-exp[dask]'") from None
    cluster = build_cluster(config, log_file.with_suffix(".tls"))
    return DaskEngine(DaskConnection(cluster, log_file, max_growth=max_growth), say)


def _choose_without_measuring(config: ExecutionConfig) -> WorkersChosen | None:
    gpus, each = len(visible_gpus(os.environ)), config.workers_per_gpu
    if gpus:
        return WorkersChosen(workers=gpus * each, why=f"{gpus * each}, {each} on each GPU")
    if len(possible_splits(available_cores(), config.threads)) == 1:
        return WorkersChosen(workers=1, why="1, which takes all cores that there are")
    return None
