"""The values that a hyperparameter can take, how they map to the unit interval, and where an expert expects the best.

Quantiles, types and grids are those of KerasTuner's `prob_to_value`, with two differences: a float range with a step
includes its upper end where rounding makes KerasTuner miss it (0 to 1 in steps of 0.2), as KerasTuner documents; and
its values are as written in decimals, 0.35 and not 0.35000000000000003.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.records import HyperparameterValue

__all__ = ["WIDTH", "Domain", "Prior", "Range", "Steps", "ValueList", "grid_value", "quantile_of", "value_at"]


class Domain(ABC):
    """The values of one hyperparameter.

    Attributes:
        n_choices: number of values, 1 for a fixed one; a repeated value counts each time. None for a continuous range.
        is_ordered: whether neighbouring values are alike, as numbers are and words are not.
        is_even: whether all values have the same probability and none is repeated.
    """

    n_choices: int | None
    is_ordered = True
    is_even = True

    @property
    def n_values(self) -> int | None:
        """Number of different values; None for a continuous range."""
        return self.n_choices

    @abstractmethod
    def from_unit(self, quantile: float) -> HyperparameterValue:
        """The value at a quantile, 0 to 1, of KerasTuner's samples, in the type that KerasTuner gives."""

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """The inverse of `from_unit`; the middle of the quantiles that give this value of the domain."""

    @abstractmethod
    def find(self, value: HyperparameterValue) -> HyperparameterValue | None:
        """The equal value of the domain, in the type that KerasTuner gives; None for a value outside."""

    @abstractmethod
    def values(self) -> Iterable[HyperparameterValue]:
        """All different values in order, one at a time; not for a continuous range."""

    def cell(self, quantile: float) -> tuple[float, float]:
        """The first and the last of the quantiles that give the same value; not for a continuous range."""
        if self.n_choices is None:
            raise TypeError("each quantile of a continuous range gives another value")
        index = _index(quantile, self.n_choices)
        return index / self.n_choices, (index + 1) / self.n_choices


class ValueList(Domain):
    """A list of values, which may be repeated; `ordered` if they are numbers whose neighbours are alike."""

    def __init__(self, values: Iterable[HyperparameterValue], *, ordered: bool) -> None:
        self.listed = tuple(values)
        self.is_ordered = ordered
        self.n_choices: int = len(self.listed)
        self.is_even = self.n_values == self.n_choices

    @property
    def n_values(self) -> int:
        return len(set(self.listed))

    def from_unit(self, quantile: float) -> HyperparameterValue:
        return self.listed[_index(quantile, self.n_choices)]

    def to_unit(self, value: Any) -> float:
        return (self.listed.index(value) + 0.5) / self.n_choices

    def find(self, value: HyperparameterValue) -> HyperparameterValue | None:
        if value not in self.listed:
            return None
        found = self.listed[self.listed.index(value)]
        return found if isinstance(value, bool) == isinstance(found, bool) else None

    def values(self) -> Iterable[HyperparameterValue]:
        return iter(dict.fromkeys(self.listed))


class Steps(Domain):
    """Evenly spaced numbers from `low`; whole ones if `low` is."""

    def __init__(self, low: float, high: float, step: float) -> None:
        self.low, self.step = low, step
        self.n_choices: int = _n_steps(low, high, step) + 1
        self.high = grid_value(low, step, self.n_choices - 1)

    def from_unit(self, quantile: float) -> float:
        return grid_value(self.low, self.step, _index(quantile, self.n_choices))

    def to_unit(self, value: Any) -> float:
        return (self._index_of(value) + 0.5) / self.n_choices

    def find(self, value: HyperparameterValue) -> float | None:
        if isinstance(value, str | bool) or not math.isfinite(value):
            return None
        found = self.nearest(value)
        rounding = 0 if isinstance(self.low, int) else max(1e-8 * self.step, _rounding(self.low, self.high))
        return found if abs(value - found) <= rounding else None

    def values(self) -> Iterable[float]:
        return (grid_value(self.low, self.step, index) for index in range(self.n_choices))

    def nearest(self, number: float) -> float:
        """The value that is nearest to any number."""
        return grid_value(self.low, self.step, self._index_of(number))

    def _index_of(self, number: float) -> int:
        if isinstance(number, int) and isinstance(self.low, int):
            index = int((2 * (number - self.low) + self.step) // (2 * self.step))
        else:
            index = round((number - self.low) / self.step)
        return min(max(index, 0), self.n_choices - 1)


class Range(Domain):
    """All numbers from `low` to `high`, or all whole ones if `low` is whole, on one of KerasTuner's scales."""

    is_even = False

    def __init__(self, low: float, high: float, scale: str) -> None:
        self.low, self.high, self.scale = low, high, scale
        self.is_whole = isinstance(low, int)
        self._end = high + self.is_whole  # a whole number has all quantiles from itself up to the next
        self.n_choices = int(high - low) + 1 if self.is_whole else None

    def from_unit(self, quantile: float) -> float:
        value = value_at(quantile, self.low, self._end, self.scale)
        return min(int(value), self.high) if self.is_whole else value

    def to_unit(self, value: Any) -> float:
        return quantile_of(value + 0.5 * self.is_whole, self.low, self._end, self.scale)

    def find(self, value: HyperparameterValue) -> float | None:
        if isinstance(value, str | bool) or not math.isfinite(value):
            return None
        found = min(max(int(value) if self.is_whole else float(value), self.low), self.high)
        return found if abs(value - found) <= (0 if self.is_whole else _rounding(self.low, self.high)) else None

    def values(self) -> Iterable[int]:
        if not self.is_whole:
            raise TypeError("a range of numbers has no finite list of values")
        return range(int(self.low), int(self._end))

    def cell(self, quantile: float) -> tuple[float, float]:
        if not self.is_whole:
            return super().cell(quantile)
        value = self.from_unit(quantile)
        first, last = (quantile_of(end, self.low, self._end, self.scale) for end in (value, value + 1))
        return first, last


def value_at(quantile: float, low: float, high: float, scale: str) -> float:
    """The number at a quantile, 0 to 1, of KerasTuner's samples of a range on a linear, log or reverse_log scale.

    reverse_log is log measured from the upper end: values near it are the dense ones.
    """
    if scale == "linear":
        span = high - low
        value = quantile * span + low if math.isfinite(span) else quantile * high + (1 - quantile) * low
    elif scale == "log":
        value = _geometric(quantile, low, high)
    else:
        value = high + low - _geometric(1 - quantile, low, high)
    return min(max(value, low), high)


def quantile_of(value: float, low: float, high: float, scale: str) -> float:
    """The inverse of `value_at`; the middle for a range of one value."""
    if low == high:
        return 0.5
    if scale == "linear":
        return (value / 2 - low / 2) / (high / 2 - low / 2)  # the whole span may be more than a float holds
    if scale == "log":
        return _log_share(value, low, high)
    return 1 - _log_share(max(high + low - value, low), low, high)


def grid_value(low: float, step: float, index: int) -> float:
    """The value `index` steps above `low`; of floats as written in decimals, 0.35 and not 0.35000000000000003."""
    if isinstance(low, int) and isinstance(step, int):
        return low + index * step
    return float(Decimal(repr(low)) + index * Decimal(repr(step)))


def _geometric(share: float, low: float, high: float) -> float:
    ratio = high / low
    if math.isfinite(ratio):
        return low * math.pow(ratio, share)
    return math.exp((1 - share) * math.log(low) + share * math.log(high))


def _log_share(value: float, low: float, high: float) -> float:
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))


def _rounding(low: float, high: float) -> float:
    """The difference that KerasTuner's arithmetic may leave between equal numbers of a range."""
    return 4 * math.ulp(max(abs(low), abs(high)))


def _index(quantile: float, n_choices: int) -> int:
    return min(math.floor(quantile / (1 / n_choices)), n_choices - 1)


def _n_steps(low: float, high: float, step: float) -> int:
    if isinstance(low, int):
        return int((high - low) // step)
    return int((Decimal(repr(high)) - Decimal(repr(low))) // Decimal(repr(step)))


Matrix = NDArray[np.float64]

WIDTH = 0.1
"""Standard deviation of numbers around the centre, as a fraction of their range on the hyperparameter's own scale."""

MANY_VALUES = 10_000
"""With more of them, the density of an ordered domain is that of a continuous one."""


@dataclass(frozen=True, slots=True)
class Prior:
    """The values that are expected to be good: a share of `confidence` at the centre, the rest anywhere.

    At the centre means, for numbers, a normal distribution around it that is cut off at the ends of the range, and for
    choices and booleans the centre itself. So every value keeps some probability, and a confidence of 0 is no prior.
    """

    centre: HyperparameterValue
    """A value of the domain."""
    confidence: float
    """0 or more, and below 1."""

    def density(self, domain: Domain, quantiles: Matrix) -> Matrix:
        """The probability density (n,) at quantiles (n,) of the domain, where 1 is that of no prior.

        It is the same at all quantiles that give the same value.
        """
        from scipy.special import ndtr

        if not domain.is_ordered:
            first, last = self._choice(domain)
            at_centre = np.where((quantiles >= first) & (quantiles < last), 1 / (last - first), 0.0)
        elif domain.n_choices is None or domain.n_choices > MANY_VALUES:
            middle, below, above = self._normal(domain)
            height = 1 / (WIDTH * math.sqrt(2 * math.pi) * (above - below))
            at_centre = height * np.exp(-0.5 * ((quantiles - middle) / WIDTH) ** 2)
        else:
            middle, below, above = self._normal(domain)
            distinct, places = np.unique(quantiles, return_inverse=True)
            firsts, lasts = np.array([domain.cell(quantile) for quantile in distinct.tolist()]).T.reshape(2, -1)
            mass = ndtr((lasts - middle) / WIDTH) - ndtr((firsts - middle) / WIDTH)
            at_centre = (mass / ((lasts - firsts) * (above - below)))[places]
        return np.asarray(1 - self.confidence + self.confidence * at_centre)

    def draw(self, domain: Domain, uniform: Matrix) -> Matrix:
        """Quantiles (n,) of the domain that have this distribution, from evenly distributed numbers (n,), 0 to 1."""
        from scipy.special import ndtri

        is_near = uniform < self.confidence
        left = np.where(is_near, uniform, uniform - self.confidence)
        share = left / np.where(is_near, max(self.confidence, 1e-12), 1 - self.confidence)
        if not domain.is_ordered:
            first, last = self._choice(domain)
            near = first + share * (last - first)
        else:
            middle, below, above = self._normal(domain)
            near = np.clip(middle + WIDTH * ndtri(below + share * (above - below)), 0.0, 1.0)
        return np.where(is_near, near, share)

    def _choice(self, domain: Domain) -> tuple[float, float]:
        """The quantiles from which and up to which an unordered domain has the centre."""
        middle, half = domain.to_unit(self.centre), 0.5 / (domain.n_choices or 1)
        return middle - half, middle + half

    def _normal(self, domain: Domain) -> tuple[float, float, float]:
        """The quantile of the centre, and the normal distribution's share below 0 and below 1."""
        from scipy.special import ndtr

        middle = domain.to_unit(self.centre)
        return middle, float(ndtr(-middle / WIDTH)), float(ndtr((1 - middle) / WIDTH))
