"""Which files of the trials stay: those of the attempt that counts, and the models of trials that can still win."""

from __future__ import annotations

import shutil

from galaxy_exp.folders import SweepFolder, graph_of
from galaxy_exp.journal.events import Event, TrialEnded
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import TrialResult

__all__ = ["ModelKeeper", "settle_files"]


def settle_files(folder: SweepFolder, result: TrialResult) -> None:
    """Makes the files of the attempt that ended those of its trial; a trial without a model has none."""
    if result.state.has_model:
        folder.keep_attempt(result.number, result.attempt)
    else:
        folder.remove_attempts(result.number)


class ModelKeeper:
    """An observer that deletes models as soon as they are no longer among the best.

    The baseline's stays, and of each finalist that was trained again the best one; all of them if the sweep wants
    their mean.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._kept: dict[int, TrialRecord] | None = None
        """By number, the trials of the search that may have a model; None before the first look."""

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if not isinstance(event, TrialEnded):
            return
        ended = record.trials[event.result.number]
        if ended.retrains is not None:
            again = record.retrainings(ended.retrains)
            again.sort(key=lambda trial: record.objective.sort_key(trial.objective_value(record.objective) or 0.0))
            beaten = [] if record.config.registry.ensemble else again[1:]
        else:
            beaten = self._displaced(ended, record)
        for trial in beaten:
            if trial.number > 0 or not record.config.search.baseline:
                file = self._folder.model(trial.number)
                file.unlink(missing_ok=True)
                shutil.rmtree(graph_of(file), ignore_errors=True)

    def _displaced(self, ended: TrialRecord, record: SweepRecord) -> list[TrialRecord]:
        """The trials that are no longer among the best; the first time, all that an earlier driver may have left."""
        best = {trial.number: trial for trial in record.leaderboard(record.config.tracking.keep_models)}
        if self._kept is None:
            candidates = {trial.number: trial for trial in record.leaderboard()}
        else:
            candidates = self._kept | ({ended.number: ended} if ended.state.has_model else {})
        self._kept = best
        return [trial for number, trial in candidates.items() if number not in best]
