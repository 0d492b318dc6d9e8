"""Where pooling stands in a block with batch normalisation: before it, as GalaxyCNN has it, or after the ReLU.

    python benchmarks/block_order.py --data galaxies.h5 --seeds 3 --epochs 20

Trains one network of four blocks in both orders with the same seeds on the same split, and prints the best epoch's
validation scores and the time in epochs. Other work on the machine shifts the times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import describe_machine

NETWORK: dict[str, Any] = {
    "n_blocks": 4,
    "convs_per_block": 1,
    "filters_1": 32,
    "filters_2": 64,
    "width_growth": 1.5,
    "batch_norm": True,
    "head": "gap",
    "dense_width": 0,
    "dropout_1": 0.1,
    "dropout_2": 0.3,
    "augmentation": "flips+rotations",
    "learning_rate": 2e-3,
    "batch_size": 32,
    "optimizer": "adam",
    "schedule": "cosine",
    "class_weighting": "sqrt",
}
ORDERS = {"pool, norm, relu": "galaxy-cnn", "norm, relu, pool": "benchmarks.norm_first:NormFirstCNN"}
SCORES = ("val_macro_f1", "val_accuracy")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="simulated", help="as data.source of a sweep file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parsed = parser.parse_args(arguments)
    rows = measure(parsed.data, parsed.seeds, parsed.epochs)
    table = Table("order", *SCORES, "seconds in epochs", title=f"{parsed.data}, {parsed.epochs} epochs")
    for row in rows:
        cells = [" ".join(f"{value:.3f}" for value in row[name]) for name in SCORES]
        table.add_row(row["order"], *cells, " ".join(f"{seconds:.0f}" for seconds in row["seconds"]))
    Console().print(f"machine: {describe_machine()}")
    Console().print(table)
    if parsed.json:
        parsed.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(source: str, seeds: int, epochs: int) -> list[dict[str, Any]]:
    """One row an order, with a list of one number a seed under each score and under `seconds`."""
    from galaxy_exp.config.sweep import DataConfig
    from galaxy_exp.data import load_dataset, prepare_split
    from galaxy_exp.hypermodel.loading import load_hypermodel
    from galaxy_exp.hypermodel.search_space import build_space
    from galaxy_exp.records import Objective, TrialSpec
    from galaxy_exp.training import run_trial

    rows: list[dict[str, Any]] = [{"order": order, "seconds": [], **{s: [] for s in SCORES}} for order in ORDERS]
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_block_order_") as scratch:
        config = DataConfig(source=source)
        data = prepare_split(load_dataset(config), config.split, Path(scratch))
        for seed in range(1, seeds + 1):
            for row, reference in zip(rows, ORDERS.values(), strict=True):
                space = build_space(load_hypermodel(reference, data.image_shape, len(data.class_names)), NETWORK)
                result = run_trial(
                    TrialSpec(
                        sweep_id="block-order",
                        number=seed,
                        values=dict(space.values),
                        space=space.get_config(),
                        hypermodel=reference,
                        data=data.files,
                        epochs=epochs,
                        seed=seed,
                        precision="auto",
                        deterministic=False,
                        jit_compile=False,
                        objective=Objective("val_macro_f1", "max"),
                        folder=Path(scratch) / f"{row['order']} {seed}",
                    ),
                    lambda report: True,
                )
                for name in SCORES:
                    row[name].append(result.metrics[name])
                row["seconds"].append(result.training_seconds)
                print(f"{row['order']}, seed {seed}: {row[SCORES[0]][-1]:.3f}", file=sys.stderr)
    for row in rows:
        row["mean"] = {name: statistics.fmean(row[name]) for name in SCORES}
    return rows


if __name__ == "__main__":
    main()
