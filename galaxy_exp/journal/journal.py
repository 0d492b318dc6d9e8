"""The append-only file that records a sweep: one JSON event per line, fsynced."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from galaxy_exp.deferred_imports import without_garbage_collection
from galaxy_exp.errors import JournalError, JournalWriteError
from galaxy_exp.folders import JOURNAL_NAME, fsync_path, take_lock
from galaxy_exp.journal.events import Event, SweepStarted, parse_event
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.journal.replay import apply_event, replay
from galaxy_exp.records import SweepState

__all__ = ["Journal", "is_running", "read_events", "read_record", "read_with_state", "seems_running"]

_LOOK_SECONDS = 0.1
"""`is_running` holds its lock on a journal for less than this."""


def read_record(folder: Path) -> SweepRecord:
    """The state of the sweep in `folder`, without locking its journal; a torn last line is left out.

    Raises:
        JournalError: there is no journal, or a line before the last is damaged (named by number).
    """
    with without_garbage_collection():
        return replay(read_events(folder)[0], folder / JOURNAL_NAME)


def read_with_state(folder: Path) -> tuple[SweepRecord, SweepState]:
    """The record of the sweep in a folder, and its state at the same moment.

    Raises:
        JournalError: its journal cannot be read.
    """
    running = seems_running(folder)
    record = read_record(folder)  # after the lock is looked at: a sweep that ends in between is finished
    if record.ended is not None:
        return record, SweepState.FINISHED if record.ended.succeeded else SweepState.FAILED
    if running:
        return record, SweepState.RUNNING
    for trial in record.running:
        trial.is_interrupted = True
    return record, SweepState.INTERRUPTED


def read_events(folder: Path, start: int = 0) -> tuple[list[Event], int]:
    """The events of a sweep from a position in bytes on, and the position after them, as `read_record` reads them.

    Raises:
        JournalError: as `read_record`.
    """
    path = folder / JOURNAL_NAME
    try:
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
    except FileNotFoundError:
        raise _no_journal(path) from None
    intact = content[: content.rfind(b"\n") + 1]
    events: list[Event] = []
    for number, line in enumerate(intact.splitlines(), start=1):
        try:
            events.append(parse_event(line))
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise JournalError(f"{path}:{number}: damaged line in the journal: {reason}") from None
    return events, start + len(intact)


class Journal:
    """A sweep's journal, open for appending by this process alone.

    `append` returns after the event is on disk and in `record`; several threads may call it. The lock is the operating
    system's (flock), so a killed driver leaves none behind.
    """

    def __init__(self, path: Path, descriptor: int, record: SweepRecord | None, clock: Callable[[], float]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._record = record
        self._clock = clock
        self._turn = threading.Lock()

    @classmethod
    def create(cls, folder: Path, started: SweepStarted, clock: Callable[[], float] = time.time) -> Self:
        """Begins a journal with its first event.

        Raises:
            JournalError: the folder has a journal already.
            JournalWriteError: the first event cannot be written; no journal is left.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / JOURNAL_NAME
        if path.exists():
            raise JournalError(f"{path}: there is a journal already")
        journal = cls(path, _open_locked(path), None, clock)
        try:
            journal.append(started)
            fsync_path(folder)
        except BaseException:
            path.unlink()
            journal.close()
            raise
        return journal

    @classmethod
    def reopen(cls, folder: Path, clock: Callable[[], float] = time.time) -> Self:
        """Opens an existing journal to append to it; a torn last line is cut off.

        Raises:
            JournalError: it does not exist, is damaged before its last line, or another process has it open.
        """
        path = folder / JOURNAL_NAME
        if not path.is_file():
            raise _no_journal(path)
        descriptor = _open_locked(path)
        try:
            events, intact_bytes = read_events(folder)
            record = replay(events, path)
            os.ftruncate(descriptor, intact_bytes)
            os.lseek(descriptor, 0, os.SEEK_END)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, record, clock)

    @property
    def record(self) -> SweepRecord:
        if self._record is None:
            raise JournalError(f"{self._path}: the journal is empty")
        return self._record

    def append(self, event: Event) -> Event:
        """Writes one event with the current time, and updates the record; returns the event as written.

        Raises:
            JournalWriteError: the disk is full or broken; the journal is as it was before.
        """
        return self.append_all([event])[0]

    def append_all(self, events: Sequence[Event]) -> list[Event]:
        """As `append`, with one fsync for several events; a driver killed meanwhile may leave the first of them.

        Raises:
            JournalWriteError: the disk is full or broken; the journal is as it was before.
        """
        with self._turn:
            stamped = [event.model_copy(update={"time": self._clock()}) for event in events]
            lines = b"".join(event.model_dump_json(by_alias=True).encode() + b"\n" for event in stamped)
            try:
                _write_all(self._descriptor, lines)
            except OSError as error:
                advice = f"nothing finished is lost; repair it, then: galaxy-exp resume {self._path.parent.name}"
                raise JournalWriteError(f"{self._path}: cannot be written: {error.strerror}; {advice}") from error
            if self._record is None:
                self._record = replay(stamped, self._path)
            else:
                for event in stamped:
                    apply_event(event, self._record)
            return stamped

    def close(self) -> None:
        """Releases the lock; appending afterwards is a JournalWriteError."""
        with self._turn:
            descriptor, self._descriptor = self._descriptor, -1  # the number may soon be another file's
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open_locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        if not _lock(path, descriptor):
            time.sleep(_LOOK_SECONDS)
            if not _lock(path, descriptor):
                raise JournalError(
                    f"{path}: another galaxy-exp process on {socket.gethostname()} or elsewhere is running this sweep; "
                    "wait for it or stop it first"
                )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(path: Path, descriptor: int, *, shared: bool = False) -> bool:
    """As `take_lock`; an OSError names the journal."""
    try:
        return take_lock(descriptor, shared=shared)
    except OSError as error:
        raise OSError(error.errno, f"cannot be locked: {error.strerror}", str(path)) from None


def is_running(folder: Path) -> bool:
    """Whether some process has the sweep's journal open for appending; needs permission to read it only.

    Raises:
        OSError: it cannot be opened, or its file system has no locks.
    """
    path = folder / JOURNAL_NAME
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _lock(path, descriptor, shared=True)
    finally:
        os.close(descriptor)


def seems_running(folder: Path) -> bool:
    """As `is_running`; False if the journal cannot be opened, or its file system has no locks."""
    with suppress(OSError):
        return is_running(folder)
    return False


def _no_journal(path: Path) -> JournalError:
    return JournalError(f"{path}: no such journal; galaxy-exp list shows the sweeps of this folder")


def _write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it to disk; on OSError, such as a full disk, nothing of it is left in the file."""
    start = os.lseek(descriptor, 0, os.SEEK_END)
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, start)
        raise
