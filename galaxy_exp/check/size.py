"""The number of configurations in a search space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.search_space import Condition, Hyperparameter, SearchSpace

__all__ = ["count_configurations", "reachable"]

_Chosen = frozenset[tuple[str, Any]]

_OTHER = object()
"""Represents all values of a hyperparameter that no condition depends on."""


def count_configurations(space: SearchSpace) -> int | None:
    """The number of different configurations, without inactive hyperparameters; None if it is infinite.

    They are not enumerated: only values that conditions depend on are distinguished.
    """
    conditions = [condition for each in space.hyperparameters for condition in each.conditions]
    counts: dict[_Chosen, int] = {frozenset(): 1}
    for each in space.hyperparameters:
        n_values = each.domain.n_values
        named_values = _named_values(each, conditions)
        extended: dict[_Chosen, int] = {}
        for chosen, count in counts.items():
            if not each.is_active(dict(chosen)):
                extended[chosen] = extended.get(chosen, 0) + count
                continue
            if n_values is None:
                return None
            choices = dict.fromkeys(named_values, 1) | {_OTHER: n_values - len(named_values)}
            for value, n in choices.items():
                if n:
                    key = chosen | {(each.name, value)} if named_values else chosen
                    extended[key] = extended.get(key, 0) + count * n
        counts = extended
    return sum(counts.values())


def reachable(space: SearchSpace) -> set[str]:
    """The keys of hyperparameters whose conditions can be met with the values that are left in the space."""
    found: set[str] = set()
    declared: list[Hyperparameter] = []
    for hyperparameter in space.hyperparameters:
        if all(any(_named_values(each, [condition]) for each in declared) for condition in hyperparameter.conditions):
            found.add(hyperparameter.key)
            declared.append(hyperparameter)
    return found


def _named_values(hyperparameter: Hyperparameter, conditions: Sequence[Condition]) -> list[HyperparameterValue]:
    """The different values of a hyperparameter in the conditions on it."""
    named = [value for condition in conditions if condition.name == hyperparameter.name for value in condition.values]
    found = map(hyperparameter.domain.find, named)
    return list(dict.fromkeys(value for value in found if value is not None))
