"""The prepared images of a sweep that has begun, which are prepared again if they are lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.errors import DataError, EngineError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import DATA_GONE, SplitFiles
from galaxy_exp.wording import Say

if TYPE_CHECKING:
    from galaxy_exp.data import PreparedData

__all__ = ["SweepImages", "find_prepared", "load_prepared", "restore_data"]


def load_prepared(record: SweepRecord, folder: SweepFolder) -> PreparedData:
    """The prepared images where the sweep stored them, or in this project if it was moved or copied.

    What the sweep recorded about its data counts, as the folder may have been prepared by another one from a copy.

    Raises:
        DataError: they are gone or damaged.
    """
    from galaxy_exp.data import PreparedData

    stored = Path(record.started.data_folder)
    here = folder.project.data_cache / stored.name
    with suppress(DataError):
        return _as_recorded(PreparedData.load(stored), record)
    return _as_recorded(PreparedData.load(here), record)


def find_prepared(record: SweepRecord, folder: SweepFolder) -> PreparedData | None:
    """As `load_prepared`; None: gone or damaged."""
    with suppress(DataError):
        return load_prepared(record, folder)
    return None


def restore_data(record: SweepRecord, folder: SweepFolder, say: Say) -> PreparedData:
    """The prepared images of a sweep, which are prepared again if they were deleted or damaged.

    Raises:
        DataError: the source is gone, or its images have changed.
    """
    try:
        return load_prepared(record, folder)
    except DataError as problem:
        say(f"preparing the images again: {problem}")
        return _as_recorded(_prepare_again(record, folder.project.data_cache), record)


def _as_recorded(data: PreparedData, record: SweepRecord) -> PreparedData:
    started = record.started
    facts = {name: getattr(started, name) for name in ("own_split", "n_identical", "n_near", "skipped")}
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return replace(data, source=started.data_source, simulated=started.simulated, **known)


def _prepare_again(record: SweepRecord, cache: Path) -> PreparedData:
    from galaxy_exp.data import load_dataset, prepare_split

    config, name = record.config.data, Path(record.started.data_folder).name
    try:
        data = prepare_split(load_dataset(config), config.split, cache)
    except DataError as error:
        why = f"the prepared images are gone and cannot be prepared again: {error}"
        raise type(error)(f"{cache / name}: {why}") from None
    if data.folder.name != name:
        found = f"digest {data.digest[:16]}, expected {record.started.data_digest[:16]}"
        message = f"{config.source}: the images are not those that sweep {record.sweep_id} began with; {found}"
        raise DataError(message)
    return data


class SweepImages:
    """The prepared images of a running sweep, which are restored if they are deleted or damaged meanwhile.

    Raises:
        DataError: they cannot be restored.
    """

    def __init__(self, record: SweepRecord, folder: SweepFolder, say: Say) -> None:
        self._record = record
        self._folder = folder
        self._say = say
        self._unreadable: set[int] = set()
        """Trials whose worker could not read the images, although this process can."""
        self.prepared = restore_data(record, folder, say)

    def files_for(self, trial: TrialRecord) -> SplitFiles:
        """The files for the next attempt at a trial; all are read to check them if it lost its worker and came no
        further.

        Raises:
            DataError: they cannot be restored.
            EngineError: the worker could not read them twice, and this process can.
        """
        loss = trial.losses[-1] if trial.losses_in_a_row else ""
        if loss.startswith(DATA_GONE) and self.prepared.is_intact():
            if trial.number in self._unreadable:
                raise EngineError(
                    f"trial {trial.number}: {loss}; this process reads them: {self.prepared.folder} must be shared by "
                    "all workers and readable for them"
                )
            self._unreadable.add(trial.number)  # the first time, another trial may have restored them already
        elif loss or not self.prepared.is_present():
            self.prepared = restore_data(self._record, self._folder, self._say)
        return self.prepared.files
