"""The folder of a project, `.galaxy_exp/` in the current folder or $GALAXY_EXP_HOME; atomic writes and locks.

.galaxy_exp/
    logs/<sweep id>.log            output of the sweep's workers
    logs/<sweep id>.tls/           the certificate of its SLURM jobs, while it runs
    data/<digests>/                prepared images, shared by all sweeps on the same data and split
    data/groups/<digests>.npz      which images are duplicates of each other
    given/<digest>.h5              in-memory images that were passed from Python
    test_openings.jsonl            which sweeps have opened which test set
    sweeps/<sweep id>/
        journal.jsonl              all events of the sweep
        orders/                    orders to the running sweep, until they are answered
        hypermodel.pkl             a hypermodel that was passed from Python and cannot be imported
        encoders/<digest>.keras    copies of the encoders that its networks start from
        trials/0003/               a trial's model, predictions and figures
        trials/.0003-2/            files of its second attempt, until the trial has ended
        checkpoints/0003-2-00017.npz   the state of its second attempt after epoch 17, from which it can continue
"""

from __future__ import annotations

import csv
import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from galaxy_exp.errors import FOLDER_GONE, HOW_TO_START, BadInputError, is_disk_full, storable

__all__ = [
    "JOURNAL_NAME",
    "MODEL_NAME",
    "CheckpointName",
    "ProjectFolder",
    "SweepFolder",
    "fsync_path",
    "graph_of",
    "open_locked",
    "take_lock",
    "write_atomically",
    "write_csv",
]

JOURNAL_NAME = "journal.jsonl"
MODEL_NAME = "model.keras"

_CHECKPOINT = re.compile(r"(\.[0-9a-f]{32}\.)?(\d{4,})-(\d+)-(\d{5,})\.npz")


def fsync_path(path: Path) -> None:
    """Waits until the content of a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, write: Callable[[Path], object], *, sole_writer: bool = False) -> None:
    """Writes a file or folder that has its name only when it is complete and on disk, also after a power cut.

    Args:
        path: the file or folder; an existing file is replaced, an existing folder is an OSError.
        write: makes the file or folder at a temporary path beside `path`, with the same ending.
        sole_writer: whether no other process can be writing it, so that temporary files of it were left by one that
            was killed, and are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".*.{path.name}") if sole_writer else ():
        _remove(leftover)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        write(temporary)
        for each in (*temporary.rglob("*"), temporary):
            fsync_path(each)
        temporary.replace(path)
        fsync_path(path.parent)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """Removes a file or folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table with the keys of all rows as columns, in order of appearance."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
        writer.writeheader()
        writer.writerows(rows)


def take_lock(file: IO[bytes] | int, *, shared: bool = False, wait: bool = False) -> bool:
    """Locks an open file or folder (flock) until it is closed; the lock of a killed process is gone with it.

    Args:
        file: a file object or a descriptor.
        shared: whether other processes may have the lock as well, if they share it too.

    Returns:
        False if another process has the lock.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def open_locked(path: Path, mode: str = "a+b", *, wait: bool = False) -> Iterator[IO[bytes]]:
    """Opens a binary file that only this process may have open in this way.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the file cannot be opened or locked.
    """
    with path.open(mode) as file:
        if not take_lock(file, wait=wait):
            raise BlockingIOError(f"{path}: another process has locked it")
        yield file


def graph_of(model_file: Path) -> Path:
    """The folder beside a `.keras` file with the same network as a TensorFlow SavedModel.

    It exists only for a network with other layers than those of Keras: loading its `.keras` file needs the user's code,
    loading the SavedModel does not.
    """
    return model_file.with_name(f"{model_file.stem}_graph")


@dataclass(frozen=True, slots=True, order=True)
class CheckpointName:
    """What the name of a checkpoint says: whose it is."""

    number: int
    """Of the trial."""
    attempt: int
    epoch: int
    """How many epochs it has."""

    def __str__(self) -> str:
        return f"{self.number:04d}-{self.attempt}-{self.epoch:05d}.npz"


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """The files of one sweep."""

    path: Path

    @property
    def sweep_id(self) -> str:
        return self.path.name

    @property
    def project(self) -> ProjectFolder:
        """The folder of the project that contains the sweep."""
        return ProjectFolder(self.path.parent.parent)

    @property
    def journal(self) -> Path:
        """The journal, which may not exist yet."""
        return self.path / JOURNAL_NAME

    @property
    def orders(self) -> Path:
        """The folder of `journal.orders.OrderFolder`, which may not exist."""
        return self.path / "orders"

    @property
    def encoders(self) -> Path:
        """The folder of the copies of encoders, which may not exist."""
        return self.path / "encoders"

    def trial(self, number: int) -> Path:
        """The folder of one trial, which may not exist yet."""
        return self.path / "trials" / f"{number:04d}"

    def model(self, number: int) -> Path:
        """The `.keras` file of one trial, which may not exist."""
        return self.trial(number) / MODEL_NAME

    def attempt(self, number: int, attempt: int) -> Path:
        """The folder of one attempt at a trial, so that a stalled worker cannot change the files of another attempt."""
        return self.path / "trials" / f".{number:04d}-{attempt}"

    def keep_attempt(self, number: int, attempt: int) -> None:
        """Moves the files of an attempt, if any, to its trial, and removes those of other attempts."""
        made, place = self.attempt(number, attempt), self.trial(number)
        while made.is_dir():
            self._set_aside(number)
            try:
                made.replace(place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue  # another thread draws figures of an earlier end of the trial, and has made the folder again
            fsync_path(place.parent)
        self.remove_attempts(number)

    def remove_trial(self, number: int) -> None:
        """Removes all files of a trial but its checkpoints."""
        self._set_aside(number)
        self.remove_attempts(number)

    def _set_aside(self, number: int) -> None:
        """Makes the files of a trial, if any, those of an attempt that was not kept."""
        with suppress(FileNotFoundError):
            self.trial(number).replace(self.path / "trials" / f".{number:04d}-{uuid.uuid4().hex}")

    def attempts(self, number: int | None = None) -> list[Path]:
        """The folders of attempts that were not kept, of one trial or of all."""
        pattern = ".*-*" if number is None else f".{number:04d}-*"
        return sorted((self.path / "trials").glob(pattern))

    def remove_attempts(self, number: int | None = None) -> None:
        """Removes the files of attempts that were not kept, of one trial or of all."""
        for folder in self.attempts(number):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints, which may not exist yet."""
        return self.path / "checkpoints"

    def checkpoint(self, checkpoint: CheckpointName) -> Path:
        """The file of a checkpoint, which may not exist."""
        return self.checkpoints / str(checkpoint)

    def find_checkpoints(self) -> set[CheckpointName]:
        """The checkpoints that are complete; one that a power cut has torn may be among them."""
        named = (_CHECKPOINT.fullmatch(path.name) for path in self.checkpoints.glob("[0-9]*.npz"))
        return {CheckpointName(*map(int, name.groups()[1:])) for name in named if name}

    def incomplete_checkpoints(self) -> dict[Path, CheckpointName]:
        """Temporary files of checkpoints that are being written, or whose worker died while it wrote them."""
        named = ((path, _CHECKPOINT.fullmatch(path.name)) for path in self.checkpoints.glob(".*.npz"))
        return {path: CheckpointName(*map(int, name.groups()[1:])) for path, name in named if name}

    def remove_checkpoints(self) -> None:
        """Removes all checkpoints, of a sweep whose trials do not continue any more."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class ProjectFolder:
    """The folder with the sweeps and the prepared data of a project."""

    path: Path

    @classmethod
    def default(cls) -> ProjectFolder:
        """$GALAXY_EXP_HOME if set, else `.galaxy_exp` in the current folder; an absolute path, which is not created."""
        stated = os.environ.get("GALAXY_EXP_HOME") or ".galaxy_exp"
        try:
            return cls(Path(os.path.expanduser(stated)).resolve())  # noqa: PTH111  Path.expanduser raises
        except FileNotFoundError:
            raise BadInputError(FOLDER_GONE) from None

    @property
    def data_cache(self) -> Path:
        return self.path / "data"

    @property
    def in_memory_data(self) -> Path:
        """HDF5 files of images that were passed from Python."""
        return self.path / "given"

    @property
    def test_openings(self) -> Path:
        """The ledger of `registry.held_out`, which may not exist yet."""
        return self.path / "test_openings.jsonl"

    def worker_log(self, sweep_id: str) -> Path:
        """Output of a sweep's workers; outside the sweep's folder, which does not exist when they start."""
        return self.path / "logs" / f"{sweep_id}.log"

    def new_sweep(self, name: str, now: float | None = None) -> SweepFolder:
        """Creates an empty folder, named by the sweep and the local time; no two processes get the same one.

        Raises:
            BadInputError: the folder cannot be written, or its name or that of the current one is not UTF-8.
        """
        for folder in (self.path, Path.cwd()):
            if storable(str(folder)) != str(folder):
                raise BadInputError(
                    f"{folder}: the name is not UTF-8, and the journal could not hold it; rename it, or work elsewhere"
                )
        stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
        for count in itertools.count(1):
            path = self.path / "sweeps" / (stem if count == 1 else f"{stem}-{count}")
            try:
                path.mkdir(parents=True)
            except OSError as error:
                if isinstance(error, FileExistsError) and path.is_dir():
                    continue
                if is_disk_full(error):
                    raise
                raise BadInputError(
                    f"{self.path}: cannot store sweeps: {error.filename}: {error.strerror}; expected a folder that can "
                    "be written to: the current one, or GALAXY_EXP_HOME"
                ) from None
            return SweepFolder(path)
        raise AssertionError("unreachable")

    def sweep(self, sweep_id: str) -> SweepFolder:
        """The folder of one sweep, which may not exist."""
        return SweepFolder(self.path / "sweeps" / sweep_id)

    def sweeps(self) -> list[SweepFolder]:
        """All sweeps with a journal, in the order in which they were started."""
        found = [journal.parent for journal in (self.path / "sweeps").glob(f"*/{JOURNAL_NAME}")]
        return [SweepFolder(path) for path in sorted(found, key=_started_at)]

    def sweep_folders(self) -> list[SweepFolder]:
        """All folders of sweeps, sorted by name, also those without a journal."""
        return [SweepFolder(path) for path in sorted((self.path / "sweeps").glob("*")) if path.is_dir()]

    def find_sweep(self, reference: str | None) -> SweepFolder:
        """The sweep with this id, or the newest one whose id begins with `reference`; None: the newest of all.

        Raises:
            BadInputError: no such sweep.
        """
        if not isinstance(reference, str | None):
            raise BadInputError(f"sweep {reference!r}: expected the id of one, as text, or its beginning")
        sweeps = self.sweeps()
        if not sweeps:
            raise BadInputError(f"{self.path}: no sweeps here yet; start one with: {HOW_TO_START}")
        if reference is None or reference == "latest":
            return sweeps[-1]
        exact = [sweep for sweep in sweeps if sweep.sweep_id == reference]
        matching = exact or [sweep for sweep in sweeps if sweep.sweep_id.startswith(reference)]
        if not matching:
            known = ", ".join(sweep.sweep_id for sweep in sweeps[-5:])
            raise BadInputError(f'no sweep is called "{reference}"; the newest in {self.path}: {known}')
        return matching[-1]


def _started_at(folder: Path) -> tuple[float, str]:
    """The start time in the first line of the journal, for sorting; 0 for an unreadable journal."""
    try:
        with (folder / JOURNAL_NAME).open("rb") as file:
            return float(json.loads(file.readline())["time"]), folder.name
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, folder.name
