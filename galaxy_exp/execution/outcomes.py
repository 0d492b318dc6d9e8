"""What a search is told of a trial, from the trial's record."""

from __future__ import annotations

from collections.abc import Sequence

from galaxy_exp.journal.record import TrialRecord, violations
from galaxy_exp.records import Constraint, Objective, Outcome

__all__ = ["outcome_of"]


def outcome_of(trial: TrialRecord, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> Outcome:
    """The outcome of a finished trial; RuntimeError for one that still runs."""
    if trial.result is None:
        raise RuntimeError(f"trial {trial.number} still runs")
    return Outcome(
        state=trial.state,
        curve=tuple(trial.curve(objectives[0].name)),
        values=trial.objective_values(objectives),
        violations=violations(trial.result, constraints),
    )
