"""Images on the device and epochs in one call against plain `model.fit` from NumPy, on the same backend and GPU.

    python benchmarks/gpu.py                       on a GPU, with JAX unless KERAS_BACKEND says otherwise
    python benchmarks/gpu.py --quick               small, also without a GPU

First the tutorial's network, for each batch size: images/s of the fastest epoch after the first, which compiles. Then
one sweep each of the same configurations, drawn at random and none stopped early, on simulated galaxies of the size of
Galaxy10 SDSS. Without a GPU the figures say nothing about one, and the output says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import describe_machine, fill_in, format_machine, open_console, write_json
from benchmarks.trials import build_spec
from galaxy_exp.quiet import import_keras_quietly

__all__ = ["CONTENDERS", "main"]

CONTENDERS = {"galaxy_exp": "galaxy-cnn", "plain fit from NumPy": "benchmarks.networks:PlainFitCNN"}
BATCH_SIZES = (32, 256)
SPACE: dict[str, Any] = {"class_weighting": {"values": ["none", "sqrt"]}}
FULL = {"images": 21_785, "image_size": 69, "epochs": 5, "trials": 50}
QUICK = {"images": 300, "image_size": 32, "epochs": 2, "trials": 2}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints two tables."""
    parsed = parse_arguments(arguments)
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import_keras_quietly()
    device = describe_device()
    simulated = {"n_images": parsed.images, "image_size": parsed.image_size, "class_proportions": "equal"}
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_gpu_") as scratch:
        os.environ["GALAXY_EXP_HOME"] = scratch
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        os.chdir(scratch)
        speeds = measure_speed(simulated, Path(scratch), parsed.epochs)
        sweeps = [run_sweep_with(name, simulated, parsed) for name in CONTENDERS]
    console = open_console(120)
    console.print(f"{format_machine(describe_machine())}\ndevice: {device}", highlight=False)
    if device["platform"] != "gpu":
        console.print("no GPU here: these are figures of the processor, and say nothing about a GPU", style="bold")
    console.print(_table(f"the tutorial's network, {parsed.epochs} epochs", speeds))
    console.print(_table(f"a sweep of {parsed.trials} trials", sweeps))
    write_json(parsed.json, {"machine": describe_machine(), "device": device, "speed": speeds, "sweeps": sweeps})


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` only fills in what was not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, help="how many to simulate")
    parser.add_argument("--image-size", type=int, help="side of the images in pixels")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--trials", type=int, help="of each sweep")
    parser.add_argument("--workers-per-gpu", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help=f"small: {QUICK}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    parsed = parser.parse_args(arguments)
    fill_in(parsed, QUICK if parsed.quick else FULL)
    parsed.json = parsed.json and parsed.json.resolve()
    return parsed


def describe_device() -> dict[str, str]:
    """Backend, kind of device (cpu or gpu) and its name."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return {"backend": backend, "platform": device.platform, "name": device.device_kind}
    platform = "gpu" if keras.distribution.list_devices("gpu") else "cpu"
    return {"backend": backend, "platform": platform, "name": platform}


def measure_speed(simulated: dict[str, Any], scratch: Path, epochs: int) -> list[dict[str, Any]]:
    """A row for each batch size and contender."""
    from galaxy_exp.config.data_section import DataConfig, SimulatedConfig
    from galaxy_exp.data import load_dataset, prepare_split
    from galaxy_exp.records import Objective

    config = DataConfig(simulated=SimulatedConfig(**simulated))
    files = prepare_split(load_dataset(config), config.split, scratch / "data").files
    rows = []
    for batch_size in BATCH_SIZES:
        for name, reference in CONTENDERS.items():
            spec = build_spec(
                files,
                scratch / f"{name} {batch_size}",
                {"batch_size": batch_size},
                hypermodel=reference,
                epochs=epochs,
                jit_compile=True,
                objective=Objective("val_accuracy", "max"),
            )
            result, speeds = _train(spec)
            rows.append(
                {
                    "contender": name,
                    "batch size": batch_size,
                    "precision": result.precision,
                    "images/s": round(max(speeds[1:])),
                    "seconds of the trial": round(result.seconds, 1),
                }
            )
    return rows


def _train(spec: Any) -> tuple[Any, list[float]]:
    """The result of a trial, and images/s of each of its epochs."""
    from galaxy_exp.records import Decision
    from galaxy_exp.training import run_trial

    speeds: list[float] = []

    def note(report: Any) -> Any:
        speeds.append(report.metrics["images_per_second"])
        return Decision.CONTINUE

    return run_trial(spec, note), speeds


def run_sweep_with(name: str, simulated: dict[str, Any], parsed: argparse.Namespace) -> dict[str, Any]:
    """A sweep with the contender's hypermodel; both propose the same configurations."""
    from galaxy_exp import run_sweep

    config = {
        "name": "gpu",
        "data": {"source": "simulated", "simulated": simulated},
        "hypermodel": CONTENDERS[name],
        "space": SPACE,
        "training": {"epochs": parsed.epochs, "jit_compile": True},
        "search": {"sampler": "random", "scheduler": "none", "max_trials": parsed.trials, "seed": 1},
        "execution": {"workers_per_gpu": parsed.workers_per_gpu},
        "tracking": {"experiment": "gpu", "figures": False, "keep_models": 1},
        "registry": {"model": f"gpu-{list(CONTENDERS).index(name)}", "finalists": 0},
    }
    began = time.perf_counter()
    result = run_sweep(config)
    seconds = time.perf_counter() - began
    return {
        "contender": name,
        "trials": parsed.trials,
        "seconds": round(seconds, 1),
        "seconds a trial": round(seconds / parsed.trials, 2),
        "winner's held-out test accuracy": round(result.record.test_reports[result.winner.number]["accuracy"], 3),
    }


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(str, row.values()))
    return table


if __name__ == "__main__":
    main()
