"""How many configurations a search space has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.space import Dimension, SearchSpace

__all__ = ["count_configurations", "count_values", "reachable"]

_Chosen = frozenset[tuple[str, Any]]

_OTHER = object()
"""Stands for all values of a hyperparameter that no condition looks at."""


def count_values(dimension: Dimension) -> int | None:
    """How many values there are to choose from; None for a continuous range."""
    return dimension.domain.n_values


def count_configurations(space: SearchSpace) -> int | None:
    """Different configurations, where a hyperparameter that is not active makes none; None if there is no end to them.

    Counted without going through them: only the values that conditions look at are told apart.
    """
    conditions = [condition for each in space.dimensions for condition in each.conditions]
    counts: dict[_Chosen, int] = {frozenset(): 1}
    for dimension in space.dimensions:
        n_values = count_values(dimension)
        looked_at = _looked_at(dimension, conditions)
        extended: dict[_Chosen, int] = {}
        for chosen, count in counts.items():
            if not dimension.is_active(dict(chosen)):
                extended[chosen] = extended.get(chosen, 0) + count
                continue
            if n_values is None:
                return None
            shares = dict.fromkeys(looked_at, 1) | {_OTHER: n_values - len(looked_at)}
            for value, share in shares.items():
                if share:
                    key = chosen | {(dimension.name, value)} if looked_at else chosen
                    extended[key] = extended.get(key, 0) + count * share
        counts = extended
    return sum(counts.values())


def reachable(space: SearchSpace) -> set[str]:
    """The parameters whose conditions can be met with the values that are left in the space."""
    found: set[str] = set()
    declared: list[Dimension] = []
    for dimension in space.dimensions:
        if all(any(_looked_at(each, [condition]) for each in declared) for condition in dimension.conditions):
            found.add(dimension.parameter)
            declared.append(dimension)
    return found


def _looked_at(dimension: Dimension, conditions: Sequence[Any]) -> list[HyperparameterValue]:
    """The different values of a dimension that conditions on it name."""
    named = [value for condition in conditions if condition.name == dimension.name for value in condition.values]
    encoded = [dimension.encode(value) for value in named]
    return list(dict.fromkeys(dimension.decode(code) for code in encoded if code is not None))
