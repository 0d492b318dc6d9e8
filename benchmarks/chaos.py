"""Nothing lost, nothing doubled: sweeps that are killed at random moments, against one that was left in peace.

    python benchmarks/chaos.py --quick
    python benchmarks/chaos.py --keep chaos.jsonl --json chaos.json
    python benchmarks/chaos.py --round 17 --folder look-at-it
    python benchmarks/chaos.py --checkpoints

Each round is a sweep of six tiny trials (two of them of a finalist) from the command line, with a real `mlflow server`
(HTTP, SQLite). One to three times it gets a kill -9 of its driver, its worker, the server, or several of them, at
moments that follow from --seed and the round's number, in any phase: start, search, finalists, held-out test,
registration, end. After a driver's death `galaxy-exp resume` goes on, until the sweep has ended; some rounds call
`galaxy-exp sync` then. Journal, files and MLflow are compared with those of the uninterrupted sweep, fact by fact; what
a clock measured is only counted. With --checkpoints trials leave one after each epoch and continue from it, which at
least one has to do.

A server serves one round after the other and keeps its store, so that damage would show later too. Rounds that differ
keep their folder and are told; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import hashlib
import queue
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.chaos_facts import KINDS, Fact, compare
from benchmarks.chaos_round import PHASES, ChaosError, Round, Server, Step, draw_moments
from benchmarks.command_line import describe_machine, fill_in, numbers, write_json
from benchmarks.curves_table import append_line, read_lines

FULL: dict[str, Any] = {"rounds": 100}
QUICK: dict[str, Any] = {"rounds": 4}
SYNC_SHARE = 0.2
"""Of the rounds that end with a `galaxy-exp sync`, which must change nothing."""


@dataclass(frozen=True)
class Reference:
    """The sweep that was left in peace."""

    facts: list[Fact]
    timeline: list[Step]
    network: str = "TinyNetwork"

    @property
    def digest(self) -> str:
        """Of its facts; a kept round was compared with these."""
        return hashlib.sha256("\n".join([*sorted(map(repr, self.facts)), self.network]).encode()).hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays the rounds and prints the tables; returns 1 if anything was lost, doubled or different, or not tried."""
    parsed = parse_arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers end with this process
    machine = describe_machine()
    began = time.monotonic()
    folder = parsed.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    numbers = parsed.round or list(range(1, parsed.rounds + 1))
    network = "CheckpointedNetwork" if parsed.checkpoints else "TinyNetwork"
    reference, lines = play_all(numbers, parsed.seed, folder.resolve(), parsed.keep, parsed.processes, console, network)
    if parsed.folder is None and not any(map(is_bad, lines)):
        shutil.rmtree(folder)
    report = summarise(reference, lines) | {"machine": machine, "seconds": round(time.monotonic() - began)}
    for table in build_tables(report):
        console.print(table)
    write_json(parsed.json, report | {"rounds": lines})
    if parsed.checkpoints and not report["continued"]:
        console.print("no trial continued from a checkpoint")
    return exit_code(report, lines, parsed.checkpoints)


def exit_code(report: dict[str, Any], lines: Sequence[dict[str, Any]], with_checkpoints: bool) -> int:
    """1 if a round is bad, or if checkpoints were to be tried and no trial continued from one."""
    return int(any(map(is_bad, lines)) or (with_checkpoints and not report["continued"]))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description="Sweeps killed at random moments, against one left in peace.")
    parser.add_argument("--rounds", type=int, help=f"how many sweeps ({FULL['rounds']})")
    parser.add_argument("--round", type=int, nargs="+", metavar="N", help="only these, as they are drawn with the seed")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (1)")
    parser.add_argument("--processes", type=int, default=1, help="rounds at the same time, each with a server (1)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep finished rounds here, and do not repeat them")
    parser.add_argument("--checkpoints", action="store_true", help="trials continue from checkpoints")
    parser.add_argument("--folder", type=Path, help="where the sweeps lie; all of it is kept")
    parser.add_argument("--quick", action="store_true", help="four rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all results as JSON")
    parsed = parser.parse_args(arguments)
    if parsed.folder is not None and parsed.folder.exists() and any(parsed.folder.iterdir()):
        parser.error(f"--folder {parsed.folder}: is not empty; expected a new folder")
    fill_in(parsed, QUICK if parsed.quick else FULL)
    return parsed


def play_all(
    numbers: Sequence[int],
    seed: int,
    folder: Path,
    keep: Path | None,
    processes: int,
    console: Console,
    network: str = "TinyNetwork",
) -> tuple[Reference, list[dict[str, Any]]]:
    """The reference and one line for each round; rounds that are kept are not played again."""
    servers: queue.SimpleQueue[Server] = queue.SimpleQueue()
    stopping = threading.Event()
    everyone = [Server(folder / f"server-{position}") for position in range(processes)]
    try:
        for server in everyone:
            server.start()
            servers.put(server)
        reference = play_reference(folder / "reference", everyone[0], network)
        known = {tuple(line["key"]): line for line in (read_lines(keep) if keep else [])}

        def play(number: int) -> dict[str, Any]:
            key = (number, seed, reference.digest)
            if key in known:
                return known[key]
            server = servers.get()
            try:
                if stopping.is_set():
                    raise ChaosError("given up")
                line = {"key": key} | play_round(number, seed, folder, server, reference, stopping)
            finally:
                servers.put(server)
            console.print(describe(line))
            if keep is not None:
                append_line(keep, line)
            return line

        with ThreadPoolExecutor(processes) as pool:
            try:
                return reference, list(pool.map(play, numbers))
            except BaseException:
                stopping.set()
                raise
    finally:
        for server in everyone:
            server.kill()


def play_reference(folder: Path, server: Server, network: str = "TinyNetwork") -> Reference:
    """The uninterrupted sweep.

    Raises:
        ChaosError: even that one has trouble.
    """
    one = Round(folder, server, "reference", network=network)
    facts = one.play([])
    if one.trouble:
        raise ChaosError(f"the uninterrupted sweep has trouble: {one.trouble[0]}")
    return Reference(facts, one.timeline, network)


def play_round(
    number: int, seed: int, folder: Path, server: Server, reference: Reference, stopping: threading.Event
) -> dict[str, Any]:
    """One round as JSON: what was killed, how often it was started, and how its end differs from the reference."""
    rng = random.Random(f"{seed}/{number}")
    moments = draw_moments(reference.timeline, rng)
    sync = rng.random() < SYNC_SHARE
    one = Round(folder / f"round-{number}", server, f"round-{number}-{seed}", stopping, reference.network)
    began = time.monotonic()
    try:
        differences = compare(reference.facts, one.play(moments, sync))
    except ChaosError as error:
        if stopping.is_set():
            raise
        one.trouble.append(str(error))
        differences = compare(reference.facts, [])
    line = {"round": number, "seconds": round(time.monotonic() - began, 1), "synced": sync, **one.to_dict()}
    line["differences"] = [asdict(difference) for difference in differences]
    if not is_bad(line):
        shutil.rmtree(one.folder)
    return line


def is_bad(line: dict[str, Any]) -> bool:
    """Whether a round is not as it should be."""
    return bool(line["differences"] or line["trouble"])


def describe(line: dict[str, Any]) -> str:
    """A round in one line, and what is wrong with it in more."""
    kills = "; ".join(f"{' and '.join(kill['victims']) or 'nobody'} in {kill['phase']}" for kill in line["killed"])
    continued = f", {line['continued']} trials continued" if line.get("continued") else ""
    text = f"round {line['round']}: {line['starts']} starts{continued}, {line['seconds']:.0f} s; "
    text += f"killed: {kills or 'nobody'}"
    wrong = [*line["trouble"]]
    wrong += [
        f"{difference['what']}: {difference['kind']}, {difference['key']}: "
        f"expected {str(difference['expected'])[:200]}, found {str(difference['found'])[:200]}"
        for difference in line["differences"]
    ]
    return "\n  ".join([text, *wrong[:20]])


def summarise(reference: Reference, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Kills by victim and phase; facts compared, lost, doubled and different by kind; trouble."""
    facts = Counter(fact.kind for fact in reference.facts)
    differences = [difference for line in lines for difference in line["differences"]]
    counted = Counter((difference["what"], difference["kind"]) for difference in differences)
    kills = Counter((who, kill["phase"]) for line in lines for kill in line["killed"] for who in kill["victims"])
    return {
        "n_rounds": len(lines),
        "starts": sum(line["starts"] for line in lines),
        "synced": sum(line["synced"] for line in lines),
        "continued": sum(line.get("continued", 0) for line in lines),
        "kills": {who: {phase: kills[who, phase] for phase in PHASES} for who in ("driver", "worker", "server")},
        "compared": {kind: facts[kind] * len(lines) for kind in KINDS},
        **{what: {kind: counted[what, kind] for kind in KINDS} for what in ("lost", "doubled", "different")},
        "trouble": [trouble for line in lines for trouble in line["trouble"]],
    }


def build_tables(report: dict[str, Any]) -> list[Table]:
    """Kills by phase, and what came of them."""
    kills = Table(f"kill -9 in {report['n_rounds']} rounds", *numbers(*PHASES, "all"), box=box.MARKDOWN)
    for who, by_phase in report["kills"].items():
        kills.add_row(who, *(str(by_phase[phase]) for phase in PHASES), str(sum(by_phase.values())))
    outcomes = ("compared", "lost", "doubled", "different")
    found = Table("compared with the uninterrupted sweep", *numbers(*outcomes), box=box.MARKDOWN)
    for kind, label in KINDS.items():
        found.add_row(label, *(f"{report[what][kind]:,}" for what in outcomes))
    totals = (sum(report[what].values()) for what in outcomes)
    found.add_row("all", *(f"{total:,}" for total in totals))
    found.add_row("attempts that continued from a checkpoint", str(report.get("continued", 0)), "", "", "")
    found.add_row("tracebacks, causeless exits, orphans", "", "", "", str(len(report["trouble"])))
    return [kills, found]


if __name__ == "__main__":
    sys.exit(main())
