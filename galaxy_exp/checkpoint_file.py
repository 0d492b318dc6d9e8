"""The file of a checkpoint: an uncompressed `.npz` with everything a trial needs to continue after an epoch.

Its members are JSON (`identity`, what it belongs to; `state`, all that is no array) and arrays, which NumPy reads
without pickle. Types that NumPy does not know, such as bfloat16, are stored as unsigned integers of the same size.
Each member has a CRC. Importing this imports no Keras.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import first_line
from galaxy_exp.folders import CheckpointName, write_atomically
from galaxy_exp.records import HyperparameterValue

__all__ = [
    "FORMAT",
    "Checkpoint",
    "CheckpointError",
    "CheckpointIdentity",
    "checkpoint_path",
    "read_checkpoint",
    "read_identity",
    "why_not_longer",
    "write_checkpoint",
]

FORMAT = 1
"""Of the file; a checkpoint of another format is not used."""


class CheckpointError(Exception):
    """A checkpoint cannot be read; one line."""


@dataclass(frozen=True, slots=True)
class CheckpointIdentity:
    """What a checkpoint belongs to."""

    epoch: int
    """The last epoch that was trained."""
    epochs: int
    """How many epochs the trial was to train."""
    schedule: bool
    """Whether the learning rate followed a Keras schedule, which may span `epochs`."""
    values: dict[str, HyperparameterValue]
    """Without KerasTuner's own, `tuner/...`."""
    seed: int
    precision: str
    """The name of a Keras dtype policy."""
    versions: dict[str, str]
    """Of Keras and its backend."""
    model: list[list[Any]]
    """Name, shape and dtype of each variable of the model."""
    optimizer: list[list[Any]]
    """The same of the optimizer."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint file."""

    identity: CheckpointIdentity
    state: dict[str, Any]
    """All that is no array; consists of what JSON has."""
    arrays: dict[str, NDArray[Any]]


def checkpoint_path(folder: Path, number: int, attempt: int, epoch: int) -> Path:
    """The checkpoint that an attempt at a trial leaves after an epoch."""
    return folder / str(CheckpointName(number, attempt, epoch))


def why_not_longer(identity: CheckpointIdentity) -> str | None:
    """Why a trial with this checkpoint cannot be trained for another number of epochs; None: it can."""
    if not identity.schedule:
        return None
    return (
        f"schedule: {identity.values.get('schedule', 'that of its learning rate')} spans its {identity.epochs} epochs"
    )


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file atomically; it has its name only when it is complete and on disk."""
    members: dict[str, Any] = {
        "identity": _to_bytes(asdict(checkpoint.identity)),
        "state": _to_bytes(checkpoint.state),
        **{name: _storable(array) for name, array in checkpoint.arrays.items()},
    }
    write_atomically(path, lambda temporary: np.savez(temporary, **members))


def read_identity(path: Path) -> CheckpointIdentity:
    """What a checkpoint belongs to; reads a few kilobytes.

    Raises:
        CheckpointError: it is missing, damaged, or of another format.
    """
    return _read(path, with_arrays=False).identity


def read_checkpoint(path: Path) -> Checkpoint:
    """Everything in a checkpoint; every byte of it is verified. Raises as `read_identity`."""
    return _read(path, with_arrays=True)


def _read(path: Path, *, with_arrays: bool) -> Checkpoint:
    try:
        with np.load(path, allow_pickle=False) as members:
            entries = json.loads(members["identity"].tobytes())
            if entries.get("format") != FORMAT:
                raise CheckpointError(f"{path.name} has format {entries.get('format')}; expected {FORMAT}")
            identity = CheckpointIdentity(**{each.name: entries[each.name] for each in fields(CheckpointIdentity)})
            if not with_arrays:
                return Checkpoint(identity, {}, {})
            arrays = {name: members[name] for name in members.files if name not in ("identity", "state")}
            return Checkpoint(identity, json.loads(members["state"].tobytes()), arrays)
    except (CheckpointError, MemoryError):
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing") from None
    except Exception as error:
        # a damaged file can raise almost anything
        raise CheckpointError(f"{path.name} is damaged: {first_line(error)}") from error


def _to_bytes(content: Mapping[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array
