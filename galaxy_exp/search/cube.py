"""A search space as the unit cube: many configurations at a time, as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.space import Dimension, SearchSpace, Values

__all__ = ["UnitCube"]

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


class UnitCube:
    """Points (n, d) of a space with d > 0 tunable dimensions: a coordinate each, in the order of their declaration.

    A coordinate, 0 to 1, is the share of the way through its dimension, on the hyperparameter's own scale. That of an
    inactive hyperparameter has no meaning.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    @cached_property
    def numeric(self) -> Mask:
        """Which dimensions (d,) have an order."""
        return np.array([dimension.is_numeric for dimension in self._space.tunable], bool)

    @cached_property
    def smallest_steps(self) -> Matrix:
        """The distance (d,) between neighbouring values, 0 in a continuous dimension."""
        tunable = self._space.tunable
        return np.array([0.0 if d.is_continuous else 1 / d.n_choices for d in tunable], float)

    def place(self, values: Mapping[str, HyperparameterValue]) -> Matrix:
        """The point (d,) of a configuration, nan for what is inactive or outside the space."""
        encoded = self._space.encode(values)
        tunable = self._space.tunable
        return np.array([d.to_unit(encoded[d.parameter]) if d.parameter in encoded else math.nan for d in tunable])

    def configuration(self, point: Matrix) -> Values:
        """The active hyperparameters at a point (d,)."""
        names = [dimension.parameter for dimension in self._space.tunable]
        coordinates = dict(zip(names, point.tolist(), strict=True))
        return self._space.fill(lambda dimension: dimension.from_unit(coordinates[dimension.parameter]))

    def to_grid(self, points: Matrix) -> Matrix:
        """Points (n, d) moved to where the values that they stand for are."""
        columns = [_to_grid(d, column) for d, column in zip(self._space.tunable, points.T, strict=True)]
        return np.stack(columns, axis=1)

    def active(self, points: Matrix) -> Mask:
        """Which dimensions are active (n, d) at points (n, d)."""
        taken: dict[str, Mask] = {}
        holders: dict[str, list[tuple[Dimension, Mask, Matrix]]] = {}
        columns = []
        tunable = iter(points.T)
        for dimension in self._space.dimensions:
            column = next(tunable) if dimension.is_tunable else np.zeros(len(points))
            here = np.ones(len(points), bool)
            for condition in dimension.conditions:
                here &= _holds(condition, holders.get(condition.name, []), len(points))
            here &= ~taken.get(dimension.name, np.zeros(len(points), bool))
            taken[dimension.name] = taken.get(dimension.name, False) | here
            holders.setdefault(dimension.name, []).append((dimension, here, column))
            if dimension.is_tunable:
                columns.append(here)
        return np.stack(columns, axis=1)

    def features(self, points: Matrix) -> Matrix:
        """What a model of numbers sees (n, f) of points (n, d) with nan for what is inactive.

        A column for each number, and for each category of a word or true/false. What is inactive is in the middle.
        """
        columns: list[Matrix] = []
        for dimension, column in zip(self._space.tunable, points.T, strict=True):
            inactive = np.isnan(column)
            if not dimension.is_numeric:
                n = dimension.n_choices
                index = _index(dimension, np.where(inactive, 0.0, column))
                columns += [np.where(inactive, 1 / n, index == choice) for choice in range(n)]
            else:
                columns.append(np.where(inactive, 0.5, column))
        return np.stack(columns, axis=1)


def _index(dimension: Dimension, column: Matrix) -> Matrix:
    n = float(dimension.n_choices)
    return np.minimum(np.floor(column / (1 / n)), n - 1)


def _to_grid(dimension: Dimension, column: Matrix) -> Matrix:
    if dimension.is_continuous:
        return column
    if not dimension.domain.is_even:
        return np.array([dimension.to_unit(dimension.from_unit(u)) for u in column.tolist()])
    return (_index(dimension, column) + 0.5) / dimension.n_choices


def _holds(condition: Any, holders: list[tuple[Dimension, Mask, Matrix]], n_points: int) -> Mask:
    """Where a condition of KerasTuner's, which looks at one name, is met by the dimensions of that name."""
    met = np.zeros(n_points, bool)
    for dimension, active, column in holders:
        met |= active & _meets(condition, dimension, column)
    return met


def _meets(condition: Any, dimension: Dimension, column: Matrix) -> Mask:
    distinct, places = np.unique(column, return_inverse=True)
    met = [condition.is_active({dimension.name: dimension.decode(dimension.from_unit(u))}) for u in distinct.tolist()]
    return np.array(met, bool)[places]
