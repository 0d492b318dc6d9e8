"""The prepared images of a sweep that has begun, which are prepared again if they are lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from galaxy_exp.errors import DataError, EngineError
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import DATA_GONE, SplitFiles
from galaxy_exp.wording import Say

if TYPE_CHECKING:
    from galaxy_exp.data import PreparedData

__all__ = ["SweepImages", "restore_data"]


def restore_data(record: SweepRecord, say: Say) -> PreparedData:
    """The prepared images of a sweep, which are prepared again if they were deleted or damaged.

    Raises:
        DataError: the source is gone, or its images have changed.
    """
    from galaxy_exp.data import PreparedData

    folder = Path(record.started.data_folder)
    try:
        data = PreparedData.load(folder)
    except DataError as problem:
        say(f"preparing the images again: {problem}")
        data = _prepare_again(record, folder)
    # the folder may have been prepared by another sweep, from a copy of the images
    return replace(data, source=record.started.data_source, simulated=record.started.simulated)


def _prepare_again(record: SweepRecord, folder: Path) -> PreparedData:
    from galaxy_exp.data import load_dataset, prepare_split

    config = record.config.data
    try:
        data = prepare_split(load_dataset(config), config.split, folder.parent)
    except DataError as error:
        raise type(error)(f"{folder}: the prepared images are gone and cannot be prepared again: {error}") from None
    if data.folder != folder:
        found = f"digest {data.digest[:16]}, expected {record.started.data_digest[:16]}"
        message = f"{config.source}: the images are not those that sweep {record.sweep_id} began with; {found}"
        raise DataError(message)
    return data


class SweepImages:
    """The prepared images of a running sweep, which are restored if they are deleted or damaged meanwhile.

    Raises:
        DataError: they cannot be restored.
    """

    def __init__(self, record: SweepRecord, say: Say) -> None:
        self._record = record
        self._say = say
        self._unreadable: set[int] = set()
        """Trials whose worker could not read the images, although this process can."""
        self.prepared = restore_data(record, say)

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
            self.prepared = restore_data(self._record, self._say)
        return self.prepared.files
