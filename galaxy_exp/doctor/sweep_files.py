"""Examines the files of a sweep, its journal, the model it will register, leftovers and prepared images, and its worker
processes, also those that a dead driver left behind."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from zipfile import is_zipfile

import psutil

from galaxy_exp.errors import DataError, EngineError, JournalError
from galaxy_exp.evaluation.selection import find_best
from galaxy_exp.folders import JOURNAL_NAME, ProjectFolder, SweepFolder, fsync_path, open_locked
from galaxy_exp.journal.checkpoints import needed_checkpoints
from galaxy_exp.journal.events import Event, parse_event
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.journal.replay import apply_event, misplaced, replay

__all__ = [
    "Finding",
    "examine_attempts",
    "examine_beginning",
    "examine_certificate",
    "examine_checkpoints",
    "examine_data",
    "examine_journal",
    "examine_models",
    "examine_workers",
    "find_workers",
    "is_left_behind",
]

_PREPARING_SECONDS = 600.0
"""A younger folder without a journal may belong to a sweep that is still preparing its images. On another machine that
may take longer, so only an empty folder and the certificate are ever deleted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that disagrees."""

    where: str
    """Id of the sweep; without a sweep, the store or the folder."""
    what: str
    """One line."""
    remedy: str
    """What `repair` does, or else what the user can do."""
    repair: Callable[[], None] | None = None
    """None if only the user can repair it. Raises a GalaxyExpError or OSError if it fails."""
    is_harmless: bool = False
    """Whether nothing has to be done."""

    @property
    def key(self) -> tuple[str, str]:
        """Equal for the same finding of two examinations."""
        return self.where, self.what


def examine_beginning(folder: SweepFolder, has_workers: bool) -> list[Finding]:
    """A folder without a journal, or with an empty one; no finding if its sweep may be starting now."""
    age = time.time() - folder.path.stat().st_mtime
    if has_workers or age < _PREPARING_SECONDS:
        return []
    left = examine_certificate(folder)
    if (folder.path / "trials").exists():
        remedy = f"put {JOURNAL_NAME} back from a copy, or delete {folder.path}"
        return [*left, Finding(folder.sweep_id, "the journal is gone, and trials are there", remedy)]
    held = ", ".join(sorted(path.name for path in folder.path.iterdir()))
    if held:
        what = f"the sweep has not begun, and its folder holds {held}"
        remedy = f"unless it is starting on another machine, delete {folder.path}"
        return [*left, Finding(folder.sweep_id, what, remedy, is_harmless=True)]
    what = "the sweep was ended before its first trial"
    return [*left, Finding(folder.sweep_id, what, "its empty folder is deleted", folder.path.rmdir)]


def examine_journal(folder: SweepFolder) -> list[Finding]:
    """A journal with a damaged line, or with a last line that was cut off while it was written.

    A sweep can be resumed from the valid lines before a damaged one, so the journal is cut there; a copy is kept.
    """
    path = folder.journal
    content = path.read_bytes()
    lines = _whole_lines(content)
    n_lines, reason = _count_intact(lines)
    if reason and n_lines == 0:
        what = f"{JOURNAL_NAME}:1: damaged, so the sweep cannot be read: {reason}"
        return [Finding(folder.sweep_id, what, f"put {path} back from a copy, or delete {folder.path}")]
    if reason:
        n_after = len(lines) - n_lines - 1
        what = f"{JOURNAL_NAME}:{n_lines + 1}: damaged, {n_after} lines after it: {reason}"
        remedy = f"cut before it, what follows is done again by: galaxy-exp resume {folder.sweep_id}; a copy is kept"
        return [Finding(folder.sweep_id, what, remedy, partial(_cut, path))]
    if len(content) > sum(map(len, lines)):
        what = f"{JOURNAL_NAME}: the last line was cut off while it was written"
        return [
            Finding(folder.sweep_id, what, "the rest of that line is deleted", partial(_cut, path), is_harmless=True)
        ]
    return []


def _whole_lines(content: bytes) -> list[bytes]:
    """Lines with their line breaks, without an incomplete last line."""
    return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)


def _count_intact(lines: list[bytes]) -> tuple[int, str]:
    """Number of valid lines from the start, and what is wrong with the next one; "" if all are valid."""
    record: SweepRecord | None = None
    for number, line in enumerate(lines):
        try:
            event: Event = parse_event(line)
            if record is None:
                record = replay([event], "it")
                continue
        except (ValueError, JournalError) as error:
            return number, str(error).splitlines()[0]
        if (why := misplaced(event, record)) is not None:
            return number, f"{event.event} {why}"
        apply_event(event, record)
    return len(lines), ""


def _cut(path: Path) -> None:
    """Cuts a journal after its last valid line; reads it again, as a driver may have continued meanwhile.

    Raises:
        JournalError: a driver runs the sweep, or no line of the journal is valid.
    """
    try:
        with open_locked(path, "r+b") as file:
            _cut_locked(path, file)
    except BlockingIOError:
        raise JournalError(f"{path}: a driver has begun to run this sweep") from None


def _cut_locked(path: Path, file: IO[bytes]) -> None:
    content = file.read()
    lines = _whole_lines(content)
    n_bytes = sum(map(len, lines[: _count_intact(lines)[0]]))
    if n_bytes == 0:
        raise JournalError(f"{path}: has changed and cannot be read any more")
    if n_bytes == len(content):
        return
    copy = _free_name(path)
    shutil.copy2(path, copy)
    fsync_path(copy)
    fsync_path(copy.parent)
    file.truncate(n_bytes)
    os.fsync(file.fileno())


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged{suffix}") for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(name for name in names if not name.exists())


def examine_models(folder: SweepFolder, record: SweepRecord) -> list[Finding]:
    """The model that an unfinished sweep will register, if its `.keras` file is missing."""
    number = record.winner if record.winner is not None else _expected_winner(record)
    if record.registered is not None or number is None:
        return []
    file = folder.model(number)
    if file.is_file():
        return []
    what = f"{file}: the model of the best trial is gone"
    return [Finding(folder.sweep_id, what, "put it back, or run the sweep again")]


def _expected_winner(record: SweepRecord) -> int | None:
    """The trial that wins if the search ends now; None while finalists still have to be trained again."""
    registry = record.config.registry
    n_again = sum(trial.retrains is not None for trial in record.trials.values())
    n_wanted = (registry.finalists if record.finalists is None else len(record.finalists)) * registry.seeds
    if n_again < n_wanted or (n_wanted and record.running):
        return None
    best = find_best(record)
    return None if best is None else best.number


def examine_attempts(folder: SweepFolder) -> list[Finding]:
    """Files that lost attempts left behind; nothing reads them."""
    left = folder.attempts()
    if not left:
        return []
    what = f"files of {len(left)} attempts whose workers were lost" if len(left) > 1 else "files of a lost attempt"
    where = folder.path / "trials"
    return [Finding(folder.sweep_id, f"{where}: {what}", "they are deleted", folder.remove_attempts, is_harmless=True)]


def examine_checkpoints(folder: SweepFolder, record: SweepRecord) -> list[Finding]:
    """Files among the checkpoints that no trial can continue from."""
    left = _unusable_checkpoints(folder, record)
    if not left:
        return []
    which = left[0].name if len(left) == 1 else f"{len(left)} files, {left[0].name} to {left[-1].name}"
    what = f"{folder.checkpoints}: no trial can continue from {which}"
    return [Finding(folder.sweep_id, what, "they are deleted", partial(_delete_checkpoints, folder), is_harmless=True)]


def _unusable_checkpoints(folder: SweepFolder, record: SweepRecord) -> list[Path]:
    """Those that do not agree with the journal, that are cut off or half written, and files with other names."""
    if not folder.checkpoints.is_dir():
        return []
    running, for_later = needed_checkpoints(record, folder.find_checkpoints())
    usable = {folder.checkpoint(each) for each in running.union(for_later)}
    return sorted(path for path in folder.checkpoints.iterdir() if path not in usable or not is_zipfile(path))


def _delete_checkpoints(folder: SweepFolder) -> None:
    """Deletes what cannot be used now; JournalError if a driver runs the sweep."""
    with Journal.reopen(folder.path) as journal:
        for path in _unusable_checkpoints(folder, journal.record):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def examine_certificate(folder: SweepFolder) -> list[Finding]:
    """The certificate of SLURM jobs whose driver was killed."""
    left = folder.project.worker_log(folder.sweep_id).with_suffix(".tls")
    if not left.exists():
        return []
    what = f"{left}: the certificate of a dead driver"
    return [Finding(folder.sweep_id, what, "it is deleted", lambda: shutil.rmtree(left), is_harmless=True)]


def examine_data(sweeps: Iterable[tuple[SweepFolder, SweepRecord]]) -> list[Finding]:
    """Prepared images that are missing or damaged."""
    from galaxy_exp.sweep_images import load_prepared

    first: dict[str, tuple[SweepFolder, SweepRecord]] = {}
    for folder, record in sweeps:
        first.setdefault(record.started.data_folder, (folder, record))
    found = []
    for folder, record in first.values():
        try:
            load_prepared(record, folder)
        except DataError as error:
            what = f"the prepared images are gone or damaged: {error}"
            remedy = "they are prepared again when they are needed"
            found.append(Finding(record.sweep_id, what, remedy, is_harmless=True))
    return found


_STDOUT = 1
_END_SECONDS = 10.0


def find_workers(project: ProjectFolder) -> dict[str, list[psutil.Process]]:
    """The processes of this user that print into the workers' log of a sweep of the folder, by sweep id.

    A worker is recognised by its log, as its parent and its number change when its driver dies.
    """
    logs = project.worker_log("any").parent
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        log = _stdout_of(process)
        if log is not None and log.parent == logs and log.suffix == ".log":
            found.setdefault(log.stem, []).append(process)
    return found


def _stdout_of(process: psutil.Process) -> Path | None:
    try:
        return next((Path(file.path) for file in process.open_files() if file.fd == _STDOUT), None)
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return None


def is_left_behind(process: psutil.Process) -> bool:
    """Whether the driver of a worker is gone: the parent process is not a Python program.

    The program is looked at, because the name of a process that runs an installed script is that of the script.
    """
    try:
        parent = process.parent()
        return parent is None or "python" not in Path(parent.exe()).name.lower()
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return False


def examine_workers(sweep_id: str, workers: list[psutil.Process]) -> list[Finding]:
    """One finding for each worker of a sweep that has no driver."""
    what = "process {} is a worker whose driver is gone"
    return [Finding(sweep_id, what.format(each.pid), "it is ended", partial(_end, each)) for each in workers]


def _end(worker: psutil.Process) -> None:
    try:
        worker.kill()
        worker.wait(_END_SECONDS)
    except psutil.NoSuchProcess:
        return
    except (psutil.TimeoutExpired, psutil.AccessDenied) as error:
        raise EngineError(f"process {worker.pid} cannot be ended: {error}") from error
