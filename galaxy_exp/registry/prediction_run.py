"""A long run of predictions that can be killed and continued.

Rows go to `<output>.partial` first, whatever the format: a line of JSON with the identity of the run, then one row a
line, on disk after every batch. At the end the output is written from it at once and the partial file is deleted. A run
that finds a partial file of the same model and images continues after its last whole batch, so that the output is that
of an undisturbed run; a torn line at the end is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from galaxy_exp.errors import BadInputError, escape_unprintable
from galaxy_exp.folders import take_lock
from galaxy_exp.registry.prediction import Row, write_rows

__all__ = ["PredictionCount", "RunIdentity", "count_rows", "partial_file", "predict_to_file"]

_LAYOUT = 1
"""Version of the partial file; one of another version is refused."""
_ERRORS_KEPT = 5


@dataclass(slots=True)
class PredictionCount:
    """Counts of rows and of errors."""

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
                name, error = escape_unprintable(row["name"]), escape_unprintable(row["error"])
                self.errors.append(error if error.startswith(name) else f"{name}: {error}")


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What has to be the same for a run to be continued; the first line of the partial file."""

    model: str
    """URI with the version."""
    model_metadata: Mapping[str, Any]
    """Stored with the model when it was packaged: its sweep, trial and data digest."""
    inputs: str
    """`digest_files` of the files."""
    n_images: int
    stretch: Mapping[str, Any] | None
    """`data.fits` in full, if there are FITS files."""
    calibrated: bool = False
    """Whether probabilities are those at the model's temperature."""

    @property
    def line(self) -> bytes:
        """As JSON."""
        return _line({"predictions": _LAYOUT, **asdict(self)})

    def check(self, partial: Path, first_line: bytes) -> None:
        """Refuses a partial file with another first line.

        Raises:
            BadInputError: names what is different and what to do.
        """
        begun, now = _parse(first_line) or {}, json.loads(self.line)
        problem = None
        if begun.get("predictions") != _LAYOUT:
            problem = "was not written by this release of predict; move it away"
        elif begun["model"] != now["model"]:
            problem = (
                f"was begun with {begun['model']}, and this is {now['model']}; continue with --model {begun['model']}"
            )
        elif begun["model_metadata"] != now["model_metadata"]:
            problem = f"was begun with another {now['model']}; move it away"
        elif (begun["inputs"], begun["n_images"]) != (now["inputs"], now["n_images"]):
            problem = (
                f"was begun with other images ({begun['n_images']}, and these are {now['n_images']}), or their files "
                "have changed since; give the same ones"
            )
        elif begun.get("calibrated", False) != now["calibrated"]:  # earlier releases could not calibrate
            how = "without" if now["calibrated"] else "with"
            problem = f"was begun {how} --calibrated; continue in the same way"
        elif begun["stretch"] != now["stretch"]:
            problem = "was begun with another stretch of FITS files; state the same"
        if problem is not None:
            raise BadInputError(f"{partial}: {problem}, or begin again with --restart")


def partial_file(output: Path) -> Path:
    """The file that holds the rows until the output is complete."""
    return output.with_name(f"{output.name}.partial")


def count_rows(rows: Iterable[Row], count: PredictionCount) -> Iterator[Row]:
    """The rows, each of them counted."""
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
    """Writes the rows of all images, continuing an earlier run if there is a partial file.

    Args:
        rows_from: returns the rows from image n (counted from 0) on, in order.
        columns: the keys of a row.
        output: the file to write; until it is complete, an older one stays.
        format: one of `prediction.FORMATS`.
        identity: of this run.
        batch_size: after how many rows they are forced to disk.
        restart: deletes the rows of an earlier run.

    Raises:
        BadInputError: the partial file has another identity, is in use by another process, or cannot be written.
    """
    partial = partial_file(output)
    with _locked(partial) as file:
        if restart:
            file.truncate(0)
        count = _cut_to_whole_batches(file, partial, identity, batch_size)
        for row in count_rows(rows_from(count.n_rows), count):
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
    """Counts the rows that are kept and cuts off the rest; writes the first line if it is missing or torn."""
    file.seek(0)
    first = file.readline()
    if first != identity.line and identity.line.startswith(first):
        file.truncate(0)
        file.write(identity.line)
        _to_disk(file)
        return PredictionCount()
    identity.check(partial, first)
    n_rows = sum(1 for _ in _whole_rows(file))
    kept = n_rows if n_rows == identity.n_images else n_rows // batch_size * batch_size
    file.seek(0)
    end, count = len(file.readline()), PredictionCount()
    for row, length in islice(_whole_rows(file), kept):
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
    try:
        parsed = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"  # file names that are no UTF-8 are kept as escapes


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
