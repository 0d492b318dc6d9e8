"""The number of configurations in a search space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.space import Dimension, SearchSpace

__all__ = ["count_configurations", "count_values", "reachable"]

_Chosen = frozenset[tuple[str, Any]]

_OTHER = object()
"""Represents all values of a hyperparameter that no condition depends on."""


def count_values(dimension: Dimension) -> int | None:
    """The number of values; None for a continuous range."""
    return dimension.domain.n_values


def count_configurations(space: SearchSpace) -> int | None:
    """The number of different configurations, without inactive hyperparameters; None if it is infinite.

    They are not enumerated: only values that conditions depend on are distinguished.
    """
    conditions = [condition for each in space.dimensions for condition in each.conditions]
    counts: dict[_Chosen, int] = {frozenset(): 1}
    for dimension in space.dimensions:
        n_values = count_values(dimension)
        named_values = _named_values(dimension, conditions)
        extended: dict[_Chosen, int] = {}
        for chosen, count in counts.items():
            if not dimension.is_active(dict(chosen)):
                extended[chosen] = extended.get(chosen, 0) + count
                continue
            if n_values is None:
                return None
            choices = dict.fromkeys(named_values, 1) | {_OTHER: n_values - len(named_values)}
            for value, n in choices.items():
                if n:
                    key = chosen | {(dimension.name, value)} if named_values else chosen
                    extended[key] = extended.get(key, 0) + count * n
        counts = extended
    return sum(counts.values())


def reachable(space: SearchSpace) -> set[str]:
    """The parameters whose conditions can be met with the values in the space."""
    found: set[str] = set()
    declared: list[Dimension] = []
    for dimension in space.dimensions:
        if all(any(_named_values(each, [condition]) for each in declared) for condition in dimension.conditions):
            found.add(dimension.parameter)
            declared.append(dimension)
    return found


def _named_values(dimension: Dimension, conditions: Sequence[Any]) -> list[HyperparameterValue]:
    """The different values of a dimension in the conditions on it."""
    named = [value for condition in conditions if condition.name == dimension.name for value in condition.values]
    encoded = [dimension.encode(value) for value in named]
    return list(dict.fromkeys(dimension.decode(code) for code in encoded if code is not None))
