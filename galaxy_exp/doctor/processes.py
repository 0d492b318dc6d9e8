"""Worker processes of sweeps, also those that a dead driver left behind."""

from __future__ import annotations

from pathlib import Path

import psutil

from galaxy_exp.doctor.diagnosis import Finding
from galaxy_exp.errors import EngineError
from galaxy_exp.folders import ProjectFolder

__all__ = ["examine_workers", "find_workers", "is_left_behind"]

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
    return [_left_over(sweep_id, worker) for worker in workers]


def _left_over(sweep_id: str, worker: psutil.Process) -> Finding:
    def end() -> None:
        try:
            worker.kill()
            worker.wait(_END_SECONDS)
        except psutil.NoSuchProcess:
            return
        except (psutil.TimeoutExpired, psutil.AccessDenied) as error:
            raise EngineError(f"process {worker.pid} cannot be ended: {error}") from error

    return Finding(sweep_id, f"process {worker.pid} is a worker whose driver is gone", "it is ended", end)
