"""galaxy_exp beside KerasTuner and MLflow wired by hand, on the same images and the same search space.

    python benchmarks/compare.py --quick
    python benchmarks/compare.py --data galaxies.h5 --trials 5 --epochs 5 --json compare.json

Each contender runs as a command of its own in an empty folder, one after the other. All train the tutorial's network
and then `--trials` more. Random draws differ between the contenders, so the sums of fit seconds do too; images/s are
those of the tutorial's network, which is the same for all, in its fastest epoch. Other work on the machine shifts every
figure, and the table says how much of it there was; on a busy one trust processor time more than wall time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in, format_machine, open_console, write_json
from benchmarks.contenders import CONTENDERS, Task
from benchmarks.measured import Measured
from benchmarks.process import CommandFailed
from benchmarks.table import build_table

DEFAULT_CONTENDERS = ("handwired", "galaxy-exp", "galaxy-exp-defaults")
FULL: dict[str, Any] = {"trials": 3, "epochs": 3, "images": 1200, "image_size": 69}
QUICK: dict[str, Any] = {"trials": 2, "epochs": 2, "images": 300, "image_size": 32}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the contenders and prints the table; 1 if one of them failed."""
    parsed = parse_arguments(arguments)
    task = build_task(parsed)
    machine = describe_machine()
    console = open_console(240)
    console.print(describe_task(task, machine), highlight=False)
    try:
        measured = [_run(name, task, parsed.keep) for name in parsed.contenders]
    except CommandFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    console.print(build_table(measured, "times better: above 1 is in favour of galaxy_exp"))
    write_json(parsed.json, _report(task, machine, measured))
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description="galaxy_exp beside KerasTuner and MLflow wired by hand.")
    parser.add_argument("--data", default="simulated", help="an .h5 file in Galaxy10's layout, or simulated")
    parser.add_argument("--trials", type=int, help="besides the tutorial's network (3)")
    parser.add_argument("--epochs", type=int, help="of each trial (3)")
    parser.add_argument("--images", type=int, help="how many to simulate (1200)")
    parser.add_argument("--image-size", type=int, help="side of simulated images in pixels (69)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help=f"small: {QUICK}")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=DEFAULT_CONTENDERS,
        metavar="NAME",
        help=f"out of {', '.join(CONTENDERS)}; the first is compared with",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="all measurements as JSON")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="run in new folders here and leave them")
    return parser.parse_args(arguments)


def build_task(parsed: argparse.Namespace) -> Task:
    """Given options, then those of `--quick`, then the defaults."""
    fill_in(parsed, QUICK if parsed.quick else FULL)
    sizes = {name: getattr(parsed, name) for name in FULL}
    data = parsed.data if not Path(parsed.data).is_file() else str(Path(parsed.data).absolute())
    return Task(data=data, seed=parsed.seed, **sizes)


def describe_task(task: Task, machine: dict[str, Any]) -> str:
    """The lines above the table."""
    images = Path(task.data).name
    if task.data == "simulated":
        images = f"{task.images} SIMULATED galaxies of {task.image_size} x {task.image_size} pixels"
    return (
        f"data: {images}; the tutorial's network and {task.trials} more, epochs each: {task.epochs}, seed {task.seed}\n"
        f"{format_machine(machine)}"
    )


def _run(name: str, task: Task, keep: Path | None) -> Measured:
    print(f"running {name} ...", file=sys.stderr, flush=True)
    if keep is not None:
        folder = keep.absolute() / name
        folder.mkdir(parents=True)
        return CONTENDERS[name](task, folder)
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_compare_", ignore_cleanup_errors=True) as temporary:
        return CONTENDERS[name](task, Path(temporary))


def _report(task: Task, machine: dict[str, Any], measured: Sequence[Measured]) -> dict[str, Any]:
    shown = {"data": Path(task.data).name, "trials": task.trials, "epochs": task.epochs, "seed": task.seed}
    if task.data == "simulated":
        shown |= {"images": task.images, "image_size": task.image_size}
    return {"task": shown, "machine": machine, "contenders": [one.to_dict() for one in measured]}


if __name__ == "__main__":
    sys.exit(main())
