"""How many configurations a search space has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.search_space import Condition, Hyperparameter, SearchSpace

__all__ = ["count_configurations", "reachable"]

_Chosen = frozenset[tuple[str, Any]]

_OTHER = object()
"""Stands for all values of a hyperparameter that no condition looks at."""


def count_configurations(space: SearchSpace) -> int | None:
    """Different configurations, where a hyperparameter that is not active makes none; None if there is no end to them.

    Counted without going through them: only the values that conditions look at are told apart.
    """
    conditions = [condition for each in space.hyperparameters for condition in each.conditions]
    counts: dict[_Chosen, int] = {frozenset(): 1}
    for each in space.hyperparameters:
        n_values = each.domain.n_values
        looked_at = _looked_at(each, conditions)
        extended: dict[_Chosen, int] = {}
        for chosen, count in counts.items():
            if not each.is_active(dict(chosen)):
                extended[chosen] = extended.get(chosen, 0) + count
                continue
            if n_values is None:
                return None
            shares = dict.fromkeys(looked_at, 1) | {_OTHER: n_values - len(looked_at)}
            for value, share in shares.items():
                if share:
                    key = chosen | {(each.name, value)} if looked_at else chosen
                    extended[key] = extended.get(key, 0) + count * share
        counts = extended
    return sum(counts.values())


def reachable(space: SearchSpace) -> set[str]:
    """The keys of hyperparameters whose conditions can be met with the values that are left in the space."""
    found: set[str] = set()
    declared: list[Hyperparameter] = []
    for hyperparameter in space.hyperparameters:
        if all(any(_looked_at(each, [condition]) for each in declared) for condition in hyperparameter.conditions):
            found.add(hyperparameter.key)
            declared.append(hyperparameter)
    return found


def _looked_at(hyperparameter: Hyperparameter, conditions: Sequence[Condition]) -> list[HyperparameterValue]:
    """The different values of a hyperparameter that conditions on it name."""
    named = [value for condition in conditions if condition.name == hyperparameter.name for value in condition.values]
    found = map(hyperparameter.domain.find, named)
    return list(dict.fromkeys(value for value in found if value is not None))
