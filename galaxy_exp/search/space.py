"""A search space as a sampler sees it: one dimension for each hyperparameter, some active under conditions only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.search.distributions import decode_value, distribution_of, encode_value, is_tunable, parameter_names

__all__ = ["Dimension", "SearchSpace", "Values", "fingerprint"]

Values = dict[str, HyperparameterValue]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One hyperparameter. Samplers deal in encoded values: those of its Optuna distribution."""

    parameter: str
    """Its name, unique in the space."""
    hyperparameter: Any
    distribution: BaseDistribution | None
    """None if it has one value only."""
    name: str
    """What it is called in a configuration."""
    conditions: tuple[Any, ...]
    """KerasTuner's: it is active where all of them hold."""

    @property
    def is_continuous(self) -> bool:
        return isinstance(self.distribution, FloatDistribution) and self.distribution.step is None

    @property
    def is_numeric(self) -> bool:
        """Whether its values have an order."""
        return isinstance(self.distribution, IntDistribution | FloatDistribution)

    def is_active(self, values: Mapping[str, HyperparameterValue]) -> bool:
        """Whether its conditions hold, given the values of what was declared before it."""
        return not self.conditions or all(condition.is_active(values) for condition in self.conditions)

    def decode(self, encoded: Any) -> HyperparameterValue:
        return decode_value(self.hyperparameter, encoded)

    def encode(self, value: HyperparameterValue) -> Any:
        """None for a value outside the space."""
        encoded = encode_value(self.hyperparameter, value)
        return encoded if encoded is not None and _contains(self.distribution, encoded) else None

    def choices(self) -> list[Any]:
        """All encoded values in order, of a dimension that is neither continuous nor fixed."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return list(choices)
            case IntDistribution(low=low, high=high, step=step):
                return list(range(low, high + 1, step))
            case FloatDistribution(low=low, high=high, step=float(step)):
                return [low + index * step for index in range(_steps(low, high, step) + 1)]
        raise TypeError(f"{self.name} has no finite list of values")

    @property
    def n_choices(self) -> int:
        """How many values there are, of a dimension that is neither continuous nor fixed."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return len(choices)
            case IntDistribution(low=low, high=high, step=step) | FloatDistribution(low=low, high=high, step=step):
                return _steps(low, high, step or 1) + 1
        raise TypeError(f"{self.name} has no finite list of values")

    def from_unit(self, u: float) -> Any:
        """The encoded value at the share `u` of the way through the dimension, 0 <= u <= 1, on its own scale."""
        match self.distribution:
            case IntDistribution(low=low, high=high, log=True):
                value = round(math.exp(_between(math.log(low - 0.5), math.log(high + 0.5), u)))
                return min(max(value, low), high)
            case FloatDistribution(low=low, high=high, log=True):
                return min(max(math.exp(_between(math.log(low), math.log(high), u)), low), high)
            case FloatDistribution(low=low, high=high, step=None):
                return _between(low, high, u)
        choices = self.choices()
        return choices[min(int(u * len(choices)), len(choices) - 1)]

    def to_unit(self, encoded: Any) -> float:
        """The inverse of `from_unit`; the middle of the share that an element of a finite list takes."""
        match self.distribution:
            case IntDistribution(low=low, high=high, log=True):
                return _share(math.log(low - 0.5), math.log(high + 0.5), math.log(encoded))
            case FloatDistribution(low=low, high=high, log=True):
                return _share(math.log(low), math.log(high), math.log(encoded))
            case FloatDistribution(low=low, high=high, step=None):
                return _share(low, high, encoded)
            case IntDistribution(low=low, high=high, step=step) | FloatDistribution(low=low, high=high, step=step):
                return (_steps(low, encoded, step or 1) + 0.5) / (_steps(low, high, step or 1) + 1)
        choices = self.choices()
        return (choices.index(encoded) + 0.5) / len(choices)


class SearchSpace:
    """The hyperparameters in the order of their declaration: a condition looks at what was declared before.

    Attributes:
        dimensions: all of them.
        tunable: those with more than one value.
    """

    def __init__(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        entries = hyperparameters.space
        self.dimensions = tuple(
            Dimension(
                parameter,
                entry,
                distribution_of(entry) if is_tunable(entry) else None,
                entry.name,
                tuple(entry.conditions),
            )
            for parameter, entry in zip(parameter_names(entries), entries, strict=True)
        )
        self.tunable = tuple(dimension for dimension in self.dimensions if dimension.distribution is not None)

    def fill(self, choose: Callable[[Dimension], Any]) -> Values:
        """The active hyperparameters.

        Args:
            choose: the encoded value of an active dimension that has a choice.
        """
        values: Values = {}
        for dimension in self.dimensions:
            if dimension.name in values or not dimension.is_active(values):
                continue
            fixed = dimension.distribution is None
            values[dimension.name] = dimension.hyperparameter.default if fixed else dimension.decode(choose(dimension))
        return values

    def encode(self, values: Mapping[str, HyperparameterValue]) -> dict[str, Any]:
        """By parameter, the encoded values of the active dimensions; those outside the space are left out."""
        encoded = {
            dimension.parameter: dimension.encode(values[dimension.name])
            for dimension in self.tunable
            if dimension.name in values and dimension.is_active(values)
        }
        return {parameter: value for parameter, value in encoded.items() if value is not None}

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
        if dimension.distribution is None:
            options = [dimension.hyperparameter.default]
        else:
            options = [dimension.decode(choice) for choice in dimension.choices()]
        for option in options:
            yield from self._extend({**values, dimension.name: option}, later)


def fingerprint(values: Mapping[str, HyperparameterValue]) -> frozenset[tuple[str, HyperparameterValue]]:
    """Equal for equal configurations, whatever the order of their hyperparameters."""
    return frozenset(values.items())


def _contains(distribution: BaseDistribution | None, encoded: Any) -> bool:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return encoded in choices
        case IntDistribution(low=low, high=high, step=step) | FloatDistribution(low=low, high=high, step=step):
            if isinstance(encoded, bool | str) or not low <= encoded <= high:
                return False
            return step is None or math.isclose((encoded - low) / step, round((encoded - low) / step), abs_tol=1e-8)
    return False


def _steps(low: float, high: float, step: float) -> int:
    return round((high - low) / step)


def _between(low: float, high: float, u: float) -> float:
    return low + u * (high - low)


def _share(low: float, high: float, value: float) -> float:
    return (value - low) / (high - low)
