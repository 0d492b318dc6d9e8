"""The engine of a sweep, and what comes before it where the number of workers is yet to be found out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.execution.auto_workers import Contest, Outcome, Split, choose, explain, possible_splits
from galaxy_exp.execution.engine import Engine
from galaxy_exp.execution.engines import build_engine
from galaxy_exp.execution.shares import available_cores, thread_environment, visible_gpus
from galaxy_exp.execution.team import ProcessTeam
from galaxy_exp.journal.events import WorkersChosen
from galaxy_exp.records import TrialSpec

__all__ = ["Crew"]


class Crew:
    """Workers of one sweep on their way to an engine.

    Args:
        config: what the sweep file says.
        log_file: where workers print.
        say: takes one line at a time about what is going on.
        known: the number that `auto` came to before, in a sweep that is resumed.
    """

    def __init__(
        self, config: ExecutionConfig, log_file: Path, say: Callable[[str], None], known: WorkersChosen | None = None
    ) -> None:
        self._config = config
        self._log_file = log_file
        self._say = say
        self._chosen: WorkersChosen | None = None
        """To be journaled by `settle`."""
        self._contest: Contest | None = None
        self._engine: Engine | None = None
        if config.workers != "auto":
            self._engine = build_engine(config, log_file, say)
        elif known is not None:
            self._engine = self._build(known.workers)
        elif (chosen := _choose_without_measuring(config)) is not None:
            self._take(chosen)
        else:
            self._contest = Contest(possible_splits(available_cores(), config.threads), self._open_team)

    @property
    def engine(self) -> Engine:
        """There once the number of workers is settled."""
        if self._engine is None:
            raise RuntimeError("the number of workers is not settled yet")
        return self._engine

    def start(self) -> None:
        """Starts the workers, or those that measure, without waiting until they are ready.

        Raises:
            ConfigError: what the sweep file says of the engine cannot be had.
        """
        if self._contest is not None:
            self._contest.start()
        else:
            self.engine.start()

    def settle(self, spec: TrialSpec) -> WorkersChosen | None:
        """Finds out how many workers there should be, if that is not known, and starts them.

        Args:
            spec: the network that is trained for it.

        Returns:
            What is to be journaled; None if the number is the sweep file's or was journaled before.
        """
        if self._contest is not None:
            self._say(f"measuring how many workers train fastest on these {available_cores()} cores (about 10 s)")
            outcome = self._contest.hold(spec)
            self._contest = None
            self._take(_choose_by(outcome))
            self.engine.start()
        if self._chosen is not None:
            self._say(f"workers: {self._chosen.why}")
        return self._chosen

    def close(self) -> None:
        """Ends all processes; may be called twice."""
        if self._contest is not None:
            self._contest.close()
        if self._engine is not None:
            self._engine.close()

    def _take(self, chosen: WorkersChosen) -> None:
        self._chosen = chosen
        self._engine = self._build(chosen.workers)

    def _build(self, workers: int) -> Engine:
        return build_engine(self._config.model_copy(update={"workers": workers}), self._log_file, self._say)

    def _open_team(self, split: Split) -> ProcessTeam:
        # one worker that has all cores is told of no number of threads, by `build_engine` either
        is_alone = split.workers == 1 and self._config.threads is None and self._config.engine != "dask"
        return ProcessTeam(split.workers, {} if is_alone else thread_environment(split.threads), self._log_file)


def _choose_without_measuring(config: ExecutionConfig) -> WorkersChosen | None:
    gpus, each = len(visible_gpus(os.environ)), config.workers_per_gpu
    if gpus:
        return WorkersChosen(workers=gpus * each, why=f"{gpus * each}, {each} on each GPU")
    if len(possible_splits(available_cores(), config.threads)) == 1:
        return WorkersChosen(workers=1, why="1, which takes all cores that there are")
    return None


def _choose_by(outcome: Outcome) -> WorkersChosen:
    workers = choose(outcome.measured).workers if outcome.measured else 1
    return WorkersChosen(workers=workers, why=explain(outcome), measured=list(outcome.measured))
