"""How far one driver goes: thousands of short trials on many workers, and a simulation of far more.

    python benchmarks/scale.py --quick
    python benchmarks/scale.py --folder scale --json scale.json

    sweep        10,000 one-second trials on 16 workers, for each of --samplers: wall time over the ideal, memory of the
                 driver and seconds of a proposal along the way
    efficiency   the same for 200 s on 1, 2, 4, 8 and 16 workers
    ui           seconds that an MLflow server takes for the UI's list of runs, with those of the largest sweep
    simulation   1,000 workers and up to 100,000 trials, without waiting, as far as --at-most real seconds go

Real are the loop, the local engine and its worker processes, the journal with its fsync, the search and MLflow: a
server on this machine over SQLite, or the database itself (--tracking sqlite). Replaced is the training: a worker
sleeps and makes its curve up (benchmarks/scale_worker.py), without TensorFlow; and no figures are drawn
(tracking.figures: false). What is done is kept in --folder, and a benchmark that was broken off continues from there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in, format_machine, numbers, write_json
from benchmarks.curves_table import append_line, read_lines
from benchmarks.process import ROOT, CommandFailed, own_environment
from benchmarks.scale_run import Settings
from benchmarks.scale_server import mlflow_server, time_run_list

__all__ = ["main"]

QUESTIONS = ("sweep", "efficiency", "ui", "simulation")
GOAL_EXCESS = 0.05
GOAL_UI_SECONDS = 2.0
DATABASE = "mlflow.db"

FULL = {
    "trials": 10_000,
    "seconds": 1.0,
    "length": 200.0,
    "workers": [1, 2, 4, 8, 16],
    "simulated": [1000, 100_000],
    "at_most": 600.0,
}
QUICK = {
    "trials": 48,
    "seconds": 0.5,
    "length": 4.0,
    "workers": [1, 4],
    "simulated": [20, 200],
    "at_most": 60.0,
}
SIMULATED: dict[str, Any] = {
    "seconds": 60.0,
    "epochs": 9,
    "scheduler": "asha-stop",
    "engine": "simulated",
    "tracking": None,
}
"""Trials of a minute: 1,000 workers end some 40 a second, as most are stopped early."""

Result = dict[str, Any]


class Runner:
    """Runs sweeps, each in a process and a folder of its own, and keeps what came out.

    Args:
        folder: of everything.
        tracking: "server", "sqlite" or the URI of a server.
    """

    def __init__(self, folder: Path, tracking: str) -> None:
        self._folder = folder
        self._tracking = tracking
        self._kept = folder / "results.jsonl"

    def sweep(self, name: str, settings: Settings) -> Result:
        """The measured sweep, from an earlier time if there is one."""
        described = asdict(settings) | {"tracking_by": self._tracking}
        for line in read_lines(self._kept):
            if line["name"] == name and line["described"] == described:
                found: Result = line["run"]
                return found
        run = self._measure(name, settings)
        append_line(self._kept, {"name": name, "described": described, "run": run})
        return run

    def ui(self, database: Path, asks: int) -> Result:
        """Seconds of the UI's list of runs, and how many runs there are."""
        with mlflow_server(database.parent, database) as address:
            return time_run_list(address, "galaxy10", asks)

    def database(self, name: str) -> Path:
        """Where the runs of a sweep are."""
        return self._folder / name / DATABASE

    def _measure(self, name: str, settings: Settings) -> Result:
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was broken off
        folder.mkdir(parents=True)
        with ExitStack() as at_end:
            changed = asdict(settings)
            if settings.tracking is not None and self._tracking != "sqlite":
                address = self._tracking
                if self._tracking == "server":
                    address = at_end.enter_context(mlflow_server(folder, self.database(name)))
                changed["tracking"] = address
            command = [sys.executable, "-m", "benchmarks.scale_run", str(folder.resolve()), json.dumps(changed)]
            with (folder / "driver.log").open("wb") as log:
                done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, env=own_environment())
        if done.returncode != 0:
            tail = "\n".join((folder / "driver.log").read_text(errors="replace").splitlines()[-15:])
            raise CommandFailed(f"exit code {done.returncode} from: {' '.join(command)}\n{tail}")
        found: Result = json.loads(done.stdout.splitlines()[-1])
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints tables; exit code 1 if a trial was lost on the way to MLflow."""
    parsed = parse_arguments(arguments)
    console = Console(width=150)
    console.print(format_machine(machine := describe_machine()), highlight=False)
    with ExitStack() as at_end:
        folder = parsed.folder or Path(at_end.enter_context(tempfile.TemporaryDirectory(prefix="galaxy_exp_scale_")))
        folder.mkdir(parents=True, exist_ok=True)
        runner = Runner(folder, parsed.tracking)
        parts: dict[str, Callable[[argparse.Namespace, Runner, Console], Any]] = {
            "sweep": measure_sweeps,
            "efficiency": measure_efficiency,
            "ui": measure_ui,
            "simulation": simulate,
        }
        report = {"machine": machine} | {name: parts[name](parsed, runner, console) for name in parsed.only}
    write_json(parsed.json, report)
    sweeps = [run for name in ("sweep", "efficiency") for run in report.get(name, {}).values()]
    return int(any(run["tracked"] < run["ended"] or run["ended"] < run["settings"]["trials"] for run in sweeps))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="a minute or two: whether it works, not how fast it is")
    parser.add_argument("--folder", type=Path, help="keeps everything, and is gone on from")
    parser.add_argument("--json", type=Path, help="all figures")
    parser.add_argument("--tracking", default="server", help='"server", "sqlite" or the address of a running server')
    parser.add_argument("--samplers", nargs="+", default=["random", "auto"])
    parser.add_argument("--trials", type=int, help="of a sweep")
    parser.add_argument("--seconds", type=float, help="of a trial")
    parser.add_argument("--workers", type=int, nargs="+", help="numbers of them; a sweep has the largest")
    parser.add_argument("--length", type=float, help="ideal seconds of a sweep for the efficiency")
    simulated = ("WORKERS", "TRIALS")
    parser.add_argument("--simulated", type=int, nargs=2, metavar=simulated, help="sizes of a simulation")
    parser.add_argument("--at-most", type=float, help="real seconds of a simulation")
    parsed = parser.parse_args(arguments)
    fill_in(parsed, QUICK if parsed.quick else FULL)
    return parsed


def measure_sweeps(parsed: argparse.Namespace, runner: Runner, console: Console) -> dict[str, Result]:
    """One large sweep for each sampler."""
    workers = max(parsed.workers)
    runs = {
        sampler: runner.sweep(f"sweep-{sampler}", Settings(parsed.trials, workers, parsed.seconds, sampler=sampler))
        for sampler in parsed.samplers
    }
    title = f"{parsed.trials:,} trials of {parsed.seconds:g} s on {workers} workers, MLflow: {parsed.tracking}"
    _print_sweeps(console, title, "sampler", runs)
    for sampler, run in runs.items():
        _print_points(console, f"along the way, {sampler}", run)
    return runs


def measure_efficiency(parsed: argparse.Namespace, runner: Runner, console: Console) -> dict[str, Result]:
    """Short sweeps on more and more workers."""
    runs = {}
    for workers in parsed.workers:
        trials = max(1, round(parsed.length * workers / parsed.seconds))
        settings = Settings(trials, workers, parsed.seconds, sampler="random")
        runs[str(workers)] = runner.sweep(f"efficiency-{workers}", settings)
    _print_sweeps(console, f"parallel efficiency, {parsed.length:g} s each, sampler random", "workers", runs)
    return runs


def measure_ui(parsed: argparse.Namespace, runner: Runner, console: Console) -> Result:
    """The list of runs of the first large sweep; measures that first, if need be."""
    sampler = parsed.samplers[0]
    settings = Settings(parsed.trials, max(parsed.workers), parsed.seconds, sampler=sampler)
    run = runner.sweep(f"sweep-{sampler}", settings)
    found = runner.ui(runner.database(f"sweep-{sampler}"), asks=5)
    title = f"MLflow's UI with {run['tracked']:,} runs, s (goal: under {GOAL_UI_SECONDS:g})"
    table = _table(title, "request", *numbers("first", "median of 5", "worst"))
    for name, seconds in found["seconds"].items():
        table.add_row(name, *(f"{seconds[key]:.3f}" for key in ("first", "median", "worst")))
    console.print(table)
    return found | {"runs": run["tracked"]}


def simulate(parsed: argparse.Namespace, runner: Runner, console: Console) -> dict[str, Result]:
    """As many trials as one driver manages, by sampler; MLflow is left out."""
    runs = {}
    for sampler in parsed.samplers:
        workers, trials = parsed.simulated
        settings = Settings(trials, workers, sampler=sampler, at_most=parsed.at_most, **SIMULATED)
        runs[sampler] = runner.sweep(f"simulation-{sampler}", settings)
        busy = 1 - runs[sampler]["idle_seconds"] / runs[sampler]["wall_seconds"]
        title = f"simulated, {settings.workers:,} workers, sampler {sampler}: {runs[sampler]['ended']:,} trials ended"
        _print_points(console, f"{title}, driver busy {busy:.0%} of the time", runs[sampler])
    return runs


def _print_sweeps(console: Console, title: str, first: str, runs: dict[str, Result]) -> None:
    columns = ("ideal s", "wall s", "over", "efficiency", "MLflow complete s", "driver CPU ms/trial", "peak MiB")
    table = _table(f"{title} (goal: at most {GOAL_EXCESS:.0%} over the ideal)", *numbers(first, *columns))
    for name, run in runs.items():
        table.add_row(
            name,
            f"{run['ideal_seconds']:.1f}",
            f"{run['wall_seconds']:.1f}",
            f"{run['excess']:+.1%}",
            f"{1 / (1 + run['excess']):.3f}",
            f"{run['tracked_seconds']:.1f}",
            f"{1000 * run['driver_cpu_seconds'] / max(1, run['ended']):.1f}",
            f"{run['driver_peak_mb']:.0f}",
        )
    console.print(table)


def _print_points(console: Console, title: str, run: Result) -> None:
    table = _table(title, *numbers("trials ended", "s", "driver MiB", "proposal ms", "driver CPU ms/trial"))
    for point in run["points"]:
        proposal = "" if point["proposal_ms"] is None else f"{point['proposal_ms']:.2f}"
        cells = (f"{point['ended']:,}", f"{point['seconds']:.0f}", f"{point['driver_mb']:.0f}", proposal)
        table.add_row(*cells, f"{point['cpu_ms']:.1f}")
    console.print(table)


def _table(title: str, *columns: Column | str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=box.MARKDOWN)


if __name__ == "__main__":
    sys.exit(main())
