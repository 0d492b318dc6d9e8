"""A long run of predictions that can be killed and gone on with.

Rows go to `<output>.partial` first, whatever the format: a line of JSON that says with what the run was begun, then one
row a line, on disk after every batch. At the end the output is written from it in one go and the partial file is
deleted. A run that finds a partial file of the same model and images goes on after its last whole batch, so that it
gives what it would have given undisturbed; a torn line at the end is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from galaxy_exp.errors import BadInputError
from galaxy_exp.folders import take_lock
from galaxy_exp.registry.row_files import Row, write_rows

__all__ = ["PredictionCount", "RunIdentity", "count_rows", "partial_file", "predict_to_file"]

_LAYOUT = 1
"""Version of the partial file; one of another version is refused."""
_ERRORS_KEPT = 5


@dataclass(slots=True)
class PredictionCount:
    """What came of the images."""

    n_rows: int = 0
    n_errors: int = 0
    """Rows with an error in place of a class."""
    errors: list[str] = field(default_factory=list)
    """The first few of these, one line each."""

    def add(self, row: Row) -> None:
        """Counts one row."""
        self.n_rows += 1
        if row["error"] is not None:
            self.n_errors += 1
            if len(self.errors) < _ERRORS_KEPT:
                named = row["error"].startswith(row["name"])
                self.errors.append(row["error"] if named else f"{row['name']}: {row['error']}")


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What has to be the same for a run to be gone on with."""

    model: str
    """URI with the version."""
    model_metadata: Mapping[str, Any]
    """What was stored with the model when it was packaged: its sweep, trial and data digest."""
    inputs: str
    """`digest_files` of the files."""
    n_images: int
    stretch: Mapping[str, Any] | None
    """`data.fits` in full, if there are FITS files."""
    calibrated: bool = False
    """Whether probabilities are those at the model's temperature."""


def partial_file(output: Path) -> Path:
    """Where the rows are until the output is complete."""
    return output.with_name(f"{output.name}.partial")


def count_rows(rows: Iterable[Row], count: PredictionCount) -> Iterator[Row]:
    """The rows, counted as they pass."""
    for row in rows:
        count.add(row)
        yield row


def predict_to_file(
    rows_from: Callable[[int], Iterable[Row]],
    columns: Sequence[str],
    output: Path,
    format: str,
    identity: RunIdentity,
    batch_size: int,
    restart: bool = False,
) -> PredictionCount:
    """Writes the rows of all images, going on with what an earlier run left behind.

    Args:
        rows_from: the rows from image n (counted from 0) on, in order.
        columns: the keys of a row.
        output: where to; until it is complete, an older file there is as it was.
        format: see `row_files.FORMATS`.
        identity: what the partial file has to have been begun with.
        batch_size: after how many rows they are forced to disk.
        restart: throws away what an earlier run left behind.

    Raises:
        BadInputError: the partial file is of another model, of other images or none of ours, in use by another
            process, or cannot be written.
    """
    partial = partial_file(output)
    with _locked(partial) as file:
        if restart:
            file.truncate(0)
        count = _cut_to_whole_batches(file, partial, identity, batch_size)
        for row in rows_from(count.n_rows):
            count.add(row)
            file.write(_line(row))
            if count.n_rows % batch_size == 0:
                _to_disk(file)
        _to_disk(file)
        file.seek(0)
        file.readline()
        write_rows(map(json.loads, file), columns, output, format)
        partial.unlink(missing_ok=True)
    return count


@contextmanager
def _locked(partial: Path) -> Iterator[IO[bytes]]:
    try:
        file = partial.open("a+b")
    except OSError as error:
        raise BadInputError(f"{partial}: cannot be written: {error.strerror}") from error
    with file:
        if not take_lock(file):
            raise BadInputError(f"{partial}: another process is writing it; expected one at a time")
        yield file


def _cut_to_whole_batches(file: IO[bytes], partial: Path, identity: RunIdentity, batch_size: int) -> PredictionCount:
    """Counts the rows to be kept and cuts off the rest; writes the first line if there is none or it is torn."""
    header = _line(_describe(identity))
    file.seek(0)
    first = file.readline()
    if first != header and header.startswith(first):
        file.truncate(0)
        file.write(header)
        _to_disk(file)
        return PredictionCount()
    _check_same(partial, _parse(first) or {}, identity)
    n_rows = sum(1 for _ in _whole_rows(file))
    kept = n_rows if n_rows == identity.n_images else n_rows // batch_size * batch_size
    file.seek(0)
    end, count = len(file.readline()), PredictionCount()
    for row, length in _whole_rows(file):
        if count.n_rows == kept:
            break
        end += length
        count.add(row)
    file.truncate(end)
    file.seek(end)
    return count


def _whole_rows(file: IO[bytes]) -> Iterator[tuple[Row, int]]:
    """Rows with their lengths in bytes, up to the end or the first that is torn."""
    for line in file:
        row = _parse(line)
        if row is None:
            return
        yield row, len(line)


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"  # file names that are no UTF-8 survive as escapes


def _describe(identity: RunIdentity) -> dict[str, Any]:
    stretch = None if identity.stretch is None else dict(identity.stretch)
    return {
        "predictions": _LAYOUT,
        "model": identity.model,
        "model_metadata": dict(identity.model_metadata),
        "inputs": identity.inputs,
        "n_images": identity.n_images,
        "stretch": stretch,
        "calibrated": identity.calibrated,
    }


def _check_same(partial: Path, begun: Mapping[str, Any], identity: RunIdentity) -> None:
    now = json.loads(_line(_describe(identity)))
    again = "or begin again with --restart"
    if begun.get("predictions") != _LAYOUT:
        raise BadInputError(f"{partial}: was not written by this release of predict; move it away, {again}")
    if begun["model"] != now["model"]:
        raise BadInputError(
            f"{partial}: was begun with {begun['model']}, and this is {now['model']}; go on with --model "
            f"{begun['model']}, {again}"
        )
    if begun["model_metadata"] != now["model_metadata"]:
        raise BadInputError(f"{partial}: was begun with another {now['model']}; move it away, {again}")
    if (begun["inputs"], begun["n_images"]) != (now["inputs"], now["n_images"]):
        raise BadInputError(
            f"{partial}: was begun with other images ({begun['n_images']}, and these are {now['n_images']}), or their "
            f"files have changed since; give the same ones, {again}"
        )
    if begun.get("calibrated", False) != now["calibrated"]:  # earlier releases could not calibrate
        how = "without" if now["calibrated"] else "with"
        raise BadInputError(f"{partial}: was begun {how} --calibrated; go on in the same way, {again}")
    if begun["stretch"] != now["stretch"]:
        raise BadInputError(f"{partial}: was begun with another stretch of FITS files; state the same, {again}")


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
