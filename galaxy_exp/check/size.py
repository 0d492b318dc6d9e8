"""How many configurations a search space has."""

from __future__ import annotations

from typing import Any

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.space import Dimension, SearchSpace

__all__ = ["count_configurations", "count_values", "reachable"]

_Chosen = frozenset[tuple[str, HyperparameterValue]]


def count_values(dimension: Dimension) -> int | None:
    """How many values there are to choose from; None for a continuous range."""
    if dimension.distribution is None:
        return 1
    return None if dimension.is_continuous else dimension.n_choices


def count_configurations(space: SearchSpace) -> int | None:
    """Different configurations, where a hyperparameter that is not active makes none; None if there is no end to them.

    Counted without going through them: only the values that conditions look at are told apart.
    """
    parents = {condition.name for each in space.dimensions for condition in each.hyperparameter.conditions}
    counts: dict[_Chosen, int] = {frozenset(): 1}
    for dimension in space.dimensions:
        n_values = count_values(dimension)
        extended: dict[_Chosen, int] = {}
        for chosen, count in counts.items():
            if not dimension.is_active(dict(chosen)):
                extended[chosen] = extended.get(chosen, 0) + count
            elif n_values is None:
                return None
            elif dimension.name in parents:
                extended |= {chosen | {(dimension.name, value)}: count for value in _values(dimension)}
            else:
                extended[chosen] = extended.get(chosen, 0) + count * n_values
        counts = extended
    return sum(counts.values())


def reachable(space: SearchSpace) -> set[str]:
    """The parameters whose conditions can be met with the values that are left in the space."""
    found: set[str] = set()
    values: dict[str, list[HyperparameterValue]] = {}
    for dimension in space.dimensions:
        conditions = dimension.hyperparameter.conditions
        if all(_can_be_met(condition, values) for condition in conditions):
            found.add(dimension.parameter)
            if not dimension.is_continuous:  # nothing can depend on a value out of endlessly many
                values.setdefault(dimension.name, []).extend(_values(dimension))
    return found


def _can_be_met(condition: Any, values: dict[str, list[HyperparameterValue]]) -> bool:
    return any(condition.is_active({condition.name: value}) for value in values.get(condition.name, []))


def _values(dimension: Dimension) -> list[HyperparameterValue]:
    if dimension.distribution is None:
        return [dimension.hyperparameter.default]
    return [dimension.decode(choice) for choice in dimension.choices()]
