"""The scales of KerasTuner's ranges: which value is at a quantile, and at which quantile a value is.

A scale is `linear`, `log`, or `reverse_log`, which is `log` measured from the upper end: values near it are the dense
ones. All three are the ones that KerasTuner samples with.
"""

from __future__ import annotations

import math
from decimal import Decimal

__all__ = ["grid_value", "quantile_of", "value_at"]


def value_at(quantile: float, low: float, high: float, scale: str) -> float:
    """The value of the range below which a share `quantile`, 0 to 1, of KerasTuner's samples are."""
    if scale == "linear":
        span = high - low
        value = quantile * span + low if math.isfinite(span) else quantile * high + (1 - quantile) * low
    elif scale == "log":
        value = _geometric(quantile, low, high)
    else:
        value = high + low - _geometric(1 - quantile, low, high)
    return min(max(value, low), high)


def quantile_of(value: float, low: float, high: float, scale: str) -> float:
    """The inverse of `value_at`, 0 to 1; the middle of a range of one value."""
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
