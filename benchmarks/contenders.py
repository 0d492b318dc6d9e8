"""Who is compared, and how each is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measured import Measured, newest_journal, read_handwired, read_journal
from benchmarks.process import ROOT, run_command
from benchmarks.runs import describe_runs

__all__ = ["CONTENDERS", "TUNED", "Task", "build_sweep"]

TUNED: dict[str, Any] = {
    "filters_1": {"values": [16, 32, 64]},
    "filters_2": {"values": [32, 64]},
    "dropout_1": {"min": 0.1, "max": 0.5, "step": 0.05},
    "dense_width": {"values": [64, 128, 256]},
    "dropout_2": {"min": 0.2, "max": 0.6, "step": 0.1},
    "learning_rate": {"min": 3.0e-4, "max": 3.0e-3, "scale": "log"},
}
"""What `handwired.TutorialNetwork.build` tunes, as a sweep file says it; a test holds the two together."""

FIXED: dict[str, Any] = {
    "n_blocks": 1,
    "kernel_size": 3,
    "batch_norm": False,
    "head": "flatten",
    "augmentation": "none",
    "batch_size": 32,
    "optimizer": "adam",
    "schedule": "constant",
    "label_smoothing": 0.0,
    "class_weighting": "none",
}
"""The rest of the tutorial's network, which the hand-wired script does not tune."""

EXPERIMENT = "galaxy10"
SAME_SEARCH = {"sampler": "random", "scheduler": "none", "objective": "val_accuracy"}


@dataclass(frozen=True, slots=True)
class Task:
    """What every contender has to do: train the tutorial's network and `trials` more."""

    data: str
    trials: int
    epochs: int
    seed: int
    images: int
    image_size: int


def build_sweep(task: Task, search: dict[str, Any]) -> dict[str, Any]:
    """The sweep file for a task; `search` says how, left out keys take galaxy_exp's defaults."""
    return {
        "name": "compare",
        "data": {
            "source": task.data,
            "simulated": {
                "n_images": task.images,
                "image_size": task.image_size,
                "class_proportions": "equal",
            },
        },
        "space": FIXED | TUNED,
        "training": {"epochs": task.epochs},
        "search": search | {"max_trials": task.trials + 1, "seed": task.seed},
        "tracking": {"experiment": EXPERIMENT},
    }


def run_handwired(task: Task, folder: Path, runs: str, name: str) -> Measured:
    """The hand-wired script, with one of its ways to make runs."""
    options = {"--data": task.data, "--trials": task.trials, "--epochs": task.epochs, "--seed": task.seed}
    options |= {"--images": task.images, "--image-size": task.image_size, "--runs": runs, "--out": "result.json"}
    command = [sys.executable, str(ROOT / "benchmarks" / "handwired.py")]
    usage = run_command([*command, *(str(word) for pair in options.items() for word in pair)], folder, folder / "log")
    fits, result = read_handwired(json.loads((folder / "result.json").read_text(encoding="utf-8")))
    return Measured(name, usage, fits, result, describe_runs(_store(folder), EXPERIMENT, list(TUNED)))


def run_galaxy_exp(task: Task, folder: Path, search: dict[str, Any], name: str) -> Measured:
    """A sweep through the command line."""
    (folder / "sweep.yaml").write_text(yaml.safe_dump(build_sweep(task, search), sort_keys=False), encoding="utf-8")
    usage = run_command([sys.executable, "-m", "galaxy_exp", "sweep", "sweep.yaml", "--quiet"], folder, folder / "log")
    fits, result = read_journal(newest_journal(folder).read_text(encoding="utf-8").splitlines())
    return Measured(name, usage, fits, result, describe_runs(_store(folder), EXPERIMENT, list(TUNED)))


def _store(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


CONTENDERS: dict[str, Callable[[Task, Path], Measured]] = {
    "handwired": lambda task, folder: run_handwired(task, folder, "parent", "by hand"),
    "handwired-nested": lambda task, folder: run_handwired(task, folder, "nested", "by hand, nested runs"),
    "galaxy-exp": lambda task, folder: run_galaxy_exp(task, folder, SAME_SEARCH, "galaxy_exp, same search"),
    "galaxy-exp-defaults": lambda task, folder: run_galaxy_exp(task, folder, {}, "galaxy_exp, tpe + asha"),
}
"""The first is what the others are compared with."""
