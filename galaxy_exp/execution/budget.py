"""When the search ends, computed from the journal's record.

The epochs of attempts that lost their worker do not count, so a sweep that was killed and resumed ends where the
uninterrupted one would have ended; only `max_hours` depends on the clock.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from galaxy_exp.journal.record import Step, SweepRecord, TrialRecord
from galaxy_exp.search.schedulers import Scheduler

__all__ = ["Budget", "expected_gain", "trials_without_gain"]

TRIALS_AHEAD = 10
"""The expected gain (`search.min_expected_gain`) is that of this many further trials."""

TRIALS_TO_JUDGE_FROM = 20
"""The number of newest trials that the expected gain is estimated from; with fewer there is no estimate."""

_GRID_POINTS = 200


@dataclass(frozen=True, slots=True)
class Budget:
    """Decides when no further trial is started, and when running trials end."""

    scheduler: Scheduler
    """Decides how many epochs a trial needs before it can be compared with others."""
    epochs: int
    """Of a trial that is not stopped."""

    def refusal(self, record: SweepRecord, now: float) -> str | None:
        """Why no further trial is started; None if one may start.

        Args:
            now: seconds since 1970.
        """
        search = record.config.search  # an order may have changed it
        number = len(record.trials)
        if record.is_ordered_to_finish:
            return "ordered to finish"
        if number >= search.max_trials:
            return "max_trials reached"
        if (reason := self.exceeded(record, now)) is not None:
            return reason
        if (reason := self._too_short_for_a_rung(record, number, now)) is not None:
            return reason
        idle = search.max_trials_without_gain
        if idle is not None and (without_gain := trials_without_gain(record)) >= idle:
            return f"no gain in the last {without_gain} trials"
        if search.min_expected_gain is not None:
            gain = expected_gain(record)
            if gain is not None and gain < search.min_expected_gain:
                return (
                    f"{TRIALS_AHEAD} more trials are expected to gain {gain:.2g}, "
                    f"less than min_expected_gain ({search.min_expected_gain:g})"
                )
        return None

    def exceeded(self, record: SweepRecord, now: float, epochs_reported: int = 0) -> str | None:
        """Why running trials end after their current epoch; None if they continue.

        Args:
            epochs_reported: since the last event in the record.
        """
        search = record.config.search
        if search.max_epochs is not None and (epochs := record.epochs + epochs_reported) >= search.max_epochs:
            return f"max_epochs reached: {epochs} epochs"
        if search.max_hours is not None and _active_seconds(record, now) >= search.max_hours * 3600:
            return f"max_hours reached: {_active_seconds(record, now) / 3600:.2f} hours"
        return None

    def _too_short_for_a_rung(self, record: SweepRecord, number: int, now: float) -> str | None:
        """Why the budget would end before the trial could be compared with others; None if it would not."""
        search, needed = record.config.search, self._first_decision(number)
        if search.max_epochs is not None:
            promised = sum(max(0, self._first_decision(t.number) - max(t.epochs, len(t.known))) for t in record.running)
            left = search.max_epochs - record.epochs - promised
            if left < needed:
                return f"max_epochs: {max(0, left)} epochs are left, too few for another trial's first {needed}"
        if search.max_hours is not None and (epoch_seconds := _epoch_seconds(record)) is not None:
            seconds = search.max_hours * 3600 - _active_seconds(record, now)
            if seconds < needed * epoch_seconds:
                return f"max_hours: {seconds:.0f} s are left, too few for another trial's first {needed} epochs"
        return None

    def _first_decision(self, number: int) -> int:
        return min(self.scheduler.first_decision(number) or self.epochs, self.epochs)


def trials_without_gain(record: SweepRecord) -> int:
    """How many trials of the search have ended since the last one that improved the best score.

    A trial that continues after it had ended counts once, and improves the best if it is better than it was before.
    """
    best, count = record.objective.worst, 0
    ended: set[int] = set()
    for known in record.history:
        trial = record.trials[known.number]
        if known.step is not Step.ENDED or trial.retrains is not None:
            continue
        value = record.score(replace(trial, result=known.result))
        if value is not None and record.objective.is_better(value, best):
            best, count = value, 0
        elif known.number not in ended:
            count += 1
        ended.add(known.number)
    return count


def expected_gain(record: SweepRecord) -> float | None:
    """By how much ten more trials are expected to improve the best objective; None with fewer than 20 results.

    Paused trials, which have not shown what they can reach, are left out.

    The scores of the newest 20 trials, smoothed with Gaussians of Silverman's width (Silverman 1986, Density
    Estimation, eq. 3.31), are the model of future scores. The expected gain is the mean improvement of the best of ten
    draws over the best score so far.
    """
    objective = record.objective
    ended = [record.trials[number] for number in record.end_order]
    keys = [objective.sort_key(value) for trial in ended if (value := _searched_value(trial, record)) is not None]
    newest = keys[-TRIALS_TO_JUDGE_FROM:]
    best = record.leaderboard(1)
    if len(newest) < TRIALS_TO_JUDGE_FROM or not best:
        return None
    best_key = objective.sort_key(best[0].objective_value(objective) or 0.0)
    return _gain_of_draws(newest, best_key, TRIALS_AHEAD)


def _gain_of_draws(keys: Sequence[float], best: float, n_draws: int) -> float:
    """Mean of max(0, best - smallest of n draws) for the smoothed distribution of `keys`, where smaller is better."""
    from scipy.special import ndtr

    quartiles = statistics.quantiles(keys, n=4)
    spread = min(statistics.stdev(keys), (quartiles[2] - quartiles[0]) / 1.34) or statistics.stdev(keys)
    width = 0.9 * spread * len(keys) ** -0.2
    if width == 0:
        return 0.0
    step = (max(0.0, best - min(keys)) + 5 * width) / _GRID_POINTS
    points = best - (np.arange(_GRID_POINTS) + 0.5) * step
    fractions_below = ndtr((points[:, np.newaxis] - np.array(keys)) / width).mean(axis=1)
    return float((1 - (1 - fractions_below) ** n_draws).sum() * step)


def _searched_value(trial: TrialRecord, record: SweepRecord) -> float | None:
    return None if trial.predetermined or trial.is_paused else trial.objective_value(record.objective)


def _active_seconds(record: SweepRecord, now: float) -> float:
    return record.active_seconds + max(0.0, now - record.updated_at)


def _epoch_seconds(record: SweepRecord) -> float | None:
    """Median wall time of an epoch, validation included, over the ended trials; None if there are none."""
    seconds = [
        trial.result.training_seconds / trial.result.epochs
        for trial in record.trials.values()
        if trial.result and trial.result.epochs
    ]
    return statistics.median(seconds) if seconds else None
