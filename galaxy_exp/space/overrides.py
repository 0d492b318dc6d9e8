"""What a sweep file and its enqueued configurations change in the space that a hypermodel declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from galaxy_exp.config.sweep import PriorConfig, PriorSpace, RangeSpace, SpaceEntry, ValuesSpace
from galaxy_exp.errors import ConfigError
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.domains import Prior, Steps, grid_value, quantile_of
from galaxy_exp.space.search_space import Hyperparameter, Kind, SearchSpace, Values, plain_text
from galaxy_exp.wording import did_you_mean

__all__ = ["build_space", "complete_configuration", "listed_texts"]

Limits = tuple[float, float] | None

_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class _OverrideError(Exception):
    """What is wrong with one entry, without its key path."""


def build_space(
    hypermodel: Any, overrides: Mapping[str, SpaceEntry], declared: SearchSpace, where: str = "space"
) -> SearchSpace:
    """The hypermodel's space with the sweep file's overrides applied; conditions and order stay.

    Args:
        hypermodel: a `keras_tuner.HyperModel`, which may have `limits`: by name, the smallest and largest number that
            it can use; and `hints`: by name of a hyperparameter that it declares on request alone, how to request it.
        overrides: by name. A plain value fixes; a list of values gives a choice, ordered for numbers (a single value
            fixes, and [true, false] stays a boolean); a range gives numbers on the declared scale and with the declared
            step unless it states its own. A prior may stand beside values or ends, or alone. The default stays where
            it is possible, else the nearest value.
        declared: the hypermodel's own space, as `discover_space` found it.
        where: the key path that messages start with.

    Raises:
        ConfigError: with one line for every mistake in the overrides.
    """
    problems = _unknown_names(where, overrides, declared, hypermodel)
    limits: Mapping[str, Limits] = getattr(hypermodel, "limits", {})
    hyperparameters = []
    for each in declared.hyperparameters:
        try:
            is_changed = each.name in overrides
            hyperparameters.append(_changed(each, overrides[each.name], limits.get(each.name)) if is_changed else each)
        except _OverrideError as error:
            problems.append(f"{where}.{each.name}: {error}")
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return SearchSpace(hyperparameters)


def complete_configuration(
    hypermodel: Any,
    space: SearchSpace,
    partial: Mapping[str, HyperparameterValue],
    where: str,
    declared: SearchSpace,
) -> Values:
    """Every active hyperparameter of a configuration of which some values are stated.

    Args:
        hypermodel: see `build_space`.
        space: of the sweep; its defaults fill the gaps. The stated values may be outside it, like those of the
            baseline, but have to be possible for the hypermodel.
        where: the key path that messages start with.
        declared: the hypermodel's own space, as `discover_space` found it.

    Raises:
        ConfigError: with one line for every value that the hypermodel does not know or cannot take, or that has no
            effect because its condition is not met.
    """
    problems = _unknown_names(where, partial, space, hypermodel)
    limits: Mapping[str, Limits] = getattr(hypermodel, "limits", {})
    values: Values = {}
    # a stored space may lack what later releases declare, and have what an edited hypermodel no longer does
    known = {each.key: each for each in declared.hyperparameters}
    for each in space.hyperparameters:
        if not each.is_active(values):
            continue
        values[each.name] = each.default
        if each.name in partial:
            try:
                possible = known.get(each.key, each)
                values[each.name] = _converted(possible, partial[each.name], limits.get(each.name))
            except _OverrideError as error:
                problems.append(f"{where}.{each.name}: {error}")
    problems += [
        f"{where}.{name}: has no effect here, as the condition that it depends on is not met"
        for name in partial
        if name in space.names and name not in values
    ]
    if problems:
        raise ConfigError(problems)
    return values


def listed_texts(entry: SpaceEntry) -> list[str]:
    """The texts that a sweep file lists for a hyperparameter; empty if it has other values."""
    values = entry.values if isinstance(entry, ValuesSpace) else () if isinstance(entry, RangeSpace) else (entry,)
    return [value for value in values if isinstance(value, str)]


def _unknown_names(where: str, found: Mapping[str, Any], space: SearchSpace, hypermodel: Any) -> list[str]:
    known, hints = space.names, getattr(hypermodel, "hints", {})
    return [
        f"{where}.{name}: unknown hyperparameter; {hints.get(name) or did_you_mean(name, known)}"
        for name in found
        if name not in known
    ]


def _changed(declared: Hyperparameter, override: SpaceEntry, limits: Limits) -> Hyperparameter:
    changed = _with_domain(declared, override, limits)
    stated = getattr(override, "prior", None)
    prior = None if stated is None else _prior(changed, stated)
    return changed if prior is None or prior.confidence == 0 else replace(changed, prior=prior)


def _prior(changed: Hyperparameter, stated: PriorConfig) -> Prior:
    """The prior on a hyperparameter whose other overrides are applied."""
    if not changed.is_tunable:
        raise _OverrideError("a prior was found, but there is only one value; leave prior out")
    try:
        centre = _converted(changed, stated.centre, None if changed.listed else (changed.low, changed.high))
    except _OverrideError as error:
        raise _OverrideError(f"prior.centre: {error}") from None
    if changed.listed and centre not in changed.listed:
        raise _OverrideError(
            f"prior.centre: {plain_text(centre)} was found; expected one of {changed.describe_values(plain_text)}"
        )
    return Prior(_nearest_value(changed, centre), stated.confidence)


def _nearest_value(changed: Hyperparameter, number: Any) -> Any:
    """The value of the domain that equals a number within its ends, else the nearest on the hyperparameter's scale."""
    domain = changed.domain
    found = domain.find(number)
    if found is not None:
        return found
    if isinstance(domain, Steps):
        return domain.nearest(number)

    def place(value: Any) -> float:
        return quantile_of(value, changed.low, changed.high, changed.scale)

    return min(domain.values(), key=lambda value: abs(place(value) - place(number)))


def _with_domain(declared: Hyperparameter, override: SpaceEntry, limits: Limits) -> Hyperparameter:
    if isinstance(override, PriorSpace):
        return declared
    if isinstance(override, RangeSpace):
        return _as_range(declared, override, limits)
    if isinstance(override, ValuesSpace):
        return _as_choice(declared, tuple(_converted(declared, value, limits) for value in override.values))
    return Hyperparameter.fixed(declared.name, _converted(declared, override, limits), declared.conditions)


def _as_choice(declared: Hyperparameter, values: tuple[Any, ...]) -> Hyperparameter:
    if len(values) == 1:
        return Hyperparameter.fixed(declared.name, values[0], declared.conditions)
    if declared.value_type is bool:
        return replace(declared, kind=Kind.BOOLEAN, listed=(False, True))
    is_text = declared.value_type is str
    if is_text:
        default = declared.default if declared.default in values else values[0]
    else:
        default = min(values, key=lambda value: abs(value - declared.default))
    return Hyperparameter(Kind.CHOICE, declared.name, default, declared.conditions, values, ordered=not is_text)


def _as_range(declared: Hyperparameter, override: RangeSpace, limits: Limits) -> Hyperparameter:
    number = declared.value_type
    if number not in (int, float):
        raise _OverrideError(
            f"a range from {override.min:g} to {override.max:g} was found, but its values are {_TYPE_NAMES[number]}; "
            f"expected a value or {{values: [...]}}{_options(declared)}"
        )
    low, high = _converted(declared, override.min, limits), _converted(declared, override.max, limits)
    scale = override.scale or declared.scale or "linear"
    _check_log(override, scale)
    step = _step(declared, override, scale)
    default = number(_nearest(declared.default, low, high, step if scale == "linear" else None))
    kind = Kind.INT if number is int else Kind.FLOAT
    return Hyperparameter.range(kind, declared.name, low, high, step, scale, default, declared.conditions)


def _check_log(override: RangeSpace, scale: str) -> None:
    if scale == "linear":
        return
    if override.min <= 0:
        raise _OverrideError(f"min is {override.min:g}, but the scale is {scale}; expected above 0, or scale: linear")
    if override.step is not None:
        raise _OverrideError(f"a step was found, but the scale is {scale}; leave step out, or add scale: linear")


def _step(declared: Hyperparameter, override: RangeSpace, scale: str) -> Any:
    if override.step is not None:
        return _converted(declared, override.step, None)
    if declared.step is None or scale != declared.scale:
        return None
    largest = override.max - override.min if scale == "linear" else override.max / override.min
    return declared.step if declared.step <= largest else None


def _nearest(default: Any, low: Any, high: Any, step: Any) -> Any:
    """The point of low, low + step, ... up to high that is nearest to the default."""
    bounded = min(max(default, low), high)
    if step is None:
        return bounded
    steps = min(round((bounded - low) / step), math.floor((high - low) / step + 1e-9))
    return grid_value(low, step, steps)


def _converted(declared: Hyperparameter, value: Any, limits: Limits) -> Any:
    """The value in the hyperparameter's own type, checked."""
    expected = declared.value_type
    if not _fits(expected, value):
        raise _OverrideError(f"{value!r} was found; expected {_TYPE_NAMES[expected]}{_options(declared)}")
    if expected is str and declared.kind is Kind.CHOICE and value not in declared.listed:
        raise _OverrideError(f"{value!r} is not possible; {did_you_mean(str(value), list(map(str, declared.listed)))}")
    if expected in (int, float) and limits is not None and not limits[0] <= value <= limits[1]:
        raise _OverrideError(f"{value:g} was found; expected {limits[0]:g} to {limits[1]:g}")
    return expected(value)


def _fits(expected: type, value: Any) -> bool:
    if isinstance(value, bool) or expected in (bool, str):
        return isinstance(value, expected) and (expected is bool) == isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, int | float)


def _options(declared: Hyperparameter) -> str:
    if declared.value_type is str and declared.kind is Kind.CHOICE:
        return f" out of: {', '.join(map(str, declared.listed))}"
    return ""
