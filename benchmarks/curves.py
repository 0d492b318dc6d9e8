"""Trains many random configurations of GalaxyCNN to the end and keeps their learning curves.

    nice -n 10 python benchmarks/curves.py train --folder curves
    python benchmarks/curves.py pack --folder curves --to benchmarks/learning_curves.parquet

`train` appends each finished configuration to FOLDER/curves.jsonl and goes on where it stopped when it is started again
with the same sizes. Configuration n follows from the seed and n alone. Nothing is stopped early; configurations that
diverge are kept as failed. benchmarks/search.py replays the table.

The learning rate is constant: KerasTuner's Hyperband trains for 2, 6 and 18 epochs, so with a schedule that spans
all epochs its short trials would have other curves than the beginnings of long ones, and could not be replayed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in
from benchmarks.curves_table import METRICS, append_line, read_lines, write_table
from benchmarks.trials import build_spec
from galaxy_exp.config.data_section import DataConfig, SimulatedConfig, SplitConfig
from galaxy_exp.config.sweep import RangeSpace, SpaceEntry, ValuesSpace
from galaxy_exp.data import PreparedData, load_dataset, prepare_split
from galaxy_exp.records import Decision, HyperparameterValue, TrialState
from galaxy_exp.seeding import derive_seed

SPACE: dict[str, SpaceEntry] = {
    "n_blocks": RangeSpace(min=1, max=4),
    "convs_per_block": 1,
    "width_growth": 2.0,
    "residual": False,
    "equivariant": False,
    "filters_1": ValuesSpace(values=(4, 8, 16)),
    "filters_2": 16,
    "kernel_size": 3,
    "dropout_1": 0.0,
    "dense_width": 64,
    "dropout_2": RangeSpace(min=0.0, max=0.6, step=0.1),
    "augmentation": ValuesSpace(values=("none", "flips", "flips+rotations")),
    "learning_rate": RangeSpace(min=1e-4, max=3e-2, scale="log"),
    "batch_size": 32,
    "schedule": "constant",
    "label_smoothing": 0.0,
    "class_weighting": "none",
}
"""Nine hyperparameters are left to search, `weight_decay` only with adamw; the rates reach into what diverges."""

FULL = {"configurations": 340, "epochs": 18, "images": 1700, "image_size": 32}
QUICK = {"configurations": 2, "epochs": 1, "images": 100, "image_size": 24}
VALIDATION, TEST = 0.4, 0.01
"""Shares of the images. Nothing is ever tested, but every split has a test part."""

TRAININGS_OF_A_PROCESS = 20
"""TensorFlow gets slower with every network that a process has trained."""

FILE = "curves.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains or packs; 1 if the folder holds the curves of another task."""
    parsed = parse_arguments(arguments)
    file = parsed.folder / FILE
    if parsed.command == "pack":
        return pack(file, parsed.to)
    parsed.folder.mkdir(parents=True, exist_ok=True)
    return train(file, {name: getattr(parsed, name) for name in (*FULL, "seed")})


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description="A table of learning curves of random configurations of GalaxyCNN.")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train, or go on training")
    for name, value in FULL.items():
        training.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"{_HELP[name]} ({value})")
    training.add_argument("--seed", type=int, default=1, help="configurations, weights and orders follow from it (1)")
    training.add_argument("--quick", action="store_true", help=f"small: {QUICK}")
    packing = commands.add_parser("pack", help="write what was trained as Parquet")
    packing.add_argument("--to", type=Path, required=True, metavar="FILE")
    for command in (training, packing):
        command.add_argument("--folder", type=Path, required=True, help=f"of {FILE}")
    parsed = parser.parse_args(arguments)
    if parsed.command == "train":
        fill_in(parsed, QUICK if parsed.quick else FULL)
    return parsed


_HELP = {
    "configurations": "how many to train",
    "epochs": "of each",
    "images": "simulated galaxies in ten equal classes",
    "image_size": "side in pixels",
}


def train(file: Path, sizes: Mapping[str, int]) -> int:
    """Trains the configurations that the file does not have yet."""
    from galaxy_exp.hypermodel import GalaxyCNN, discover_space
    from galaxy_exp.hypermodel.discovery import to_kerastuner
    from galaxy_exp.space.overrides import build_space

    images = SimulatedConfig(
        n_images=sizes["images"], image_size=sizes["image_size"], seed=0, class_proportions="equal"
    )
    dataset = load_dataset(DataConfig(simulated=images))
    hypermodel = GalaxyCNN(dataset.image_shape, dataset.n_classes)
    space = build_space(hypermodel, SPACE, discover_space(hypermodel))
    task: dict[str, Any] = {name: sizes[name] for name in ("epochs", "images", "image_size", "seed")} | {
        "space": space.get_config()
    }
    lines = read_lines(file)
    if not lines:
        append_line(file, {"task": task, "machine": describe_machine()})
    elif lines[0]["task"] != task:
        print(f"error: {file}: holds curves of another task; expected the sizes it was begun with", file=sys.stderr)
        return 1
    done = {line["number"] for line in lines[1:]}
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_curves_") as temporary:
        split = SplitConfig(validation=VALIDATION, test=TEST, seed=7)
        prepared = prepare_split(dataset, split, Path(temporary) / "data")
        waiting = sorted(set(range(sizes["configurations"])) - done)
        values = [draw_values(to_kerastuner(space), task["seed"], number) for number in waiting]
        train_in_pool = partial(train_one, task=task, data=prepared, folder=Path(temporary) / "trial")
        spawn = multiprocessing.get_context("spawn")
        for first in range(0, len(waiting), TRAININGS_OF_A_PROCESS):
            some = slice(first, first + TRAININGS_OF_A_PROCESS)
            with ProcessPoolExecutor(1, spawn) as pool:  # max_tasks_per_child may hang: python/cpython#115634
                for line in pool.map(train_in_pool, waiting[some], values[some]):
                    append_line(file, line)
                    print(_describe(line), flush=True)
    return 0


def draw_values(space: Any, seed: int, number: int) -> dict[str, HyperparameterValue]:
    """The values of a configuration, each active hyperparameter drawn uniformly over its own scale."""
    values: dict[str, HyperparameterValue] = {}
    for hyperparameter in space.space:
        drawn = space.copy()
        drawn.values = values
        if drawn.is_active(hyperparameter):
            name = hyperparameter.name
            values[name] = hyperparameter.random_sample(derive_seed(seed, "configuration", number, name))
    return values


def train_one(
    number: int,
    values: dict[str, HyperparameterValue],
    *,
    task: Mapping[str, Any],
    data: PreparedData,
    folder: Path,
) -> dict[str, Any]:
    """Trains one configuration to the end, as a sweep's worker would; returns its line of the file."""
    from galaxy_exp.training import run_trial

    curves: dict[str, list[float]] = {name: [] for name in METRICS}

    def report(epoch: Any) -> Decision:
        for name, curve in curves.items():
            curve.append(round(epoch.metrics[name], 5))
        return Decision.CONTINUE

    spec = build_spec(
        data.files,
        folder,
        number=number,
        values=values,
        space=task["space"],
        epochs=task["epochs"],
        seed=derive_seed(task["seed"], "trial", number),
    )
    began = time.perf_counter()
    result = run_trial(spec, report)
    if result.state is TrialState.FAILED and not result.reason.startswith("diverged"):
        raise RuntimeError(f"configuration {number}, {values}: {result.reason}\n{result.traceback}")
    return {
        "number": number,
        "values": values,
        "state": str(result.state),
        "reason": result.reason,
        "parameters": result.parameters,
        "precision": result.precision,
        "seconds": round(time.perf_counter() - began, 2),
        **curves,
    }


def _describe(line: Mapping[str, Any]) -> str:
    best = max(line["val_macro_f1"], default=float("nan"))
    return f"{line['number']}: {line['reason']}, best val_macro_f1 {best:.3f}, {line['seconds']:.1f} s"


def pack(file: Path, to: Path) -> int:
    """Writes the table; 1 if there is nothing to write."""
    lines = read_lines(file)
    if len(lines) < 2:
        print(f"error: {file}: holds no finished configuration; expected some from the command train", file=sys.stderr)
        return 1
    head, rows = lines[0], lines[1:]
    write_table(to, head["task"] | {"machine": head["machine"]}, rows)
    print(f"{to}: {len(rows)} configurations, {to.stat().st_size / 2**20:.2f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
