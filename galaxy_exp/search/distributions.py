"""What a KerasTuner hyperparameter can be: its values, their quantiles, and Optuna's distribution for them.

Quantiles, types and grids are those of KerasTuner's own `prob_to_value`, with two differences. A float range with a
step holds its upper end where rounding makes KerasTuner miss it (0 to 1 in steps of 0.2), as KerasTuner documents; and
its values are as written in decimals.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from decimal import Decimal
from functools import cached_property
from typing import Any

import keras_tuner
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.scales import grid_value, quantile_of, value_at

__all__ = ["Domain", "domain_of", "parameter_names"]

_PARAMETERS = keras_tuner.engine.hyperparameters

_LONGEST_GRID = 10**6
"""Values of a float range with a step beyond which Optuna cannot tell them apart."""


class Domain(ABC):
    """The values of one hyperparameter. A sampler knows a value by its code: the number or text, or a place in a list.

    Attributes:
        n_choices: places at which a value can be, 1 for a fixed one; a repeated value counts each time. None for a
            continuous range.
        distribution: of the codes, in Optuna's terms; with `by_quantile`, of the quantiles.
        by_quantile: whether Optuna knows no such distribution.
        is_even: whether all places have the same probability and another value.
    """

    n_choices: int | None
    distribution: BaseDistribution
    by_quantile = False
    is_even = True

    @property
    def n_values(self) -> int | None:
        """Number of different values; None for a continuous range."""
        return self.n_choices

    @abstractmethod
    def from_unit(self, quantile: float) -> Any:
        """The code at a quantile, 0 to 1."""

    @abstractmethod
    def to_unit(self, code: Any) -> float:
        """The quantile of a code; the middle of those that give it."""

    @abstractmethod
    def encode(self, value: HyperparameterValue) -> Any:
        """The code of a value; None for a value outside the domain."""

    @abstractmethod
    def choices(self) -> Iterable[Any]:
        """The codes of all different values in order, one at a time; not of a continuous range."""

    def decode(self, code: Any) -> HyperparameterValue:
        """The value of a code, in the type that KerasTuner gives."""
        value: HyperparameterValue = code
        return value


class _Listed(Domain):
    """A list of values, which the code numbers if they have an order."""

    def __init__(self, values: Iterable[HyperparameterValue], *, ordered: bool) -> None:
        self._values = tuple(values)
        self._ordered = ordered
        self.n_choices = len(self._values)
        self._n_values = len(set(self._values))
        self.is_even = self._n_values == self.n_choices

    @property
    def n_values(self) -> int:
        return self._n_values

    @cached_property
    def distribution(self) -> BaseDistribution:  # type: ignore[override]
        return IntDistribution(0, len(self._values) - 1) if self._ordered else CategoricalDistribution(self._values)

    def from_unit(self, quantile: float) -> Any:
        return self._code(_index(quantile, len(self._values)))

    def to_unit(self, code: Any) -> float:
        return (self._values.index(self.decode(code)) + 0.5) / len(self._values)

    def encode(self, value: HyperparameterValue) -> Any:
        if value not in self._values:
            return None
        index = self._values.index(value)
        return self._code(index) if isinstance(value, bool) == isinstance(self._values[index], bool) else None

    def decode(self, code: Any) -> HyperparameterValue:
        value: HyperparameterValue = self._values[code] if self._ordered else code
        return value

    def choices(self) -> Iterable[Any]:
        return (self.encode(value) for value in dict.fromkeys(self._values))

    def _code(self, index: int) -> Any:
        return index if self._ordered else self._values[index]


class _Steps(Domain):
    """Evenly spaced numbers."""

    def __init__(self, low: Any, step: Any, n_choices: int) -> None:
        self._low, self._step = low, step
        self._high: Any = grid_value(low, step, n_choices - 1)
        self.n_choices = self._n = n_choices
        ends = (Decimal(repr(each)) for each in (self._high, low))
        is_exact = isinstance(low, int) or (next(ends) - next(ends)) % Decimal(repr(step)) == 0
        self.by_quantile = not is_exact or (n_choices > _LONGEST_GRID and not isinstance(low, int))

    @cached_property
    def distribution(self) -> BaseDistribution:  # type: ignore[override]
        if self.by_quantile:
            return FloatDistribution(0.0, 1.0)
        kind = IntDistribution if isinstance(self._low, int) else FloatDistribution
        return kind(self._low, self._high, step=self._step)

    def from_unit(self, quantile: float) -> Any:
        return grid_value(self._low, self._step, _index(quantile, self._n))

    def to_unit(self, code: Any) -> float:
        return (self._index_of(code) + 0.5) / self._n

    def encode(self, value: HyperparameterValue) -> Any:
        if isinstance(value, str | bool) or not math.isfinite(value):
            return None
        found = grid_value(self._low, self._step, self._index_of(value))
        rounding = 0 if isinstance(self._low, int) else max(1e-8 * self._step, _rounding(self._low, self._high))
        return found if abs(value - found) <= rounding else None

    def decode(self, code: Any) -> HyperparameterValue:
        return grid_value(self._low, self._step, self._index_of(code))

    def choices(self) -> Iterable[Any]:
        return (grid_value(self._low, self._step, index) for index in range(self._n))

    def _index_of(self, code: Any) -> int:
        if isinstance(code, int) and isinstance(self._low, int):
            index = (code - self._low) // self._step
        else:
            index = round((code - self._low) / self._step)
        return int(min(max(index, 0), self._n - 1))


class _Range(Domain):
    """All numbers, or all whole numbers, between two, on one of KerasTuner's scales."""

    is_even = False

    def __init__(self, low: Any, high: Any, scale: str) -> None:
        self._low, self._high, self._scale = low, high, scale
        self._is_whole = isinstance(low, int)
        self._end = high + self._is_whole
        """A whole number is at all quantiles from itself up to the next."""
        self.n_choices = int(high - low) + 1 if self._is_whole else None
        self.by_quantile = scale == "reverse_log"

    @cached_property
    def distribution(self) -> BaseDistribution:  # type: ignore[override]
        if self.by_quantile:
            return FloatDistribution(0.0, 1.0)
        kind = IntDistribution if self._is_whole else FloatDistribution
        return kind(self._low, self._high, log=self._scale == "log")

    def from_unit(self, quantile: float) -> Any:
        value = value_at(quantile, self._low, self._end, self._scale)
        return min(int(value), self._high) if self._is_whole else value

    def to_unit(self, code: Any) -> float:
        return quantile_of(code + 0.5 * self._is_whole, self._low, self._end, self._scale)

    def encode(self, value: HyperparameterValue) -> Any:
        if isinstance(value, str | bool) or not math.isfinite(value):
            return None
        found = min(max(int(value) if self._is_whole else float(value), self._low), self._high)
        return found if abs(value - found) <= (0 if self._is_whole else _rounding(self._low, self._high)) else None

    def choices(self) -> Iterable[Any]:
        return range(int(self._low), int(self._end))


def domain_of(hyperparameter: Any) -> Domain:
    """The values of a KerasTuner hyperparameter.

    Ordered choices (numbers) and numbers on a logarithmic grid are known to the sampler by their place, so that it
    knows which are neighbours; unordered choices stay categories.
    """
    if isinstance(hyperparameter, _PARAMETERS.Fixed):
        return _Listed([hyperparameter.value], ordered=False)
    if isinstance(hyperparameter, _PARAMETERS.Boolean):
        return _Listed([False, True], ordered=False)
    if isinstance(hyperparameter, _PARAMETERS.Choice):
        return _Listed(hyperparameter.values, ordered=bool(hyperparameter.ordered))
    low, high, step = hyperparameter.min_value, hyperparameter.max_value, hyperparameter.step
    if hyperparameter.sampling == "linear" and step is not None:
        step = type(low)(step)
        return _Steps(low, step, _n_steps(low, high, step) + 1)
    if low == high:
        return _Listed([low], ordered=True)
    if step is None:
        return _Range(low, high, hyperparameter.sampling)
    n_values = int(math.log(high / low, step) + 1e-8) + 1
    values = (hyperparameter.prob_to_value((index + 0.5) / n_values) for index in range(n_values))
    return _Listed(values, ordered=True)


def parameter_names(space: list[Any]) -> list[str]:
    """One name an entry for the sampler; a name used under several conditions is numbered from the second on."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for hyperparameter in space:
        seen[hyperparameter.name] = seen.get(hyperparameter.name, 0) + 1
        count = seen[hyperparameter.name]
        names.append(hyperparameter.name if count == 1 else f"{hyperparameter.name}#{count}")
    return names


def _rounding(low: float, high: float) -> float:
    """What the arithmetic of KerasTuner's floats may leave between equal numbers of a range."""
    return 4 * math.ulp(max(abs(low), abs(high)))


def _index(quantile: float, n_choices: int) -> int:
    """KerasTuner's place of a quantile among so many."""
    return min(math.floor(quantile / (1 / n_choices)), n_choices - 1)


def _n_steps(low: Any, high: Any, step: Any) -> int:
    """Number of whole steps within the range, of floats as written in decimals."""
    if isinstance(low, int):
        return int((high - low) // step)
    return int((Decimal(repr(high)) - Decimal(repr(low))) // Decimal(repr(step)))
