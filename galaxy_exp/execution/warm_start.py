"""Trials of an earlier sweep as evidence for a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.outcomes import outcome_of
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.records import Constraint, Evidence, HyperparameterValue, Objective, TrialState

__all__ = ["WarmStart", "collect_evidence"]


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What an earlier sweep has to say."""

    evidence: list[Evidence]
    left_out: dict[str, int]
    """Why trials could not be used, and how many."""

    def describe(self, sweep_id: str) -> str:
        """One line for the user."""
        taken = f"warm start: {len(self.evidence)} trials of {sweep_id} are evidence"
        if not self.left_out:
            return taken
        reasons = "; ".join(f"{count} left out: {reason}" for reason, count in self.left_out.items())
        return f"{taken}; {reasons}"


def collect_evidence(
    earlier: SweepRecord,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    misfit: Callable[[dict[str, HyperparameterValue]], str | None],
) -> WarmStart:
    """The finished trials of an earlier sweep whose configurations are possible in the new one.

    Args:
        misfit: why a configuration is not one of the new sweep's space, None if it is.

    Raises:
        ConfigError: the earlier sweep measured another objective.
    """
    wanted, found = objectives[0].name, earlier.objective.name
    if wanted != found and not any(wanted in trial.result.metrics for trial in earlier.trials.values() if trial.result):
        raise ConfigError(f"search.warm_start: {earlier.sweep_id} did not measure {wanted}; its objective is {found}")
    evidence: list[Evidence] = []
    left_out: Counter[str] = Counter()
    for number in earlier.end_order:
        trial = earlier.trials[number]
        reason = "its worker was lost" if trial.state is TrialState.LOST else misfit(trial.values)
        if reason is not None:
            left_out[reason] += 1
            continue
        evidence.append(Evidence(dict(trial.values), outcome_of(trial, objectives, constraints)))
    return WarmStart(evidence, dict(left_out))
