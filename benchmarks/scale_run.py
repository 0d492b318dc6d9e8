"""One sweep of sleeping trials, measured: the real loop, engine, journal, search and MLflow, in a process of its own.

`benchmarks/scale.py` starts it, once for each sweep: `python -m benchmarks.scale_run FOLDER SETTINGS`, both of which it
prints for whoever wants to repeat one. FOLDER gets the project; SETTINGS is the JSON of `Settings`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.memory import peak_rss_mb
from benchmarks.scale_simulation import SimulatedEngine
from benchmarks.scale_worker import SECONDS_VARIABLE
from galaxy_exp.config import SweepConfig, parse_sweep
from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.execution.budget import Budget
from galaxy_exp.execution.engine import Engine, LocalEngine
from galaxy_exp.execution.hang_detection import HangDetector
from galaxy_exp.execution.loop import SweepLoop
from galaxy_exp.execution.observers import BackgroundObserver, ModelKeeper, Observer
from galaxy_exp.execution.resources import thread_environment
from galaxy_exp.execution.trials import SearchSource, proposer_of, trial_spec
from galaxy_exp.execution.worker import WorkerProcess
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.journal.events import Event, TrialEnded
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.preparation import prepare_sweep
from galaxy_exp.records import HyperparameterValue, Outcome
from galaxy_exp.search.proposer import NoProposal, Proposer
from galaxy_exp.search.schedulers import build_scheduler
from galaxy_exp.tracking.projection import MlflowProjection
from galaxy_exp.tracking.store import open_client

__all__ = ["Point", "Probe", "Run", "Settings", "TimedProposer", "run_sleeping_sweep"]

WORKER = "benchmarks.scale_worker"
_MIB = 2**20
N_POINTS = 20
"""So often memory and proposal time are looked at along the way."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One sweep."""

    trials: int
    workers: int
    seconds: float = 1.0
    """Of a trial."""
    epochs: int = 1
    sampler: str = "auto"
    scheduler: str = "none"
    """With another one trials are shorter, and the ideal is computed from the epochs that were trained."""
    engine: str = "local"
    """local, or simulated: without workers or waiting (`benchmarks/scale_simulation.py`)."""
    tracking: str | None = "sqlite"
    """An MLflow URI; "sqlite": a database in the folder; None: no MLflow."""
    at_most: float | None = None
    """Real seconds after which no trial is started any more."""

    def config(self) -> SweepConfig:
        """As a sweep file would say it."""
        images = {"n_images": 150, "image_size": 32, "class_proportions": "equal"}
        uri = None if self.tracking in (None, "sqlite") else self.tracking
        return parse_sweep(
            {
                "name": "scale",
                "data": {"simulated": images},
                "training": {"epochs": self.epochs},
                "search": {"max_trials": self.trials, "sampler": self.sampler, "scheduler": self.scheduler},
                "execution": {"workers": self.workers},
                "tracking": {"uri": uri, "figures": False},
            }
        )


@dataclass(frozen=True, slots=True)
class Point:
    """Where a sweep stands."""

    ended: int
    """Trials."""
    seconds: float
    """Since the loop began."""
    driver_mb: float
    """Resident memory of the driver."""
    proposal_ms: float | None
    """Median of the proposals since the point before; None if there was none."""
    cpu_ms: float
    """Processor time of the driver, all threads, for each trial that ended since the point before."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a sweep took."""

    settings: dict[str, Any]
    ended: int
    epochs: int
    wall_seconds: float
    """From the start of the loop to the end of the last trial, workers' start not included, as they start earlier."""
    tracked_seconds: float
    """Until MLflow had everything."""
    ideal_seconds: float
    """What the naps take on all workers, and nothing else."""
    driver_cpu_seconds: float
    idle_seconds: float | None
    """In which the driver had nothing to do; known of a simulation only."""
    journal_events: int
    behind: int
    """Trials that MLflow lacked when the loop ended."""
    tracked: int
    """Trials that are wholly in MLflow, by the journal."""
    points: list[Point] = field(default_factory=list)

    @property
    def excess(self) -> float:
        """Wall time over the ideal, as a share of it."""
        return self.wall_seconds / self.ideal_seconds - 1


class TimedProposer:
    """A proposer whose proposals are timed."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self.seconds: list[float] = []

    def propose(self, number: int) -> Mapping[str, HyperparameterValue] | NoProposal:
        """See `Proposer`."""
        began = time.perf_counter()
        proposal = self._proposer.propose(number)
        self.seconds.append(time.perf_counter() - began)
        return proposal

    def adopt(self, number: int, values: Mapping[str, HyperparameterValue], *, proposed: bool) -> None:
        """See `Proposer`."""
        self._proposer.adopt(number, values, proposed=proposed)

    def tell(self, number: int, outcome: Outcome) -> None:
        """See `Proposer`."""
        self._proposer.tell(number, outcome)


class Probe:
    """An observer that looks at the driver now and then."""

    def __init__(self, proposer: TimedProposer, n_trials: int, clock: Callable[[], float]) -> None:
        self._proposer = proposer
        self._clock = clock
        self._every = max(1, n_trials // N_POINTS)
        self._process = psutil.Process()
        self._began = clock()
        self._cpu = time.process_time()
        self._n_seen = 0
        self._n_ended = 0
        self.points: list[Point] = []

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if not isinstance(event, TrialEnded):
            return
        self._n_ended += 1
        if self._n_ended % self._every == 0:
            self.look()

    def look(self) -> None:
        """Adds a point."""
        recent = self._proposer.seconds[self._n_seen :]
        self._n_seen = len(self._proposer.seconds)
        cpu, ended_before = time.process_time(), self.points[-1].ended if self.points else 0
        self.points.append(
            Point(
                self._n_ended,
                round(self._clock() - self._began, 2),
                round(self._process.memory_info().rss / _MIB, 1),
                round(statistics.median(recent) * 1000, 2) if recent else None,
                round((cpu - self._cpu) * 1000 / max(1, self._n_ended - ended_before), 2),
            )
        )
        self._cpu = cpu


def run_sleeping_sweep(folder: Path, settings: Settings) -> Run:
    """Runs a sweep in `folder`, which becomes this process's, and measures it."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ[SECONDS_VARIABLE] = str(settings.seconds)
    project = ProjectFolder.default()
    config = settings.config()
    sweep = project.new_sweep(config.name)
    engine = _engine(settings, project.worker_log(sweep.sweep_id))
    try:
        engine.start()
        started = prepare_sweep(config, project, sweep.sweep_id, _tell)
        clock = engine.clock if isinstance(engine, SimulatedEngine) else time.time
        with Journal.create(sweep.path, started, clock) as journal:
            return _measure(journal, sweep, engine, settings, clock)
    finally:
        engine.close()


def _measure(
    journal: Journal, folder: SweepFolder, engine: Engine, settings: Settings, clock: Callable[[], float]
) -> Run:
    config = journal.record.config
    projection = _open_projection(journal, folder) if settings.tracking is not None else None
    proposer = TimedProposer(proposer_of(journal.record))
    probe = Probe(proposer, settings.trials, clock)
    scheduler = build_scheduler(config.search, settings.epochs)
    observers: list[Observer] = [probe, ModelKeeper(folder)]
    source = SearchSource(proposer, Budget(scheduler, settings.epochs))
    files = PreparedData.load(Path(journal.record.started.data_folder)).files
    spec = partial(trial_spec, journal.record, folder, files)
    with ExitStack() as at_end:
        if projection is not None:
            observers.append(at_end.enter_context(BackgroundObserver(projection)))
        began, cpu, began_by_clock = time.perf_counter(), time.process_time(), clock()
        loop = SweepLoop(
            journal,
            source,
            scheduler,
            engine,
            spec,
            observers,
            clock,
            HangDetector(clock=clock),
            stopping=lambda: settings.at_most is not None and time.perf_counter() - began > settings.at_most,
        )
        with suppress(KeyboardInterrupt):  # which is how a loop that was told to stop ends
            loop.run()
        wall = clock() - began_by_clock
        behind = sum(not trial.projected for trial in journal.record.trials.values())
    cpu = time.process_time() - cpu
    if projection is not None:
        projection.catch_up()
    tracked = time.perf_counter() - began
    if not probe.points or probe.points[-1].ended < len(journal.record.end_order):
        probe.look()
    record = journal.record
    with (folder.path / "journal.jsonl").open("rb") as file:
        events = sum(1 for _ in file)
    return Run(
        asdict(settings),
        len(record.end_order),
        record.epochs,
        wall,
        tracked,
        record.epochs * settings.seconds / settings.epochs / settings.workers,
        cpu,
        engine.idle_seconds if isinstance(engine, SimulatedEngine) else None,
        events,
        behind if projection is not None else 0,
        sum(trial.projected for trial in record.trials.values()),
        probe.points,
    )


def _open_projection(journal: Journal, folder: SweepFolder) -> MlflowProjection:
    """Its database is there already, as in any folder but a new one, where creating it takes MLflow 10 s."""
    started = journal.record.started
    client = open_client(started.tracking_uri)
    projection = MlflowProjection(lambda: client, journal, folder, PreparedData.load(Path(started.data_folder)), _tell)
    projection.catch_up()
    return projection


def _engine(settings: Settings, log_file: Path) -> Engine:
    if settings.engine == "simulated":
        return SimulatedEngine(settings.workers, settings.seconds)
    environment = thread_environment(1)
    return LocalEngine(
        [WorkerProcess(log_file, environment=environment, module=WORKER) for _ in range(settings.workers)]
    )


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Prints the run as one line of JSON, the last on stdout."""
    folder, settings = Path(sys.argv[1]), Settings(**json.loads(sys.argv[2]))
    run = run_sleeping_sweep(folder, settings)
    print(json.dumps(asdict(run) | {"excess": run.excess, "driver_peak_mb": round(peak_rss_mb(), 1)}))


if __name__ == "__main__":
    main()
