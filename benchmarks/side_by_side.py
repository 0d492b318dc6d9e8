"""Networks trained with the same seeds on the same split, and their table."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.command_line import describe_machine, format_machine, open_console, write_json
from benchmarks.trials import build_spec

__all__ = ["Variant", "compare_variants"]

SCORES = ("val_macro_f1", "val_accuracy")


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the networks."""

    values: Mapping[str, Any]
    """Of its hyperparameters; the others stay at their defaults."""
    hypermodel: str = "galaxy-cnn"
    precision: str = "auto"


def compare_variants(description: str, variants: Mapping[str, Variant], arguments: Sequence[str] | None) -> None:
    """The whole of a benchmark: reads the command line, trains, prints the table, writes JSON if asked for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="simulated", help="as data.source of a sweep file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parsed = parser.parse_args(arguments)
    rows = _measure(parsed.data, parsed.seeds, parsed.epochs, variants)
    table = Table("", *SCORES, "seconds in epochs", title=f"{parsed.data}, {parsed.epochs} epochs")
    for row in rows:
        cells = [" ".join(f"{value:.3f}" for value in row[name]) + f", mean {row['mean'][name]:.3f}" for name in SCORES]
        table.add_row(row["name"], *cells, " ".join(f"{seconds:.0f}" for seconds in row["seconds"]))
    console = open_console(160)
    console.print(format_machine(describe_machine()), highlight=False)
    console.print(table)
    write_json(parsed.json, rows)


def _measure(source: str, seeds: int, epochs: int, variants: Mapping[str, Variant]) -> list[dict[str, Any]]:
    """One row a variant, with a list of one number a seed under each score and under `seconds`."""
    from galaxy_exp.config.data_section import DataConfig
    from galaxy_exp.data import load_dataset, prepare_split
    from galaxy_exp.records import Decision
    from galaxy_exp.training import run_trial

    rows: list[dict[str, Any]] = [{"name": name, "seconds": [], **{s: [] for s in SCORES}} for name in variants]
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_side_by_side_") as scratch:
        config = DataConfig(source=source)
        files = prepare_split(load_dataset(config), config.split, Path(scratch)).files
        for seed in range(1, seeds + 1):
            for row, variant in zip(rows, variants.values(), strict=True):
                spec = build_spec(
                    files,
                    Path(scratch, f"{row['name']} {seed}"),
                    variant.values,
                    hypermodel=variant.hypermodel,
                    epochs=epochs,
                    seed=seed,
                    precision=variant.precision,
                )
                result = run_trial(spec, lambda report: Decision.CONTINUE)
                for name in SCORES:
                    row[name].append(result.metrics[name])
                row["seconds"].append(result.training_seconds)
                print(f"{row['name']}, seed {seed}: {row[SCORES[0]][-1]:.3f}", file=sys.stderr)
    for row in rows:
        row["mean"] = {name: statistics.fmean(row[name]) for name in SCORES}
    return rows
