"""One entry of a sweep file's `space` applied to one hyperparameter."""

from __future__ import annotations

import math
from typing import Any

from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, Float, Int

from galaxy_exp.config.sweep import RangeSpace, SpaceEntry, ValuesSpace
from galaxy_exp.scales import grid_value
from galaxy_exp.wording import did_you_mean

__all__ = ["OverrideError", "override_hyperparameter"]

Limits = tuple[float, float] | None

_KIND_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class OverrideError(Exception):
    """What is wrong with one entry: found and expected, without the key path, which the caller puts in front."""


def override_hyperparameter(entry: Any, override: SpaceEntry, limits: Limits = None) -> Any:
    """A new hyperparameter of the same name, kind of value and conditions, with another domain.

    Args:
        entry: a KerasTuner hyperparameter.
        override: a plain value gives a `Fixed`; a list of values a `Choice` (ordered for numbers; a single value
            fixes, and [true, false] stays a `Boolean`); a range an `Int` or `Float`, on the scale and with the step
            of the entry unless it states its own. The default stays where it is possible, else the nearest value.
        limits: smallest and largest number that the hypermodel can do something with.

    Raises:
        OverrideError: the values are of the wrong kind, or cannot be values of this hyperparameter.
    """
    if isinstance(override, RangeSpace):
        return _as_range(entry, override, limits)
    if isinstance(override, ValuesSpace):
        return _as_choice(entry, [_converted(entry, value, limits) for value in override.values])
    return _as_fixed(entry, _converted(entry, override, limits))


def value_kind(entry: Any) -> type:
    """The type of the hyperparameter's values: bool, int, float or str."""
    if isinstance(entry, Boolean):
        return bool
    return float if isinstance(entry, Float) else type(entry.default)


def _as_fixed(entry: Any, value: Any) -> Any:
    return Fixed(entry.name, value, conditions=entry.conditions)


def _as_choice(entry: Any, values: list[Any]) -> Any:
    if len(values) == 1:
        return _as_fixed(entry, values[0])
    if value_kind(entry) is bool:
        return entry
    if value_kind(entry) is str:
        default = entry.default if entry.default in values else values[0]
        return Choice(entry.name, values, ordered=False, default=default, conditions=entry.conditions)
    default = min(values, key=lambda value: abs(value - entry.default))
    return Choice(entry.name, values, ordered=True, default=default, conditions=entry.conditions)


def _as_range(entry: Any, override: RangeSpace, limits: Limits) -> Any:
    kind = value_kind(entry)
    if kind not in (int, float):
        raise OverrideError(
            f"a range from {override.min:g} to {override.max:g} was found, but its values are {_KIND_NAMES[kind]}; "
            f"expected a value or {{values: [...]}}{_options(entry)}"
        )
    low, high = _converted(entry, override.min, limits), _converted(entry, override.max, limits)
    scale = override.scale or getattr(entry, "sampling", None) or "linear"
    _check_log(override, scale)
    step = _step(entry, override, scale)
    default = _nearest(entry.default, low, high, step if scale == "linear" else None)
    make = Int if kind is int else Float
    return make(entry.name, low, high, step=step, sampling=scale, default=kind(default), conditions=entry.conditions)


def _check_log(override: RangeSpace, scale: str) -> None:
    if scale == "linear":
        return
    if override.min <= 0:
        raise OverrideError(f"min is {override.min:g}, but the scale is {scale}; expected above 0, or scale: linear")
    if override.step is not None:
        raise OverrideError(f"a step was found, but the scale is {scale}; leave step out, or add scale: linear")


def _step(entry: Any, override: RangeSpace, scale: str) -> Any:
    if override.step is not None:
        return _converted(entry, override.step, None)
    declared = getattr(entry, "step", None)
    if declared is None or scale != entry.sampling:
        return None
    most = override.max - override.min if scale == "linear" else override.max / override.min
    return declared if declared <= most else None


def _nearest(default: Any, low: Any, high: Any, step: Any) -> Any:
    """The point of low, low + step, ... up to high that is nearest to the default."""
    bounded = min(max(default, low), high)
    if step is None:
        return bounded
    steps = min(round((bounded - low) / step), math.floor((high - low) / step + 1e-9))
    return grid_value(low, step, steps)


def _converted(entry: Any, value: Any, limits: Limits) -> Any:
    """The value in the hyperparameter's own type, checked."""
    kind = value_kind(entry)
    if not _fits(kind, value):
        raise OverrideError(f"{value!r} was found; expected {_KIND_NAMES[kind]}{_options(entry)}")
    if kind is str and isinstance(entry, Choice) and value not in entry.values:
        raise OverrideError(f"{value!r} is not possible; {did_you_mean(str(value), list(map(str, entry.values)))}")
    if kind in (int, float) and limits is not None and not limits[0] <= value <= limits[1]:
        raise OverrideError(f"{value:g} was found; expected {limits[0]:g} to {limits[1]:g}")
    return kind(value)


def _fits(kind: type, value: Any) -> bool:
    if isinstance(value, bool) or kind in (bool, str):
        return isinstance(value, kind) and (kind is bool) == isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, int | float)


def _options(entry: Any) -> str:
    if value_kind(entry) is str and isinstance(entry, Choice):
        return f" out of: {', '.join(map(str, entry.values))}"
    return ""
