"""Which checkpoints of a sweep agree with its journal, so that a trial may continue from them.

A checkpoint saves time and decides nothing: what a trial has reported is in the journal, and a trial whose checkpoint
is gone begins with its first epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from galaxy_exp.folders import CheckpointName
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import Decision, EpochReport, TrialState

__all__ = ["best_checkpoint", "checkpoint_after", "needed_checkpoints"]


def checkpoint_after(report: EpochReport) -> CheckpointName:
    """The checkpoint that an attempt may have written after it reported an epoch."""
    return CheckpointName(report.number, report.attempt, report.epoch)


def best_checkpoint(trial: TrialRecord, found: Collection[CheckpointName]) -> CheckpointName | None:
    """The checkpoint with the most epochs that agrees with the journal; None if there is none.

    The trial has not ended, or continues. One that was to end after the epoch that it reported last, and has not ended,
    has to report that epoch again.
    """
    repeats_last = trial.result is None and trial.decision is not Decision.CONTINUE
    reports = trial.reports[:-1] if repeats_last else trial.reports
    return next((each for each in map(checkpoint_after, reversed(reports)) if each in found), None)


def needed_checkpoints(
    record: SweepRecord, found: Collection[CheckpointName]
) -> tuple[set[CheckpointName], list[CheckpointName]]:
    """The checkpoints of running trials that may be used, and those from which trials that have ended may continue.

    Trials of the search may continue until a finalist is trained again; those that failed or were stopped never do.

    Returns:
        The first; and the second in the order in which they may be deleted: those of trials that have trained all their
        epochs, which continue only if the sweep is resumed with more, then the others, each with the worst score first.
    """
    running = {each for trial in record.running for each in _of_running(trial, found)}
    if record.winner is not None or any(trial.retrains is not None for trial in record.trials.values()):
        return running, []
    trials = [record.trials[number] for number in {each.number for each in found} if number in record.trials]
    ended = sorted(filter(_may_continue, trials), key=lambda trial: _worth(trial, record))
    best = [best_checkpoint(trial, found) for trial in ended]
    return running, [each for each in best if each is not None and each not in running]


def _of_running(trial: TrialRecord, found: Collection[CheckpointName]) -> Iterator[CheckpointName]:
    """The one that it would continue from now, and the one that a paused trial leaves before its end is known."""
    if (best := best_checkpoint(trial, found)) is not None:
        yield best
    if trial.reports and (newest := checkpoint_after(trial.reports[-1])) in found:
        yield newest


def _may_continue(trial: TrialRecord) -> bool:
    return trial.is_paused or trial.state is TrialState.COMPLETED


def _worth(trial: TrialRecord, record: SweepRecord) -> tuple[bool, float, int]:
    """A sort key: what is worth the least first."""
    value = trial.objective_value(record.objective)
    key = record.objective.sort_key(record.objective.worst if value is None else value)
    return trial.epochs < record.config.training.epochs, -key, -trial.number
