"""Memory and speed of galaxy_exp's data path, against goals.

    python benchmarks/data.py --quick
    python benchmarks/data.py --images 17736 --json data.json

Three questions, each answered in processes of its own (benchmarks/data_worker.py) on sets made of simulated galaxies:
    large    a set of the size of Galaxy10 DECaLS, 17,736 x 256 x 256 x 3 (3.5 GB on disk, removed afterwards): what a
             worker holds beyond mapped files, and whether the memory map is as fast as the same data in memory
    small    a set of the size of Galaxy10 SDSS, 21,785 x 69 x 69 x 3: peak of a worker against that of the tutorial
             wired by hand with float32 images in memory
    share    how much of a training step goes into producing its batch

Networks are trained for a few steps on images drawn from all over the set; the speed comparison needs the set in
memory once. Other work on the machine shifts times, hardly memory; the ratio of speeds is that of pieces in turn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.big_sets import write_all, write_big_set
from benchmarks.command_line import describe_machine, fill_in, format_machine, open_console, write_json
from benchmarks.process import own_environment

DECALS, SDSS = (17_736, 256), (21_785, 69)
"""Images and side in pixels of the two Galaxy10 sets."""

FULL: dict[str, int] = {
    "images": DECALS[0],
    "image_size": DECALS[1],
    "different": 400,
    "small_images": SDSS[0],
    "small_image_size": SDSS[1],
    "steps": 12,
    "rounds": 4,
}
QUICK = FULL | {"images": 300, "image_size": 64, "different": 60, "small_images": 400, "steps": 3, "rounds": 2}


class WorkerFailed(Exception):
    """A worker process ended with another exit code than 0; the message has the end of what it said."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    measured: float
    unit: str
    goal: float | None = None
    """None: only told."""
    at_least: bool = False
    """Whether the goal is a lower bound."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.measured >= self.goal if self.at_least else self.measured <= self.goal


SAME_SPEED = 0.97
"""Of map against memory that counts as no loss: the pieces of one kind differ by more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; 1 if a process failed or the disk is too small."""
    parsed = parse_arguments(arguments)
    sizes: dict[str, int] = {name: getattr(parsed, name) for name in FULL}
    machine = describe_machine()
    try:
        with tempfile.TemporaryDirectory(prefix="galaxy_exp_data_", dir=parsed.folder) as temporary:
            check_disk(Path(temporary), sizes)
            measured = measure(Path(temporary), sizes, parsed.only)
    except (WorkerFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    figures = build_figures(measured)
    console = open_console(160)
    console.print(describe_task(sizes, machine), highlight=False)
    console.print(build_table(figures))
    rows = [asdict(figure) | {"met": figure.met} for figure in figures]
    write_json(parsed.json, {"sizes": sizes, "machine": machine, "figures": rows, "measured": measured})
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description="Memory and speed of galaxy_exp's data path.")
    for name, value in FULL.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"{_HELP[name]} ({value})")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS), help="which questions")
    parser.add_argument("--folder", type=Path, help="where the sets are made (the folder for temporary files)")
    parser.add_argument("--quick", action="store_true", help="tiny sets and few steps: says nothing, tries everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all measurements as JSON")
    parsed = parser.parse_args(arguments)
    fill_in(parsed, QUICK if parsed.quick else FULL)
    return parsed


_HELP = {
    "images": "of the large set",
    "image_size": "side of its images in pixels",
    "different": "galaxies it is made of, the rest being turned and shifted ones",
    "small_images": "of the small set",
    "small_image_size": "side of its images in pixels",
    "steps": "training steps of a measured piece, 32 images each",
    "rounds": "pieces of each kind",
}
QUESTIONS = ("large", "small", "share")


def check_disk(folder: Path, sizes: Mapping[str, int]) -> None:
    """Raises `OSError` unless both sets fit on the disk twice over."""
    needed = (
        2
        * 3
        * (sizes["images"] * sizes["image_size"] ** 2 + 2 * sizes["small_images"] * sizes["small_image_size"] ** 2)
    )
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{folder}: {free / 1e9:.1f} GB free; expected {needed / 1e9:.1f} (--folder, --images)")


def measure(folder: Path, sizes: Mapping[str, int], questions: Sequence[str]) -> dict[str, Any]:
    """What each worker process printed, by its name; the large set is removed before the small one is made."""
    measured: dict[str, Any] = {}
    if "large" in questions or "share" in questions:
        measured |= _measure_large(_new_folder(folder, "large"), sizes, questions)
    if "small" in questions or "share" in questions:
        measured |= _measure_small(_new_folder(folder, "small"), sizes, questions)
    return measured


def _measure_large(folder: Path, sizes: Mapping[str, int], questions: Sequence[str]) -> dict[str, Any]:
    write_big_set(folder, sizes["images"], sizes["image_size"], n_different=sizes["different"], seed=1)
    names = [name for name in ("memory", "speed", "share") if ("share" if name == "share" else "large") in questions]
    measured = {f"large_{name}": _run(name, folder, "small", sizes) for name in names}
    shutil.rmtree(folder)
    return measured


def _measure_small(folder: Path, sizes: Mapping[str, int], questions: Sequence[str]) -> dict[str, Any]:
    n_images = sizes["small_images"]
    files = write_big_set(folder, n_images, sizes["small_image_size"], n_different=n_images, seed=2)
    measured = {"small_share": _run("share", folder, "tutorial", sizes)} if "share" in questions else {}
    if "small" in questions:
        write_all(folder, files)
        measured |= {f"small_{name}": _run(name, folder, "tutorial", sizes) for name in ("memory", "handwired")}
    return measured


def _new_folder(folder: Path, name: str) -> Path:
    new = folder / name
    new.mkdir()
    print(f"making the {name} set ...", file=sys.stderr, flush=True)
    return new


def _run(what: str, files: Path, network: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    print(f"measuring {what}, {network} network, {files.name} set ...", file=sys.stderr, flush=True)
    worker = Path(__file__).with_name("data_worker.py")
    command = [sys.executable, str(worker), what, "--files", str(files), "--network", network]
    command += ["--steps", str(sizes["steps"]), "--rounds", str(sizes["rounds"])]
    # not watched from here: looking up what a process shares of gigabytes of mapped pages would slow it down
    done = subprocess.run(command, cwd=files, capture_output=True, text=True, check=False, env=own_environment())
    if done.returncode != 0:
        raise WorkerFailed(f"exit code {done.returncode} from: {' '.join(command)}\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def build_figures(measured: Mapping[str, Any]) -> list[Figure]:
    """The lines of the table, as far as they were measured."""
    figures: list[Figure] = []
    if "large_memory" in measured:
        memory, speed = measured["large_memory"], measured["large_speed"]
        figures += [
            Figure("large set on disk", memory["image_bytes"] / 2**20, "MiB"),
            Figure("worker's memory without mapped files, large set", memory["anonymous_mb"], "MiB", 1536),
            Figure("  of it before training", memory["before_training_mb"], "MiB"),
            Figure("  mapped files besides, shared and droppable", memory["mapped_mb"], "MiB"),
            Figure(
                "training speed from the memory map, relative to images in memory",
                speed["ratio"],
                "",
                SAME_SPEED,
                at_least=True,
            ),
        ]
    if "small_memory" in measured:
        own, other = measured["small_memory"], measured["small_handwired"]
        figures += [
            Figure("worker's peak, small set, mapped files included", own["peak_rss_mb"], "MiB"),
            Figure("hand-wired peak, small set", other["peak_rss_mb"], "MiB"),
            Figure(
                "worker's peak memory, relative to the script's", own["peak_rss_mb"] / other["peak_rss_mb"], "", 1 / 3
            ),
        ]
    for name in ("large", "small"):
        if f"{name}_share" in measured:
            share = measured[f"{name}_share"]
            figures += [
                Figure(f"producing a batch of 32, {name} set", share["batch_ms"], "ms"),
                Figure(
                    f"time to produce a batch, relative to a training step, {name} set", 100 * share["share"], "%", 5
                ),
            ]
    return figures


def build_table(figures: Sequence[Figure]) -> Table:
    """Goal and measured, side by side."""
    table = Table(title_justify="left")
    for heading in ("", "goal", "measured", "met"):
        table.add_column(heading, justify="left" if heading in ("", "met") else "right", no_wrap=True)
    for figure in figures:
        goal = "" if figure.goal is None else f"{'>=' if figure.at_least else '<='} {_format(figure.goal, figure.unit)}"
        met = {None: "", True: "yes", False: "NO"}[figure.met]
        table.add_row(figure.what, goal, _format(figure.measured, figure.unit), met)
    return table


def _format(value: float, unit: str) -> str:
    digits = 0 if unit == "MiB" else 2
    return f"{value:,.{digits}f} {unit}".strip()


def describe_task(sizes: Mapping[str, int], machine: Mapping[str, Any]) -> str:
    """The lines above the table."""
    large = f"{sizes['images']:,} x {sizes['image_size']} x {sizes['image_size']} x 3"
    small = f"{sizes['small_images']:,} x {sizes['small_image_size']} x {sizes['small_image_size']} x 3"
    return (
        f"large set: {large}; small set: {small}; all SIMULATED galaxies; pieces of {sizes['steps']} steps\n"
        f"{format_machine(machine)}"
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # or gigabytes would stay behind
    sys.exit(main())
