"""Trials of earlier sweeps as evidence for a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from galaxy_exp.config import SweepConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.execution.trials import outcome_of
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.records import Evidence, HyperparameterValue, Objective, TrialState
from galaxy_exp.space.search_space import Hyperparameter, SearchSpace

__all__ = ["WarmStart", "collect_evidence", "is_comparable"]


@dataclass(frozen=True, slots=True)
class WarmStart:
    """The evidence that one earlier sweep gives."""

    sweep_id: str
    comparable: bool
    evidence: list[Evidence]
    left_out: dict[str, int]
    """The number of trials that could not be used, by reason."""

    def describe(self) -> str:
        """One line to print."""
        how = "its scores count as this sweep's own" if self.comparable else "only their order counts"
        taken = f"warm start: {len(self.evidence)} trials of {self.sweep_id} are evidence; {how}"
        return "; ".join([taken, *_reasons(self.left_out)])


def is_comparable(earlier: SweepRecord, config: SweepConfig, data_digest: str, space: SearchSpace) -> bool:
    """Whether a configuration would get about the same score in both sweeps: same images, split, network and epochs.

    Args:
        config, data_digest, space: of the new sweep.
    """
    then, changed = earlier.config_at_start, {*earlier.config_at_start.space, *config.space}
    return (
        earlier.started.data_digest == data_digest
        and (then.data.split, then.data.votes.agreement, then.hypermodel)
        == (config.data.split, config.data.votes.agreement, config.hypermodel)
        and {then.training.epochs, earlier.config.training.epochs} == {config.training.epochs}
        and _declared(SearchSpace.from_config(earlier.started.space), changed) == _declared(space, changed)
    )


def _declared(space: SearchSpace, changed: set[str]) -> set[str | Hyperparameter]:
    """The names and domains that the network declares; of those that a sweep file changes, only the names."""
    return {each.name if each.name in changed else replace(each, default=0, key="") for each in space.hyperparameters}


def collect_evidence(
    earlier: SweepRecord,
    config: SweepConfig,
    space: SearchSpace,
    *,
    comparable: bool,
    implied: Mapping[str, HyperparameterValue] | None = None,
) -> WarmStart:
    """The finished trials of an earlier sweep whose configurations are possible in the new one.

    Args:
        config, space: of the new sweep.
        comparable: see `is_comparable`.
        implied: the values of hyperparameters that the earlier sweep may not have had.

    Raises:
        ConfigError: the earlier sweep has another objective, or no trial with a score in the new sweep's space.
    """
    wanted, found = config.search.objective_record, earlier.objective
    if wanted != found:
        raise ConfigError(
            f"search.warm_start: {earlier.sweep_id} was searched for {_describe(found)}, this sweep is for "
            f"{_describe(wanted)}; expected a sweep with the same first objective"
        )
    evidence: list[Evidence] = []
    left_out: Counter[str] = Counter()
    for number in earlier.end_order:
        trial = earlier.trials[number]
        values = space.fill_in(trial.values, implied or {})
        reason = "its worker was lost" if trial.state is TrialState.LOST else space.misfit(values)
        if reason is not None:
            left_out[reason] += 1
            continue
        outcome = outcome_of(trial, config.search.objectives, config.search.constraint_records)
        if trial.state is TrialState.INFEASIBLE and not any(violation > 0 for violation in outcome.violations):
            left_out["it was not trained, and breaks no constraint of this sweep"] += 1
            continue
        evidence.append(Evidence(values, outcome, earlier.sweep_id, comparable))
    if all(known.outcome.values is None for known in evidence):
        ended = f"{len(earlier.end_order)} finished trials, none with a score in this sweep's space"
        raise ConfigError("; ".join([f"search.warm_start: {earlier.sweep_id} has {ended}", *_reasons(left_out)]))
    return WarmStart(earlier.sweep_id, comparable, evidence, dict(left_out))


def _describe(objective: Objective) -> str:
    return f"{objective.name} ({objective.direction})"


def _reasons(left_out: dict[str, int]) -> list[str]:
    return [f"{number} left out: {reason}" for reason, number in left_out.items()]
