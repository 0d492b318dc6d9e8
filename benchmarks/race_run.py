"""Runs one contender of benchmarks/race.py up to its limit, and reads what it left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import yaml

from benchmarks.measured import newest_journal
from benchmarks.process import busy_seconds, own_environment

__all__ = ["Clock", "Epoch", "Limit", "ProcessTree", "Run", "read_journal_epochs", "run_galaxy_exp", "run_peer"]

Clock = Literal["cpu", "wall"]
_SAMPLE_SECONDS = 0.25
_MAX_WALL = 20
"""A contender that gets no processor for this many times its limit is ended."""
_FINISH_SECONDS = 300.0
"""For galaxy_exp to test and register its best model after the limit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """When a contender is ended, from the start of its process."""

    clock: Clock
    seconds: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of any network. Times count from the start of the contender's process."""

    wall: float
    cpu: float
    score: float
    """Macro-F1 on the validation images."""
    train_seconds: float
    """Wall time of its training, without validation."""
    is_new: bool
    """Whether it is the first of a trial."""


@dataclass(frozen=True, slots=True)
class Run:
    """One contender with one seed."""

    name: str
    seed: int
    limit: Limit
    epochs: tuple[Epoch, ...] = ()
    """Those that ended within the limit, in the order of their times."""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all its processes."""
    other_cpu_seconds: float = 0.0
    """Of everything else on the machine meanwhile."""
    precision: str = ""
    val_macro_f1: float | None = None
    """Of its best model, computed again in float32."""
    test_macro_f1: float | None = None
    problem: str = ""
    """Why it is not measured, or not fully; one line."""

    def clock(self, epoch: Epoch) -> float:
        """The time of an epoch on the clock of the limit."""
        return epoch.cpu if self.limit.clock == "cpu" else epoch.wall

    def best_at(self, seconds: float) -> float | None:
        """The best score so far; None before the first epoch."""
        return max((epoch.score for epoch in self.epochs if self.clock(epoch) <= seconds), default=None)

    @property
    def best(self) -> float | None:
        """The best score at the limit."""
        return self.best_at(self.limit.seconds)

    def time_to(self, score: float) -> float | None:
        """The time at which a score was reached; None if it was not."""
        return min((self.clock(epoch) for epoch in self.epochs if epoch.score >= score), default=None)

    @property
    def trials(self) -> int:
        """How many networks began."""
        return sum(epoch.is_new for epoch in self.epochs)

    @property
    def training_share(self) -> float:
        """The part of its wall time in which networks were trained, without validation, by all workers together."""
        return sum(epoch.train_seconds for epoch in self.epochs) / max(self.wall_seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"best": self.best, "trials": self.trials, "training_share": self.training_share}


class ProcessTree:
    """A process and all that it started, also what has lost its parent since."""

    def __init__(self, pid: int) -> None:
        self._cpu = {psutil.Process(pid): 0.0}

    def cpu_seconds(self) -> float:
        """Processor time of all of them until now, of those that have ended too."""
        self._find()
        for process in self._cpu:
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._cpu[process] = times.user + times.system
        return sum(self._cpu.values())

    def kill(self) -> None:
        """Ends all of them at once."""
        self._find()
        for process in self._cpu:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(list(self._cpu), timeout=10)

    def _find(self) -> None:
        children: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                children.setdefault(process.ppid(), []).append(process)
        queue = list(self._cpu)
        while queue:
            for child in children.get(queue.pop().pid, ()):
                if child not in self._cpu:
                    self._cpu[child] = 0.0
                    queue.append(child)


@dataclass(frozen=True, slots=True)
class _Watched:
    began: float
    """Seconds since 1970."""
    samples: tuple[tuple[float, float], ...]
    """Wall and processor seconds since then."""
    other_cpu_seconds: float
    exit_code: int | None
    """None if it ran until its limit."""

    def cpu_at(self, wall: float) -> float:
        walls, cpus = zip(*self.samples, strict=True)
        return float(np.interp(wall, walls, cpus))


Finish = Callable[["subprocess.Popen[bytes]"], None]


def _watch(command: Sequence[str], folder: Path, limit: Limit, finish: Finish = lambda process: None) -> _Watched:
    """Runs a command in a folder until its limit, then calls `finish` and kills all its processes."""
    with (folder / "log").open("ab") as log:
        busy, began = busy_seconds(), time.time()
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
        )
    tree = ProcessTree(process.pid)
    samples = [(0.0, 0.0)]
    try:
        while process.poll() is None and not _is_over(samples[-1], limit):
            time.sleep(_SAMPLE_SECONDS)
            samples.append((time.time() - began, tree.cpu_seconds()))
        exit_code = process.returncode
        others = max(0.0, busy_seconds() - busy - samples[-1][1])
        if exit_code is None:
            finish(process)
    finally:
        tree.kill()
        process.wait()
    return _Watched(began, tuple(samples), others, exit_code)


def _is_over(sample: tuple[float, float], limit: Limit) -> bool:
    wall, cpu = sample
    return (cpu if limit.clock == "cpu" else wall) >= limit.seconds or wall >= _MAX_WALL * limit.seconds


def _environment() -> dict[str, str]:
    return own_environment() | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}


def run_peer(name: str, python: str, task: dict[str, Any], folder: Path, limit: Limit) -> Run:
    """A peer, with the interpreter that has it.

    Args:
        task: the fields of `race_peers.Task`, without `scratch`.
        folder: exists and is empty.
    """
    module = ["-m", "benchmarks.race_peers"]
    with tempfile.TemporaryDirectory(prefix="race_", ignore_cleanup_errors=True) as scratch:
        (folder / "task.json").write_text(json.dumps({**task, "scratch": scratch}), encoding="utf-8")
        watched = _watch([python, *module, name, "task.json"], folder, limit)
    file = folder / "epochs.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    run = _collect(name, task["seed"], rows, watched, folder, limit)
    if not run.epochs:
        return run
    score = [sys.executable, *module, "score", "task.json"]
    with (folder / "log").open("ab") as log:
        subprocess.run(score, cwd=folder, check=True, stdout=log, stderr=log, env=_environment())
    scores = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    return replace(run, val_macro_f1=scores["val_macro_f1"], test_macro_f1=scores["test_macro_f1"])


def run_galaxy_exp(
    task: dict[str, Any], data: dict[str, Any], settings: Sequence[str], folder: Path, limit: Limit
) -> Run:
    """A sweep through the command line, told to finish at its limit.

    Args:
        task: the fields of `race_peers.Task`.
        data: the `data` section of the sweep file.
        settings: KEY=VALUE of the sweep file.
        folder: has nothing but the prepared data, as an earlier sweep would leave it.
    """
    sweep = {
        "name": "race",
        "data": data,
        "training": {"epochs": task["epochs"]},
        "search": {"max_trials": 100_000, "cost": "seconds", "seed": task["seed"], "baseline": False},
        "execution": {"workers": task["workers"]},
        "registry": {"finalists": 0, "model": "race"},
    }
    (folder / "race.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False), encoding="utf-8")
    galaxy_exp = [sys.executable, "-m", "galaxy_exp"]
    changes = [word for setting in settings for word in ("--set", setting)]

    def finish(process: subprocess.Popen[bytes]) -> None:
        with (folder / "log").open("ab") as log:
            told = subprocess.run(
                [*galaxy_exp, "tell", "latest", "finish"], cwd=folder, stdout=log, stderr=log, env=_environment()
            )
        deadline = time.monotonic() + _FINISH_SECONDS
        while told.returncode == 0 and process.poll() is None and time.monotonic() < deadline:
            if _is_tested(folder):
                break
            time.sleep(_SAMPLE_SECONDS)

    watched = _watch([*galaxy_exp, "sweep", "race.yaml", "--quiet", *changes], folder, limit, finish)
    try:
        lines = newest_journal(folder).read_text(encoding="utf-8").splitlines()
    except ValueError:  # there is none
        lines = []
    events = [json.loads(line) for line in lines]
    run = _collect("galaxy-exp", task["seed"], read_journal_epochs(events), watched, folder, limit)
    scores = _read_winner(events)
    if run.epochs and "test_macro_f1" not in scores:
        run = replace(run, problem=run.problem or f"told to finish, it tested no model within {_FINISH_SECONDS:.0f} s")
    return replace(run, **scores)


def _is_tested(folder: Path) -> bool:
    text = newest_journal(folder).read_text(encoding="utf-8")
    return '"sealed_test_opened"' in text or '"sweep_ended"' in text


def read_journal_epochs(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The epochs in a journal as the lines that `race_peers.Recorder` writes; those trained twice count twice."""
    reports = [(event["time"], event["report"]) for event in events if event["event"] == "epoch_reported"]
    return [
        {
            "time": time_,
            "new": report["epoch"] == 1,
            "score": report["metrics"]["val_macro_f1"],
            "train_seconds": report["metrics"]["epoch_seconds"],
            "precision": report["precision"],
        }
        for time_, report in reports
    ]


def _read_winner(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The scores of the model that galaxy_exp chose; nothing if it came to none."""
    numbers = [event["number"] for event in events if event["event"] == "winner_chosen"]
    if not numbers:
        return {}
    results = [event["result"] for event in events if event["event"] == "trial_ended"]
    val = [result["metrics"]["val_macro_f1"] for result in results if result["number"] == numbers[0]]
    tests = [e["report"] for e in events if e["event"] == "sealed_test_opened" and e["number"] == numbers[0]]
    return {"val_macro_f1": val[-1]} | ({"test_macro_f1": tests[0]["macro_f1"]} if tests else {})


def _collect(
    name: str, seed: int, rows: Sequence[dict[str, Any]], watched: _Watched, folder: Path, limit: Limit
) -> Run:
    epochs = []
    for row in rows:
        wall = row["time"] - watched.began
        epochs.append(Epoch(wall, watched.cpu_at(wall), row["score"], row["train_seconds"], row["new"]))
    wall, cpu = watched.samples[-1]
    problem = ""
    if watched.exit_code is not None:
        tail = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:] or [""]
        problem = f"ended by itself after {wall:.0f} s, exit code {watched.exit_code}: {tail[0][:200]}"
    return Run(
        name=name,
        seed=seed,
        limit=limit,
        epochs=tuple(epoch for epoch in epochs if epoch.wall <= wall),
        wall_seconds=wall,
        cpu_seconds=cpu,
        other_cpu_seconds=watched.other_cpu_seconds,
        precision=", ".join(sorted({row["precision"] for row in rows if row["precision"]})),
        problem=problem,
    )
