"""The numbers that galaxy_exp wants to reach, each measured by the benchmark it belongs to: goal beside measured.

    python -m benchmarks
    python -m benchmarks --json docs/goals.json && python docs/generate.py     renews docs/goals.md
    python -m benchmarks --only training start --json docs/goals.json          measures two parts anew, keeps the rest
    python -m benchmarks --list                                       the benchmarks there are

Half an hour on two cores for all of it. The sizes are smaller than those of the single benchmarks; so treat what is
close to its goal as undecided.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.command_line import describe_machine, format_machine, numbers, open_console
from benchmarks.process import ROOT, own_environment
from benchmarks.search import DEFAULT, RANDOM

__all__ = ["BENCHMARKS", "PARTS", "Figure", "Part", "build_table", "main", "record", "waited_for_first_trial"]

Report = dict[str, Any]
_STDERR = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """One number and its goal."""

    what: str
    measured: float
    goal: float
    at_least: bool = False
    """Whether the goal is a lower bound."""
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.measured >= self.goal if self.at_least else self.measured <= self.goal


@dataclass(frozen=True, slots=True)
class Part:
    """A benchmark that is run as a command and leaves JSON."""

    command: tuple[str, ...]
    read: Callable[[Report], Iterator[Figure]]

    def measure(self, folder: Path) -> list[Figure]:
        """Runs it; its own tables go to stderr.

        Raises:
            SystemExit: it failed.
        """
        file = folder / "figures.json"
        command = [sys.executable, *self.command, "--json", str(file)]
        done = subprocess.run(command, cwd=ROOT, stdout=_STDERR, env=own_environment())
        if not file.is_file():
            raise SystemExit(f"error: exit code {done.returncode} from: {' '.join(command)}")
        return list(self.read(json.loads(file.read_text(encoding="utf-8"))))


def _training(report: Report) -> Iterator[Figure]:
    best = max(report["rows"], key=lambda row: row["images_per_second"])
    native = bool({"avx512_bf16", "amx_bf16"} & set(report["machine"]["processor_flags"]))
    yield Figure(
        "training speed of the tutorial's network, relative to its plain Keras script",
        best["times_the_script"],
        5 if native else 1.5,
        True,
    )
    what = "the same, relative to the machine's peak for matrix products in that precision"
    yield Figure(what, best["share_of_peak"], 0.6, True)


def _trial(report: Report) -> Iterator[Figure]:
    ours = next(each for each in report["contenders"] if each["name"].startswith("galaxy_exp"))
    yield Figure("time of a trial outside `fit`", ours["table"]["beyond_fit_median"], 0.5, unit="s")


def _proposals(report: Report) -> Iterator[Figure]:
    for name, by_finished in report["cost"].items():
        for finished, goal in (("100", 20), ("1000", 50)):
            yield Figure(f"a proposal of {name} after {finished} trials", 1000 * by_finished[finished], goal, unit="ms")


def _search(report: Report) -> Iterator[Figure]:
    replay = report["replay, 1 workers"]
    share = replay["reach"][replay["default"]]
    yield Figure("epochs until the final score of random search, relative to its epochs", share, 0.2)


def _scale(report: Report) -> Iterator[Figure]:
    (run,) = report["sweep"].values()
    trials = f"{run['settings']['trials']:,} one-second trials on {run['settings']['workers']} workers"
    yield Figure(f"{trials}: wall time above the ideal", run["excess"], 0.05)


def _data(report: Report) -> Iterator[Figure]:
    for figure in report["figures"]:
        if figure["goal"] is not None:
            unit = figure["unit"]
            yield Figure(figure["what"], figure["measured"], figure["goal"], figure["at_least"], unit)


def _commands(report: Report) -> Iterator[Figure]:
    for row in report["commands"]:
        yield Figure(f"galaxy-exp {row['what']}", row["seconds"], row["goal"], unit="s")


def _chaos(report: Report) -> Iterator[Figure]:
    for what, name in (("lost", "lost"), ("doubled", "duplicated"), ("different", "different")):
        found = sum(report[what].values())
        yield Figure(f"{name} results in {report['n_rounds']} sweeps killed at random moments", found, 0)


def _votes(report: Report) -> Iterator[Figure]:
    found = report["gains"]["dirichlet_multinomial"]
    n_images = f"{report['task']['images']:,}"
    yield Figure(
        f"deviance from the true fractions, {n_images} simulated galaxies: lower end of the gain by votes",
        *(found["deviance"]["low"], 0, True, "nats"),
    )
    yield Figure("accuracy of the true class: upper end of the gain by votes", found["accuracy"]["high"], 0, True)
    yield Figure("calibration error of fractions", found["calibration_error"], 0.02)
    yield Figure("coverage of 90 % intervals of counts: distance from 0.90", abs(found["coverage"] - 0.9), 0.02)
    yield Figure("an epoch on votes, relative to one on labels", found["epoch_cost"], 1.05)


def _find_benchmarks() -> dict[str, str]:
    """The first line of what each benchmark says of itself, by file."""
    texts = {f"benchmarks/{file.name}": file.read_text("utf-8") for file in sorted((ROOT / "benchmarks").glob("*.py"))}
    said = {name: text.split('"""')[1] for name, text in texts.items() if f"python {name}" in text}
    return {name: text.splitlines()[0] for name, text in said.items()}


BENCHMARKS = _find_benchmarks()


PARTS: dict[str, Part] = {
    "training": Part(("benchmarks/training.py", "--rounds", "3"), _training),
    "trial": Part(
        ("benchmarks/compare.py", "--contenders", "galaxy-exp", "--trials", "4", "--epochs", "2"),
        _trial,
    ),
    "proposals": Part(
        ("benchmarks/search.py", "--only", "cost", "--finished", "100", "1000", "--contenders", "gp"),
        _proposals,
    ),
    "search": Part(
        ("benchmarks/search.py", "--only", "replay", "--seeds", "30", "--contenders", RANDOM, DEFAULT),
        _search,
    ),
    "scale": Part(
        ("benchmarks/scale.py", "--only", "sweep", "--samplers", "random", "--trials", "2000", "--workers", "16"),
        _scale,
    ),
    "data": Part(("benchmarks/data.py", "--rounds", "2"), _data),
    "commands": Part(("benchmarks/commands.py",), _commands),
    "chaos": Part(("benchmarks/chaos.py", "--quick"), _chaos),
    "votes": Part(("benchmarks/votes.py", "--seeds", "5"), _votes),
}
START = "start"


def measure_start(folder: Path) -> list[Figure]:
    """How long the first answers take: `--help` (the best of five) and the quickstart sweep, from a new folder."""
    answers = [_seconds(["--help"], folder) for _ in range(5)]
    sweep = _seconds(["sweep", str(ROOT / "sweeps" / "quickstart.yaml")], folder)
    (log,) = folder.glob(".galaxy_exp/logs/*.log")
    waited = waited_for_first_trial(log.read_text(encoding="utf-8", errors="replace"))
    return [
        Figure("galaxy-exp --help", min(answers), 0.3, unit="s"),
        Figure("quickstart sweep", sweep, 180, unit="s"),
        Figure("wait for its first trial, after the worker was ready", waited, 1, unit="s"),
    ]


def waited_for_first_trial(log: str) -> float:
    """Seconds that the first worker to be ready had nothing to do, by what workers say of themselves in their log."""
    said = {
        what: datetime.fromisoformat(found[1])
        for what in ("is ready", "begins trial")
        if (found := re.search(rf"^(\S+) worker \d+ {what}", log, re.MULTILINE))
    }
    return (said["begins trial"] - said["is ready"]).total_seconds()


def _seconds(arguments: Sequence[str], folder: Path) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "galaxy_exp", *arguments]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, env=own_environment(), check=True)
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; exit code 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[START, *PARTS], default=[START, *PARTS], metavar="PART")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--list", action="store_true", help="only say which benchmarks there are")
    parsed = parser.parse_args(arguments)
    if parsed.list:
        for file, what in BENCHMARKS.items():
            print(f"{file:<34}{what}")
        return 0
    machine = describe_machine()
    found: dict[str, list[Figure]] = {}
    for name in parsed.only:
        print(f"== {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="galaxy_exp_goals_") as folder:
            found[name] = measure_start(Path(folder)) if name == START else PARTS[name].measure(Path(folder))
        if parsed.json is not None:
            record(parsed.json, name, found[name], machine)
    figures = [figure for part in found.values() for figure in part]
    console = open_console(160)
    console.print(format_machine(machine), highlight=False)
    console.print(build_table(figures))
    return int(not all(figure.met for figure in figures))


def record(path: Path, name: str, figures: Sequence[Figure], machine: dict[str, Any]) -> None:
    """Writes a part's figures into the file, with machine, date and commit; the other parts in it stay as they are."""
    parts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    commit = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    parts[name] = {
        "command": f"python -m benchmarks --only {name}",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "machine": machine,
        "figures": [asdict(figure) | {"met": figure.met} for figure in figures],
    }
    ordered = {key: parts[key] for key in (START, *PARTS) if key in parts}
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def build_table(figures: Sequence[Figure]) -> Table:
    """Goal beside measured."""
    table = Table("", *numbers("goal", "measured", ""), title="goals", title_justify="left")
    for figure in figures:
        bound = "at least" if figure.at_least else "at most"
        goal = f"{bound} {figure.goal:g} {figure.unit}".rstrip()
        table.add_row(
            figure.what, goal, f"{figure.measured:.3g} {figure.unit}".rstrip(), "met" if figure.met else "MISSED"
        )
    return table
