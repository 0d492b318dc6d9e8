"""The race: galaxy_exp and its peers search on the same galaxies, with real training, for the same time.

    python benchmarks/race.py --data galaxies.h5 --minutes 30 --json race.json
    python benchmarks/race.py --quick --only optuna galaxy-exp

Each contender runs in processes of its own, one contender after the other, and is ended at its limit:
    keras-tuner-random      KerasTuner's RandomSearch
    keras-tuner-hyperband   KerasTuner's Hyperband, its brackets repeated
    optuna                  Optuna's TPE and HyperbandPruner, asked after each epoch by a Keras callback
    ray                     Ray Tune's ASHA and OptunaSearch, in a virtual environment of its own
    galaxy-exp              `galaxy-exp sweep` with the default sampler and scheduler, journal, checkpoints and MLflow
                            (its default, a local SQLite file) on, `search.cost: seconds`, as its guide says if epochs
                            differ much in time, `registry.finalists` 0, and without the baseline, which the peers do
                            not train either
All are used as their guides say, otherwise with their defaults, except that none has a limit of its own.

**What is the same for all.** GalaxyCNN builds and trains every network, so search space, batch sizes, optimizers,
schedules and the order of reading are the same, and the dtype policy too: mixed_bfloat16 where the processor multiplies
bfloat16 natively, else float32. All map the same prepared files of the same split. After each epoch all validate on
the same images, the peers with Keras in the batch size of the training, galaxy_exp with its own prediction. The peers'
callback that records the epochs also keeps the best weights, for the test.

**Time** counts from the start of a contender's process, so each pays for its imports: a peer once, galaxy_exp and Ray
in the driver and in each worker. The data are split and prepared before; galaxy_exp still reads them once to recognise
them. With `--clock cpu` (the default) the limit and all times are processor seconds of all processes of a contender,
which other work on the machine disturbs less: on an idle machine of two cores they pass almost twice as fast as those
of `--clock wall`.

**Scores** are macro-F1, best so far on the validation images. At the limit the peers are killed, and their best model
is scored again in float32, also on the test images; galaxy_exp gets an order to finish, ends its current epoch, and
tests its winner itself, while its validation score stays the one that it trained and searched with, in the dtype
policy above. Later epochs do not count, except that this winner may come from that last one.

A peer that is missing is installed with pip into a new virtual environment, which sees the packages of this one; with
`--quick` it is not. One that cannot be had is named in the table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in, format_machine, numbers, open_console, write_json
from benchmarks.race_run import Limit, Run, run_galaxy_exp, run_peer

__all__ = ["CONTENDERS", "build_table", "describe_gain", "main", "parse_arguments"]

OURS = "galaxy-exp"
CONTENDERS = ("keras-tuner-random", "keras-tuner-hyperband", "optuna", "ray", OURS)
PACKAGES = {"ray": ("ray[tune]",)}
"""What is installed for a peer that the project itself does not need."""

SIZES: dict[str, Any] = {"minutes": 30.0, "epochs": 20, "seeds": 1, "images": 1500, "image_size": 69}
QUICK: dict[str, Any] = {"minutes": 0.5, "epochs": 3, "seeds": 1, "images": 120, "image_size": 32}
QUARTERS = (0.25, 0.5, 0.75, 1.0)


class NotInstalledError(Exception):
    """A peer cannot be had here; one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the contenders and prints the tables; 1 if one of them is not fully measured."""
    parsed = parse_arguments(arguments)
    machine, limit = describe_machine(), Limit(parsed.clock, 60 * parsed.minutes)
    console = open_console(200)
    console.print(f"{_describe(parsed, limit)}\n{format_machine(machine)}", highlight=False)
    runs: list[Run] = []
    with _folder(parsed.keep) as folder:
        prepared = _prepare(parsed, folder)
        for seed in range(1, parsed.seeds + 1):
            for name in parsed.only:
                print(f"running {name}, seed {seed} ...", file=sys.stderr, flush=True)
                runs.append(_run(name, seed, parsed, limit, prepared, folder))
            console.print(build_table([run for run in runs if run.seed == seed]))
    for line in describe_gain(runs):
        console.print(line, highlight=False)
    write_json(parsed.json, _report(parsed, limit, machine, runs))
    return int(any(run.problem for run in runs))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="simulated", help="as data.source of a sweep file")
    parser.add_argument("--minutes", type=float, help="for each contender (30)")
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu", help="what is limited and compared (cpu)")
    parser.add_argument("--epochs", type=int, help="of a training that is not stopped (20)")
    parser.add_argument("--seeds", type=int, help="races, with the seeds 1, 2, ... (1)")
    parser.add_argument("--workers", type=int, default=1, help="networks that each contender trains at a time (1)")
    parser.add_argument("--images", type=int, help="how many to simulate (1500)")
    parser.add_argument("--image-size", type=int, help="side of simulated images in pixels (69)")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS, metavar="NAME")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of galaxy_exp's sweep file")
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=FILE", help="the interpreter that has a peer's package"
    )
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="of those that are made")
    parser.add_argument("--quick", action="store_true", help=f"small, with what is installed: {QUICK}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all epochs and figures as JSON")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="run in new folders here and leave them")
    parsed = parser.parse_args(arguments)
    fill_in(parsed, QUICK if parsed.quick else SIZES)
    for name in ("minutes", "epochs", "seeds", "workers"):
        if not getattr(parsed, name) > 0:
            parser.error(f"--{name} is {getattr(parsed, name)}; expected more than 0")
    for setting in parsed.python:
        name, _, file = setting.partition("=")
        if name not in CONTENDERS[:-1] or not Path(file).is_file():
            parser.error(f"--python {setting}: expected NAME=FILE, one of {', '.join(CONTENDERS[:-1])} and a file")
    parsed.python = {name: file for name, _, file in (setting.partition("=") for setting in parsed.python)}
    return parsed


def build_table(runs: Sequence[Run]) -> Table:
    """The contenders of one seed: a row each."""
    limit, goal = runs[0].limit, _goal(runs)
    title = f"seed {runs[0].seed}: macro-F1 on validation images by {limit.clock} time, limit {limit.seconds:,.0f} s"
    to_goal = "to the best peer's" if goal is None else f"s to {goal:.4f}"
    columns = (to_goal, "val", "test", "wall s", "cpu s", "cpu s of others", "training")
    by_quarter = [f"{quarter:.0%}" for quarter in QUARTERS]
    table = Table("", "trials", "epochs", *numbers(*by_quarter, *columns), title=title, title_justify="left")
    for run in runs:
        table.add_row(*_cells(run, goal))
    for run in runs:
        if run.problem:
            table.caption = f"{table.caption or ''}{run.name}: {run.problem}\n"
    return table


def _cells(run: Run, goal: float | None) -> list[str]:
    if not run.wall_seconds:
        return [run.name, *["-"] * (len(QUARTERS) + 9)]
    reached = None if goal is None else run.time_to(goal)
    quarters = [_score(run.best_at(quarter * run.limit.seconds)) for quarter in QUARTERS]
    return [
        run.name,
        str(run.trials),
        str(len(run.epochs)),
        *quarters,
        "never" if reached is None else f"{reached:.0f} ({reached / run.limit.seconds:.0%})",
        _score(run.val_macro_f1),
        _score(run.test_macro_f1),
        f"{run.wall_seconds:.0f}",
        f"{run.cpu_seconds:.0f}",
        f"{run.other_cpu_seconds:.0f}",
        f"{run.training_share:.0%}",
    ]


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def _best_peer(runs: Sequence[Run]) -> Run | None:
    """The peer with the best score at its end; of equal ones that which reached it first."""
    peers = [(run.best, run) for run in runs if run.name != OURS]
    known = [(best, -(run.time_to(best) or 0.0), run) for best, run in peers if best is not None]
    return max(known, key=lambda one: one[:2])[2] if known else None


def _goal(runs: Sequence[Run]) -> float | None:
    peer = _best_peer(runs)
    return None if peer is None else peer.best


def describe_gain(runs: Sequence[Run]) -> Iterator[str]:
    """By seed, the time galaxy_exp took to what the best peer has at its end, over that peer's own; then the median."""
    shares = []
    for seed in sorted({run.seed for run in runs}):
        race = [run for run in runs if run.seed == seed]
        peer, ours = _best_peer(race), next((run for run in race if run.name == OURS), None)
        if peer is None or ours is None or peer.best is None:
            continue
        taken, needed = peer.time_to(peer.best) or 0.0, ours.time_to(peer.best)
        shares.append(float("inf") if needed is None else needed / taken)
        ending = "never" if needed is None else f"after {needed:.0f} s, {shares[-1]:.2f} of that"
        yield f"seed {seed}: best peer {peer.name}, {peer.best:.4f} after {taken:.0f} s; {OURS} {ending}"
    if len(shares) > 1:
        yield f"median: {statistics.median(shares):.2f} of the best peer's time (goal: at most 0.5)"


def _describe(parsed: argparse.Namespace, limit: Limit) -> str:
    images = Path(parsed.data).name
    if parsed.data == "simulated":
        images = f"{parsed.images} SIMULATED galaxies of {parsed.image_size} x {parsed.image_size} pixels"
    changed = f"; galaxy_exp with {', '.join(parsed.set)}" if parsed.set else ""
    return (
        f"data: {images}; {parsed.epochs} epochs a training, {parsed.workers} workers, {limit.seconds:,.0f} s of "
        f"{limit.clock} time each{changed}"
    )


def _prepare(parsed: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Path]:
    """The `data` section of a sweep file, and the folder of the prepared split within `folder`/data."""
    from galaxy_exp.config.data_section import DataConfig, SimulatedConfig
    from galaxy_exp.data import load_dataset, prepare_split

    source = str(Path(parsed.data).absolute()) if Path(parsed.data).exists() else parsed.data
    simulated = SimulatedConfig(n_images=parsed.images, image_size=parsed.image_size, class_proportions="equal")
    config = DataConfig(source=source, simulated=simulated)
    prepared = prepare_split(load_dataset(config), config.split, folder / "data")
    return config.model_dump(mode="json"), prepared.folder


def _run(
    name: str, seed: int, parsed: argparse.Namespace, limit: Limit, prepared: tuple[dict[str, Any], Path], race: Path
) -> Run:
    data, split = prepared
    folder = race / f"{name}-{seed}"
    folder.mkdir()
    task = {
        "data": str(split),
        "epochs": parsed.epochs,
        "seed": seed,
        "workers": parsed.workers,
        "cores": describe_machine()["cores"],
    }
    if name == OURS:
        shutil.copytree(race / "data", folder / ".galaxy_exp" / "data")
        return run_galaxy_exp(task, data, parsed.set, folder, limit)
    try:
        python = _find_python(name, parsed)
    except NotInstalledError as error:
        return Run(name, seed, limit, problem=str(error))
    return run_peer(name, python, task, folder, limit)


def _find_python(name: str, parsed: argparse.Namespace) -> str:
    """The interpreter that has a peer's packages; they are installed if they are missing.

    Raises:
        NotInstalledError: they are not here and cannot be installed, or may not.
    """
    if name in parsed.python or name not in PACKAGES:
        return str(parsed.python.get(name, sys.executable))
    environments = parsed.environments or Path("~/.cache/galaxy_exp/race").expanduser()
    environment = environments / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = environment / "bin" / "python"
    if not (environment / "complete").is_file():
        if parsed.quick:
            raise NotInstalledError(f"not installed; it is without --quick, or name its interpreter: --python {name}=")
        _install(PACKAGES[name], environment, python)
    _let_see_packages(environment)
    return str(python)


def _install(packages: Sequence[str], environment: Path, python: Path) -> None:
    print(f"installing {' '.join(packages)} in {environment} ...", file=sys.stderr, flush=True)
    try:
        _call(sys.executable, "-m", "venv", "--clear", str(environment))
        _let_see_packages(environment)
        _call(str(python), "-m", "pip", "install", "--quiet", *packages)
    except (OSError, subprocess.CalledProcessError) as error:
        lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise NotInstalledError(f"cannot be installed: {reason[:200]}") from error
    (environment / "complete").touch()


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)


def _let_see_packages(environment: Path) -> None:
    """The same TensorFlow, Keras and Optuna as everyone's, as far as the peer can use them."""
    (site,) = environment.glob("lib/python*/site-packages")
    seen = [path for path in sys.path if path.rstrip(os.sep).endswith("-packages")]
    (site / "race.pth").write_text("\n".join(seen) + "\n", encoding="utf-8")


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_race_", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _report(parsed: argparse.Namespace, limit: Limit, machine: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    shown = ("minutes", "clock", "epochs", "seeds", "workers", "set")
    settings = {"data": Path(parsed.data).name, **{name: getattr(parsed, name) for name in shown}}
    if parsed.data == "simulated":
        settings |= {"images": parsed.images, "image_size": parsed.image_size}
    return {
        "settings": settings,
        "machine": machine,
        "limit": asdict(limit),
        "gain": list(describe_gain(runs)),
        "runs": [run.to_dict() for run in runs],
    }


if __name__ == "__main__":
    sys.exit(main())
