"""One worker with all cores against several that share them: images/s of all together.

    python benchmarks/workers.py
    python benchmarks/workers.py --rounds 9 --json workers.json

Trains a small network and the tutorial's in every split of the cores that `execution.workers: auto` would try, with the
same processes. Windows of about a second go by turns, so that other work on the machine hits all splits alike; the
ratios are medians of what each round gave. Other work shifts them all the same, as it takes more from whoever uses all
cores: `other work` is its share of the processor time, and beyond a few per cent the row says little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, numbers, open_console, write_json
from benchmarks.process import busy_seconds
from benchmarks.trials import build_spec
from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.data import load_dataset, prepare_split
from galaxy_exp.execution.resources import available_cores, thread_environment
from galaxy_exp.execution.throughput_measurement import MeasuringProcesses, Split, possible_splits
from galaxy_exp.quiet import import_keras_quietly
from galaxy_exp.records import TrialSpec

NETWORKS: dict[str, dict[str, Any]] = {
    "small": {"filters_1": 16, "filters_2": 16, "head": "gap", "dense_width": 0},
    "baseline": {},
}
"""What differs from the tutorial's network."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="windows of each split (7)")
    parser.add_argument("--images", type=int, default=600, help="how many to simulate (600)")
    parser.add_argument("--image-size", type=int, default=69, help="side of the images in pixels (69)")
    parser.add_argument("--precision", default="auto", help="as training.precision of a sweep file (auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all measurements as JSON")
    parsed = parser.parse_args(arguments)
    machine = describe_machine()
    import_keras_quietly()
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_workers_") as folder:
        images = SimulatedConfig(n_images=parsed.images, image_size=parsed.image_size)
        files = prepare_split(load_dataset(DataConfig(simulated=images)), SplitConfig(), Path(folder)).files
        rows = [
            row
            for name, values in NETWORKS.items()
            for row in _measure(
                name, build_spec(files, Path(folder, "trial"), values, precision=parsed.precision), parsed.rounds
            )
        ]
    title = f"{parsed.image_size} x {parsed.image_size} pixels, {parsed.rounds} rounds, {machine['cores']} cores"
    open_console(120).print(build_table(rows, title))
    write_json(parsed.json, {"machine": machine, "splits": rows})
    return 0


def build_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """A row a network and split."""
    columns = numbers("images/s together", "least to most", "against 1 worker", "other work")
    table = Table("network", "workers", "threads of each", *columns, title=title, title_justify="left")
    for row in rows:
        rates = row["images_per_second"]
        table.add_row(
            row["network"],
            str(row["workers"]),
            str(row["threads"]),
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{row['ratio']:.2f}",
            f"{row['other_work']:.0%}",
        )
    return table


def _measure(name: str, spec: TrialSpec, rounds: int) -> list[dict[str, Any]]:
    """One network in all splits by turns."""
    print(f"measuring the {name} network ...", file=sys.stderr, flush=True)
    splits = possible_splits(available_cores())
    rates: dict[Split, list[float]] = {split: [] for split in splits}
    began, own_before, busy_before = time.perf_counter(), _own_seconds(), busy_seconds()
    with ExitStack() as stack:
        workers_of = {}
        for split in splits:
            environment = thread_environment(split.threads) if split.workers > 1 else {}
            workers_of[split] = MeasuringProcesses(split.workers, environment, spec.folder.parent / "log")
            stack.callback(workers_of[split].end)
            workers_of[split].load(spec)
        for number in range(rounds):
            for split in splits if number % 2 == 0 else reversed(splits):
                rates[split].append(workers_of[split].measure())
    other = busy_seconds() - busy_before - (_own_seconds() - own_before)
    share = max(0.0, other) / (available_cores() * (time.perf_counter() - began))
    return [
        {
            "network": name,
            "workers": split.workers,
            "threads": split.threads,
            "images_per_second": rates[split],
            "ratio": statistics.median(a / b for a, b in zip(rates[split], rates[splits[0]], strict=True)),
            "other_work": share,
        }
        for split in splits
    ]


def _own_seconds() -> float:
    """Processor time of this process and of all its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(main())
