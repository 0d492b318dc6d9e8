"""Examines processes, files and MLflow of the sweeps of a folder, and repairs what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import psutil

from galaxy_exp.doctor.run_comparison import TrackedSweep, examine_stores
from galaxy_exp.doctor.sweep_files import (
    Finding,
    examine_attempts,
    examine_beginning,
    examine_certificate,
    examine_checkpoints,
    examine_data,
    examine_journal,
    examine_models,
    examine_workers,
    find_workers,
    is_left_behind,
)
from galaxy_exp.errors import GalaxyExpError
from galaxy_exp.folders import JOURNAL_NAME, ProjectFolder, SweepFolder
from galaxy_exp.journal.journal import is_running, read_record
from galaxy_exp.wording import Say

__all__ = ["Diagnosis", "Examination", "State", "diagnose", "examine", "repair"]

_MOST_ROUNDS = 4
"""A repair may reveal further findings, as a journal that can be read again does."""


@dataclass(slots=True)
class Examination:
    """Findings, and the number of sweeps examined."""

    findings: list[Finding] = field(default_factory=list)
    n_sweeps: int = 0
    n_running: int = 0
    """Sweeps that a driver runs at this moment; they are not examined further."""


class State(StrEnum):
    """State of a finding."""

    OPEN = "open"
    REPAIRED = "repaired"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding and its state."""

    finding: Finding
    state: State
    why_open: str = ""
    """Why the repair failed, if it was tried."""


def examine(project: ProjectFolder, reference: str | None = None, say: Say = lambda _: None) -> Examination:
    """Examines all sweeps of a folder, which need not exist, or one, and changes nothing; `say` is for a later repair.

    Raises:
        BadInputError: there is no such sweep.
    """
    found = Examination()
    folders = project.sweep_folders() if reference is None else [project.find_sweep(reference)]
    workers = find_workers(project) if project.path.exists() else {}
    readable = []
    for folder in folders:
        found.n_sweeps += 1
        try:
            readable += _examine_folder(folder, workers.pop(folder.sweep_id, []), found)
        except OSError as error:
            what = f"{error.filename or folder.path}: {error.strerror}"
            remedy = "make the folder readable for this user, then once more: galaxy-exp doctor"
            found.findings.append(Finding(folder.sweep_id, what, remedy))
    if reference is None:
        for sweep_id, strays in workers.items():
            found.findings += examine_workers(sweep_id, [worker for worker in strays if is_left_behind(worker)])
    known = {folder.sweep_id for folder in folders} if reference is None else None
    found.findings += examine_stores(readable, known, say)
    found.findings += examine_data((sweep.folder, sweep.record) for sweep in readable)
    return found


def _examine_folder(folder: SweepFolder, workers: list[psutil.Process], found: Examination) -> list[TrackedSweep]:
    """Adds the findings outside MLflow; returns the sweep if its journal can be read and no driver runs it."""
    journal = folder.journal
    if not journal.is_file() or not journal.stat().st_size:
        left = [worker for worker in workers if is_left_behind(worker)]
        found.findings += examine_workers(folder.sweep_id, left)
        found.findings += examine_beginning(folder, len(left) < len(workers))
        return []
    if is_running(folder.path):
        found.n_running += 1
        return []
    found.findings += examine_workers(folder.sweep_id, workers) + examine_certificate(folder)
    damage = examine_journal(folder)
    found.findings += damage
    if not all(finding.is_harmless for finding in damage):
        return []
    record = read_record(folder.path)
    try:
        found.findings += examine_models(folder, record)
        found.findings += examine_attempts(folder)
        found.findings += examine_checkpoints(folder, record)
    except GalaxyExpError as error:
        what = f"{JOURNAL_NAME}:1: the sweep's settings cannot be read by this version: {str(error).splitlines()[0]}"
        found.findings.append(Finding(folder.sweep_id, what, "use the version that it was started with"))
        return []
    return [TrackedSweep(folder, record)]


def repair(
    found: Examination, project: ProjectFolder, reference: str | None = None, say: Say = lambda _: None
) -> list[Diagnosis]:
    """Repairs what can be repaired and examines again: what is not found any more is repaired."""
    tried: dict[tuple[str, str], Finding] = {}
    failures: dict[tuple[str, str], str] = {}
    present = found.findings
    for _ in range(_MOST_ROUNDS):
        new = [finding for finding in present if finding.repair is not None and finding.key not in tried]
        if not new:
            break
        for finding in new:
            tried[finding.key] = finding
            try:
                if finding.repair is not None:
                    finding.repair()
            except (GalaxyExpError, OSError) as error:
                failures[finding.key] = str(error).splitlines()[0]
        present = examine(project, reference, say).findings
    still = {finding.key for finding in present}
    repaired = [Diagnosis(finding, State.REPAIRED) for key, finding in tried.items() if key not in still]
    return repaired + [_diagnose(finding, failures.get(finding.key, "")) for finding in present]


def diagnose(found: Examination) -> list[Diagnosis]:
    """The findings with their states, nothing repaired."""
    return [_diagnose(finding) for finding in found.findings]


def _diagnose(finding: Finding, why_open: str = "") -> Diagnosis:
    return Diagnosis(finding, State.HARMLESS if finding.is_harmless else State.OPEN, why_open)
