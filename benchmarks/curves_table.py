"""A table of learning curves: hyperparameters in, what the training reported after each epoch out.

While it is made it is a file of JSON lines, one configuration each, fsynced; finished, it is one Parquet file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["METRICS", "Configuration", "CurveTable", "append_line", "read_lines", "read_table", "write_table"]

METRICS = ("val_macro_f1", "val_accuracy", "val_loss", "epoch_seconds")
"""What is kept of each epoch."""

_TASK_KEY = b"galaxy_exp.curves"

_SCHEMA = pa.schema(
    [
        ("number", pa.int32()),
        ("values", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("parameters", pa.int32()),
        *((name, pa.list_(pa.float32())) for name in METRICS),
    ]
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One row."""

    number: int
    values: dict[str, Any]
    """Active hyperparameters."""
    state: str
    """"completed", or "failed" for one that diverged; its curves then end before the last epoch."""
    reason: str
    parameters: int
    """Weights of the network; 0 for a failed one."""
    curves: dict[str, list[float]]
    """By metric, one number an epoch."""


@dataclass(frozen=True, slots=True)
class CurveTable:
    """All rows, and what they were made of."""

    task: dict[str, Any]
    """`epochs`, `seed`, `space` (`keras_tuner.HyperParameters.get_config()`), and the data."""
    rows: tuple[Configuration, ...]


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Appends one JSON object and returns when it is on disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of the file, without a last line that was cut off, which is removed from the file."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(path, len(whole.encode()))
    return [json.loads(line) for line in whole.splitlines()]


def write_table(path: Path, task: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows as compressed Parquet (zstd), sorted by number; the task goes into the file's metadata."""
    rows = [dict(line) | {"values": json.dumps(line["values"])} for line in sorted(lines, key=lambda o: o["number"])]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({_TASK_KEY: json.dumps(dict(task)).encode()}))
    pq.write_table(table, path, compression="zstd", compression_level=19)


def read_table(path: Path) -> CurveTable:
    """Reads what `write_table` wrote.

    Raises:
        ValueError: it is a Parquet file of another kind.
    """
    table = pq.read_table(path)
    metadata = table.schema.metadata or {}
    if _TASK_KEY not in metadata:
        raise ValueError(f"{path}: is no table of learning curves; expected one that benchmarks/curves.py made")
    return CurveTable(json.loads(metadata[_TASK_KEY]), tuple(_configuration(row) for row in table.to_pylist()))


def _configuration(row: Mapping[str, Any]) -> Configuration:
    return Configuration(
        number=row["number"],
        values=json.loads(row["values"]),
        state=row["state"],
        reason=row["reason"],
        parameters=row["parameters"],
        curves={name: row[name] for name in METRICS},
    )
