"""A search space as a sampler sees it: one dimension for each hyperparameter, some active under conditions only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
from optuna.distributions import CategoricalDistribution

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.distributions import Domain, domain_of, parameter_names

__all__ = ["Dimension", "SearchSpace", "Values", "fingerprint"]

Values = dict[str, HyperparameterValue]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One hyperparameter. Samplers deal in encoded values, the codes of its domain."""

    parameter: str
    """Its name, unique in the space."""
    hyperparameter: Any
    domain: Domain

    @property
    def name(self) -> str:
        """What it is called in a configuration."""
        name: str = self.hyperparameter.name
        return name

    @property
    def conditions(self) -> tuple[Any, ...]:
        """KerasTuner's: it is active where all of them hold."""
        return tuple(self.hyperparameter.conditions)

    @property
    def is_tunable(self) -> bool:
        """Whether there is anything to choose: more than one value."""
        return self.domain.n_values != 1

    @property
    def is_continuous(self) -> bool:
        return self.domain.n_choices is None

    @property
    def is_numeric(self) -> bool:
        """Whether its values have an order."""
        return self.is_tunable and not isinstance(self.domain.distribution, CategoricalDistribution)

    @property
    def n_choices(self) -> int:
        """Number of places for a value, of a dimension that is not continuous; a repeated value counts each time."""
        if self.domain.n_choices is None:
            raise TypeError(f"{self.name} has no finite list of values")
        return self.domain.n_choices

    def is_active(self, values: Mapping[str, HyperparameterValue]) -> bool:
        """Whether its conditions hold, given the values of what was declared before it."""
        return all(condition.is_active(values) for condition in self.conditions)

    def decode(self, encoded: Any) -> HyperparameterValue:
        """The value, in the type that KerasTuner gives."""
        return self.domain.decode(encoded)

    def encode(self, value: HyperparameterValue) -> Any:
        """None for a value outside the space."""
        return self.domain.encode(value)

    def choices(self) -> Iterator[Any]:
        """All different encoded values in order, one at a time, of a dimension that is not continuous."""
        if self.is_continuous:
            raise TypeError(f"{self.name} has no finite list of values")
        return iter(self.domain.choices())

    def from_unit(self, u: float) -> Any:
        """The encoded value at a quantile, 0 <= u <= 1, of KerasTuner's samples."""
        return self.domain.from_unit(u)

    def to_unit(self, encoded: Any) -> float:
        """The inverse of `from_unit`; the middle of the quantiles of a value that has several."""
        return self.domain.to_unit(encoded)


class SearchSpace:
    """The hyperparameters in the order of their declaration: a condition looks at what was declared before.

    Attributes:
        dimensions: all of them.
        tunable: those with more than one value.
    """

    def __init__(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        entries = hyperparameters.space
        self.dimensions = tuple(
            Dimension(parameter, entry, domain_of(entry))
            for parameter, entry in zip(parameter_names(entries), entries, strict=True)
        )
        self.tunable = tuple(dimension for dimension in self.dimensions if dimension.is_tunable)

    def fill(self, choose: Callable[[Dimension], Any]) -> Values:
        """The active hyperparameters.

        Args:
            choose: the encoded value of an active dimension that has a choice.
        """
        values: Values = {}
        for dimension in self.dimensions:
            if dimension.name in values or not dimension.is_active(values):
                continue
            encoded = choose(dimension) if dimension.is_tunable else next(dimension.choices())
            values[dimension.name] = dimension.decode(encoded)
        return values

    def encode(self, values: Mapping[str, HyperparameterValue]) -> dict[str, Any]:
        """By parameter, the encoded values of the active dimensions; those outside the space are left out."""
        encoded = {
            dimension.parameter: dimension.encode(values[dimension.name])
            for dimension in self.tunable
            if dimension.name in values and dimension.is_active(values)
        }
        return {parameter: value for parameter, value in encoded.items() if value is not None}

    def misfit(self, values: Mapping[str, HyperparameterValue]) -> str | None:
        """Why a configuration is not one of the space, None if it is."""
        active = [dimension for dimension in self.dimensions if dimension.is_active(values)]
        unknown = set(values) - {dimension.name for dimension in active}
        if unknown:
            return f"{min(unknown)} is not among its hyperparameters"
        for dimension in active:
            if dimension.name not in values:
                return f"{dimension.name} is missing"
            if dimension.encode(values[dimension.name]) is None:
                return f"{dimension.name} = {values[dimension.name]} is outside the space"
        return None

    def normalise(self, values: Mapping[str, HyperparameterValue]) -> Values:
        """A configuration of the space with its values as KerasTuner gives them: 48 for 48.0 of an `Int`."""
        active = (dimension for dimension in self.dimensions if dimension.is_active(values))
        return {each.name: each.decode(each.encode(values[each.name])) for each in active}

    def first_continuous(self) -> Dimension | None:
        """A dimension without a finite list of values; None in a finite space."""
        return next((dimension for dimension in self.tunable if dimension.is_continuous), None)

    def configurations(self) -> Iterator[Values]:
        """Every configuration of a finite space once, the last hyperparameter varying fastest."""
        return self._extend({}, self.dimensions)

    def _extend(self, values: Values, rest: Sequence[Dimension]) -> Iterator[Values]:
        if not rest:
            yield values
            return
        dimension, *later = rest
        if dimension.name in values or not dimension.is_active(values):
            yield from self._extend(values, later)
            return
        for choice in dimension.choices():
            yield from self._extend({**values, dimension.name: dimension.decode(choice)}, later)


def fingerprint(values: Mapping[str, HyperparameterValue]) -> frozenset[tuple[str, HyperparameterValue]]:
    """Equal for equal configurations, whatever the order of their hyperparameters."""
    return frozenset(values.items())
