"""What a search has learnt so far: its trials, how good those that ended were, what an unfinished curve promises."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from galaxy_exp.records import Objective, Outcome, TrialState
from galaxy_exp.space.search_space import Values, fingerprint

__all__ = ["History", "Losses", "Observation", "best_key", "promise"]

TREND, FIRST_TREND = 0.5, 0.2
"""The share of its latest gain with which a curve is extrapolated; the second up to epoch `FIRST_EPOCHS`, as long as
the gain depends on how badly the network began.

With less, trials that have stopped learning beat slower ones that still gain; with more, all goes to those that began
badly (docs/evidence-search.md).
"""

FIRST_EPOCHS = 3


def best_key(objective: Objective, curve: Sequence[float]) -> float:
    """The best value of a curve as a key that sorts the best first; infinite if there is none."""
    return min((objective.sort_key(value) for value in curve if value == value), default=math.inf)


def promise(objective: Objective, curve: Sequence[float], epoch: int, epochs: int) -> float:
    """What a trial is expected to reach, from the first `epoch` epochs of its curve: a key that sorts the best first.

    The best value so far, and a share (`TREND`, `FIRST_TREND`) of what it would gain if it went on as in the latest
    doubling of its epochs, in proportion to the logarithm of the epochs. The curve may hold nan.
    """
    earlier = (epoch + 1) // 2
    now, before = best_key(objective, curve[:epoch]), best_key(objective, curve[:earlier])
    if earlier == epoch or epoch >= epochs or not math.isfinite(before):
        return now
    share = TREND if epoch > FIRST_EPOCHS else FIRST_TREND
    return now - share * (before - now) * math.log(epochs / epoch) / math.log(epoch / earlier)


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
    """Trials in the order in which they became known, and the order in which they first ended.

    Args:
        objectives: the first is that of the curves.
        epochs: of a trial that is not stopped.
    """

    def __init__(self, objectives: Sequence[Objective], epochs: int) -> None:
        self.objectives = tuple(objectives)
        self._epochs = epochs
        self.observations: list[Observation] = []
        self.ended: list[int] = []
        self._counts: Counter[frozenset[object]] = Counter()
        self._losses: dict[bool, list[Losses | None]] = {}

    def begin(self, values: Values, *, is_of_this_sweep: bool = True) -> int:
        """Adds a running trial, whose configuration counts as tried if it is of this sweep; returns its position."""
        self.observations.append(Observation(dict(values), is_of_this_sweep=is_of_this_sweep))
        if is_of_this_sweep:
            self._counts[fingerprint(values)] += 1
        return len(self.observations) - 1

    def end(self, position: int, outcome: Outcome) -> None:
        """The trial at `position` ended; again, if it had ended before and has continued."""
        if self.observations[position].outcome is None:
            self.ended.append(position)
        self.observations[position].outcome = outcome
        self._losses.clear()

    def count(self, values: Values) -> int:
        """How many trials of this sweep have these values."""
        return self._counts[fingerprint(values)]

    @property
    def n_configurations(self) -> int:
        """How many different ones this sweep has begun."""
        return len(self._counts)

    @property
    def n_results(self) -> int:
        """How many trials of this sweep have ended."""
        return sum(self.observations[position].is_of_this_sweep for position in self.ended)

    def losses(self, *, penalise_violations: bool = False) -> list[Losses | None]:
        """How good each ended trial was, in the order of `ended`; None as long as no trial was measured.

        A trial that failed, diverged, was lost or could not be built is as bad as the worst seen in every objective;
        with `penalise_violations`, one that breaks a constraint too.
        """
        if penalise_violations not in self._losses:
            measured = [self.measured(self.observations[position], penalise_violations) for position in self.ended]
            known = [losses for losses in measured if losses is not None]
            worst = tuple(max(column) for column in zip(*known, strict=True)) if known else None
            self._losses[penalise_violations] = [worst if losses is None else losses for losses in measured]
        return list(self._losses[penalise_violations])

    def known_losses(self) -> dict[int, Losses]:
        """`losses` with broken constraints penalised, by position; empty as long as no trial was measured."""
        losses = zip(self.ended, self.losses(penalise_violations=True), strict=True)
        return {position: loss for position, loss in losses if loss is not None}

    def measured(self, observation: Observation, penalise_violations: bool) -> Losses | None:
        """How good a trial was; None if it runs or counts as bad as the worst.

        One that was paused or stopped counts with what it promises to reach (`promise`).
        """
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
        if observation.is_stopped and outcome.curve:
            losses[0] = promise(self.objectives[0], outcome.curve, len(outcome.curve), self._epochs)
        return tuple(losses)
