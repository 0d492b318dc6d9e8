"""Trials of a search that continue when the sweep is resumed with more epochs a trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from galaxy_exp.checkpoint_file import CheckpointError, read_identity, why_not_longer
from galaxy_exp.config.differences import EPOCHS
from galaxy_exp.folders import CheckpointName, SweepFolder
from galaxy_exp.journal.checkpoints import best_checkpoint
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import TrialState

__all__ = ["LongerTraining", "find_longer_training"]


@dataclass(frozen=True, slots=True)
class LongerTraining:
    """The trials that trained all the epochs there were before."""

    numbers: tuple[int, ...]
    """Those that continue, the best first."""
    others: Mapping[str, int]
    """Of the others how many, by the reason why they do not continue."""
    anew: Mapping[str, list[int]]
    """The paused and interrupted trials that cannot continue, by the reason."""

    def describe(self, epochs: int) -> list[str]:
        """One line about the trials that continue, and one for each reason why others do not or begin anew.

        Args:
            epochs: of a trial from now on.
        """
        named = ", ".join(map(str, self.numbers))
        lines = [f"trials that continue to epoch {epochs}, the best first: {named}"] if named else []
        lines += [f"completed trials that do not continue: {n} ({why})" for why, n in self.others.items()]
        anew = self.anew.items()
        return lines + [f"trials that begin anew since {why}: {', '.join(map(str, numbers))}" for why, numbers in anew]


def find_longer_training(record: SweepRecord, folder: SweepFolder) -> LongerTraining:
    """Which completed trials of the search have epochs left since `training.epochs` was raised.

    Paused trials are not among them: whether they continue is decided as before. Stopped trials have ended. Nothing is
    found unless `training.epochs` was raised.

    Args:
        folder: with the checkpoints of the sweep.
    """
    found = folder.find_checkpoints()
    former = {change.then for event in record.changed for change in event.changes if change.key == EPOCHS}
    complete = [
        trial
        for trial in record.leaderboard()
        if trial.state is TrialState.COMPLETED and trial.epochs in former - {record.config.training.epochs}
    ]
    obstacles = {trial.number: _obstacle(trial, folder, found) for trial in complete}
    return LongerTraining(
        tuple(number for number, why in obstacles.items() if why is None),
        Counter(why for why in obstacles.values() if why is not None),
        _find_anew(record, folder, found) if former else {},
    )


def _find_anew(record: SweepRecord, folder: SweepFolder, found: Collection[CheckpointName]) -> dict[str, list[int]]:
    anew: dict[str, list[int]] = {}
    for trial in record.searched:
        best = best_checkpoint(trial, found) if trial.is_paused or trial.result is None else None
        if best is None:
            continue
        try:
            known = read_identity(folder.checkpoint(best))
        except CheckpointError:  # found out, and told, when it continues
            continue
        if known.epochs != record.config.training.epochs and why_not_longer(known) is not None:
            why = f"their {known.values.get('schedule', 'own')} schedules end with epoch {known.epochs}"
            anew.setdefault(why, []).append(trial.number)
    return anew


def _obstacle(trial: TrialRecord, folder: SweepFolder, found: Collection[CheckpointName]) -> str | None:
    best = best_checkpoint(trial, found)
    if best is None or best.epoch < trial.epochs:
        return "no checkpoint of their last epoch"
    try:
        return why_not_longer(read_identity(folder.checkpoint(best)))
    except CheckpointError:
        return "a checkpoint that cannot be read"
