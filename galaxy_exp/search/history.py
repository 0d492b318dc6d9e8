"""What a search has learnt so far: its trials, and how good those that ended were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from galaxy_exp.records import Objective, TrialState
from galaxy_exp.search.proposer import Outcome
from galaxy_exp.space.search_space import Values, fingerprint

__all__ = ["History", "Losses", "Observation", "StoppedTrials"]

StoppedTrials = Literal["reached", "extrapolated", "last"]
"""How a trial that was stopped early is compared with one that ran all its epochs.

- reached: by the best value it reached.
- extrapolated: by that, plus the median of what the complete trials gained after the epoch it was stopped at.
- last: after every complete trial; among the stopped, the one with more epochs first, then the better.
"""

Losses = tuple[float, ...]
"""One number for each objective: the smaller, the better."""


@dataclass(slots=True)
class Observation:
    """A trial."""

    values: Values
    outcome: Outcome | None = None
    """None while it runs."""
    is_of_this_sweep: bool = True
    """False for a trial of an earlier sweep."""

    @property
    def is_stopped(self) -> bool:
        return self.outcome is not None and self.outcome.state is TrialState.STOPPED

    @property
    def violation(self) -> float:
        """How much the constraints are broken, in all; 0 if none is."""
        return sum(max(0.0, value) for value in self.outcome.violations) if self.outcome else 0.0


class History:
    """Trials in the order in which they became known, and the order in which they ended.

    Args:
        objectives: the first is that of the curves.
        stopped: how trials stopped early are scored.
    """

    def __init__(self, objectives: Sequence[Objective], stopped: StoppedTrials = "reached") -> None:
        self.objectives = tuple(objectives)
        self.stopped = stopped
        self.observations: list[Observation] = []
        self.ended: list[int] = []
        self._counts: Counter[frozenset[object]] = Counter()
        self._complete_curves: list[list[float]] = []
        self._gains: dict[int, float] = {}

    def begin(self, values: Values, *, is_of_this_sweep: bool = True) -> int:
        """Adds a running trial; returns its position.

        Args:
            is_of_this_sweep: whether its configuration counts as tried.
        """
        self.observations.append(Observation(dict(values), is_of_this_sweep=is_of_this_sweep))
        if is_of_this_sweep:
            self._counts[fingerprint(values)] += 1
        return len(self.observations) - 1

    def end(self, position: int, outcome: Outcome) -> None:
        """The trial at `position` ended."""
        self.observations[position].outcome = outcome
        self.ended.append(position)
        if outcome.state is TrialState.COMPLETED and any(math.isfinite(value) for value in outcome.curve):
            self._complete_curves.append(self._best_so_far(outcome.curve))
            self._gains.clear()

    def count(self, values: Values) -> int:
        """How many trials of this sweep have these values."""
        return self._counts[fingerprint(values)]

    def losses(self, *, penalise_violations: bool = False) -> list[Losses | None]:
        """How good each ended trial was, in the order of `ended`.

        A trial that failed, diverged, was lost or could not be built is as bad as the worst seen in every objective;
        None as long as no trial was measured.

        Args:
            penalise_violations: also take trials that break a constraint as that bad.
        """
        measured = [self.measured(self.observations[position], penalise_violations) for position in self.ended]
        known = [losses for losses in measured if losses is not None]
        worst = tuple(max(column) for column in zip(*known, strict=True)) if known else None
        return [worst if losses is None else losses for losses in measured]

    def measured(self, observation: Observation, penalise_violations: bool) -> Losses | None:
        """How good a trial was; None if it runs or counts as bad as the worst."""
        outcome = observation.outcome
        if outcome is None or not outcome.state.has_model or outcome.values is None:
            return None
        if penalise_violations and observation.violation > 0:
            return None
        losses = [
            -value if objective.direction == "max" else value
            for objective, value in zip(self.objectives, outcome.values, strict=True)
        ]
        if not all(math.isfinite(loss) for loss in losses):
            return None
        if observation.is_stopped and self.stopped == "extrapolated":
            losses[0] -= self._gain_after(len(outcome.curve))
        return tuple(losses)

    def _gain_after(self, epoch: int) -> float:
        """By how much complete trials improve after an epoch: the median, in units of the first objective."""
        if epoch not in self._gains:
            gains = [curve[epoch - 1] - curve[-1] for curve in self._complete_curves if 0 < epoch <= len(curve)]
            finite = [gain for gain in gains if math.isfinite(gain)]
            self._gains[epoch] = float(np.median(finite)) if finite else 0.0
        return self._gains[epoch]

    def _best_so_far(self, curve: Sequence[float]) -> list[float]:
        keys = [self.objectives[0].sort_key(value) for value in curve]
        return [float(best) for best in np.minimum.accumulate(keys)]
