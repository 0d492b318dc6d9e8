"""A search space as the unit cube: many configurations at a time, as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.domains import Domain
from galaxy_exp.space.search_space import Condition, Hyperparameter, SearchSpace, Values

__all__ = ["UnitCube"]

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


class UnitCube:
    """Points (n, d) of a space with d > 0 tunable hyperparameters: a coordinate each, in the order of declaration.

    A coordinate, 0 to 1, is a quantile on the hyperparameter's own scale. That of an inactive one has no meaning.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    @cached_property
    def numeric(self) -> Mask:
        """Which dimensions (d,) have an order."""
        return np.array([each.is_numeric for each in self._space.tunable], bool)

    @cached_property
    def smallest_steps(self) -> Matrix:
        """The distance (d,) between neighbouring values, 0 in a continuous dimension."""
        sizes = [each.domain.n_choices for each in self._space.tunable]
        return np.array([1 / n if n else 0.0 for n in sizes], float)

    def place(self, values: Mapping[str, HyperparameterValue]) -> Matrix:
        """The point (d,) of a configuration, nan for what is inactive or outside the space."""
        found = self._space.find(values)
        tunable = self._space.tunable
        return np.array([each.domain.to_unit(found[each.key]) if each.key in found else math.nan for each in tunable])

    def configuration(self, point: Matrix) -> Values:
        """The active hyperparameters at a point (d,)."""
        return self._space.at({each.key: u for each, u in zip(self._space.tunable, point.tolist(), strict=True)})

    def to_grid(self, points: Matrix) -> Matrix:
        """Points (n, d), each moved to the middle of the quantiles that give the same value."""
        columns = [_to_grid(each.domain, column) for each, column in zip(self._space.tunable, points.T, strict=True)]
        return np.stack(columns, axis=1)

    def active(self, points: Matrix) -> Mask:
        """Which dimensions are active (n, d) at points (n, d)."""
        n_points = len(points)
        declared: dict[str, list[tuple[Hyperparameter, Mask, Matrix]]] = {}
        columns = []
        coordinates = iter(points.T)
        for each in self._space.hyperparameters:
            column = next(coordinates) if each.is_tunable else np.zeros(n_points)
            here = np.ones(n_points, bool)
            for condition in each.conditions:
                here &= _holds(condition, declared.get(condition.name, []), n_points)
            earlier = declared.setdefault(each.name, [])  # of several that are active, the first has the name
            for _, taken, _ in earlier:
                here &= ~taken
            earlier.append((each, here, column))
            if each.is_tunable:
                columns.append(here)
        return np.stack(columns, axis=1)

    def features(self, points: Matrix) -> Matrix:
        """What a model of numbers sees (n, f) of points (n, d) with nan for what is inactive.

        A column for each number, and one for each value of an unordered dimension. What is inactive is in the middle.
        """
        columns: list[Matrix] = []
        for each, column in zip(self._space.tunable, points.T, strict=True):
            inactive = np.isnan(column)
            n = each.domain.n_choices
            if each.is_numeric or n is None:
                columns.append(np.where(inactive, 0.5, column))
            else:
                index = _index(n, np.where(inactive, 0.0, column))
                columns += [np.where(inactive, 1 / n, index == choice) for choice in range(n)]
        return np.stack(columns, axis=1)

    def log_prior(self, points: Matrix) -> Matrix:
        """The logarithm (n,) of the priors' density at points (n, d), nan where inactive; 0 without priors."""
        total = np.zeros(len(points))
        for each, column in zip(self._space.tunable, points.T, strict=True):
            if each.prior is not None:
                inactive = np.isnan(column)
                density = each.prior.density(each.domain, np.where(inactive, 0.5, column))
                total += np.where(inactive, 0.0, np.log(density))
        return total

    def draw_from_prior(self, points: Matrix) -> Matrix:
        """Evenly distributed points (n, d), made to have the distribution of the priors."""
        columns = [
            column if each.prior is None else each.prior.draw(each.domain, column)
            for each, column in zip(self._space.tunable, points.T, strict=True)
        ]
        return np.stack(columns, axis=1)


def _index(n_choices: int, column: Matrix) -> Matrix:
    n = float(n_choices)
    return np.minimum(np.floor(column / (1 / n)), n - 1)


def _to_grid(domain: Domain, column: Matrix) -> Matrix:
    if domain.n_choices is None:
        return column
    if not domain.is_even:
        return np.array([domain.to_unit(domain.from_unit(u)) for u in column.tolist()])
    return (_index(domain.n_choices, column) + 0.5) / domain.n_choices


def _holds(condition: Condition, declared: list[tuple[Hyperparameter, Mask, Matrix]], n_points: int) -> Mask:
    """Where a condition is met by the hyperparameters of its name."""
    met = np.zeros(n_points, bool)
    for each, active, column in declared:
        distinct, places = np.unique(column, return_inverse=True)
        holds = [condition.holds({each.name: each.domain.from_unit(u)}) for u in distinct.tolist()]
        met |= active & np.array(holds, bool)[places]
    return met
