"""How far a sweep is, and how long it may still take, computed from its record alone."""

from __future__ import annotations

import statistics

from galaxy_exp.evaluation.conclusion import simulated
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.wording import format_duration

__all__ = ["describe_progress", "expected_trials", "seconds_left"]

_LEAST_TRIALS = 2
"""Number of ended trials below which nothing is said about the time."""


def expected_trials(record: SweepRecord) -> int:
    """`search.max_trials`; after the search, the number of its trials and of those that train finalists again."""
    if record.finalists is None:
        return record.config.search.max_trials
    return len(record.searched) + len(record.finalists) * record.config.registry.seeds


def describe_progress(record: SweepRecord) -> str:
    """`4 of 6 trials, best val_macro_f1 0.5111 (trial 1), at most about 12 min left`."""
    parts = [f"{len(record.end_order)} of {expected_trials(record)} trials"]
    if best := record.leaderboard(1):
        value = best[0].objective_value(record.objective)
        parts.append(f"best {simulated(record)}{record.objective.name} {value:.4f} (trial {best[0].number})")
    if (left := seconds_left(record)) is not None:
        parts.append(f"at most about {format_duration(60 * round(left / 60) if left > 60 else left)} left")
    return ", ".join(parts)


def seconds_left(record: SweepRecord) -> float | None:
    """How long the trials to come may take at the present speed; None if that is not known or nothing is to come.

    The search ends where its first budget does; `min_expected_gain` and `max_trials_without_gain` may end it sooner.
    """
    if record.ended is not None or record.winner is not None or len(record.end_order) < _LEAST_TRIALS:
        return None
    active = record.active_seconds
    search, registry = record.config.search, record.config.registry
    if record.finalists is not None:
        trained = sum(trial.epochs for trial in record.trials.values() if trial.retrains is not None)
        return _seconds_of(len(record.finalists) * registry.seeds, trained, record)
    done = [len(record.end_order) / search.max_trials]
    if search.max_epochs is not None:
        done.append(record.epochs / search.max_epochs)
    if search.max_hours is not None:
        done.append(active / (3600 * search.max_hours))
    share = min(1.0, max(done))
    return active * (1 - share) / share + _seconds_of(registry.finalists * registry.seeds, 0, record)


def _seconds_of(n_trials: int, n_trained: int, record: SweepRecord) -> float:
    """Of so many trials of all epochs, of which some epochs are trained, on as many workers as are busy now."""
    ended = (record.trials[number] for number in record.end_order)
    seconds = [each for trial in ended if (each := trial.epoch_seconds) is not None]
    n_epochs = max(0, n_trials * record.config.training.epochs - n_trained)
    return n_epochs * statistics.median(seconds) / max(1, len(record.running)) if seconds else 0.0
