"""The space a sweep searches: what the hypermodel declares, narrowed, widened or fixed by the sweep file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from galaxy_exp.config.sweep import SpaceEntry
from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel.discovery import space_of
from galaxy_exp.hypermodel.overrides import OverrideError, override_hyperparameter
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.wording import did_you_mean

__all__ = ["baseline_values", "build_space", "is_fixed", "space_from_config"]


def build_space(
    hypermodel: keras_tuner.HyperModel,
    overrides: Mapping[str, SpaceEntry],
    declared: keras_tuner.HyperParameters,
    where: str = "space",
) -> keras_tuner.HyperParameters:
    """The hypermodel's space with the sweep file's overrides applied; conditions and order stay.

    Args:
        overrides: by name, a plain value (fixed), `ValuesSpace` or `RangeSpace`.
        declared: the hypermodel's own space, as `discover_space` found it.
        where: the key path that messages start with.

    Returns:
        A space whose `values` are its own defaults (active ones only).

    Raises:
        ConfigError: with one line for every mistake in the overrides.
    """
    known = list(dict.fromkeys(entry.name for entry in declared.space))
    limits: Mapping[str, tuple[float, float]] = getattr(hypermodel, "limits", {})
    problems = [_unknown_name(where, name, known) for name in overrides if name not in known]
    entries = []
    for entry in declared.space:
        try:
            entries.append(_overridden(entry, overrides, limits))
        except OverrideError as error:
            problems.append(f"{where}.{entry.name}: {error}")
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return space_of(entries)


def baseline_values(space: keras_tuner.HyperParameters) -> dict[str, HyperparameterValue]:
    """The default of every hyperparameter that is active under the defaults.

    For the baseline of a sweep, call it with `discover_space(hypermodel)`: what a sweep file fixes or narrows
    does not change what it is compared with.
    """
    return dict(space_of(space.space).values)


def is_fixed(hyperparameter: keras_tuner.engine.hyperparameters.HyperParameter) -> bool:
    """Whether the hyperparameter has a single value, so that there is nothing to search."""
    return isinstance(hyperparameter, keras_tuner.engine.hyperparameters.Fixed)


def space_from_config(
    config: Mapping[str, Any], values: Mapping[str, HyperparameterValue] | None = None
) -> keras_tuner.HyperParameters:
    """The inverse of `HyperParameters.get_config()`, also after a trip through JSON, with other `values` set.

    KerasTuner's own `from_config` replaces parts of the dictionary it is given; this one leaves it alone.
    """
    entries = [_entry_from_config(item["class_name"], item["config"]) for item in config["space"]]
    space = space_of(entries)
    space.values = dict(config["values"] if values is None else values)
    return space


def _entry_from_config(class_name: str, config: Mapping[str, Any]) -> Any:
    kind = getattr(keras_tuner.engine.hyperparameters, class_name)
    return kind.from_config(dict(config))


def _unknown_name(where: str, name: str, known: list[str]) -> str:
    return f"{where}.{name}: unknown hyperparameter; {did_you_mean(name, known)}"


def _overridden(entry: Any, overrides: Mapping[str, SpaceEntry], limits: Mapping[str, tuple[float, float]]) -> Any:
    if entry.name not in overrides:
        return entry
    return override_hyperparameter(entry, overrides[entry.name], limits.get(entry.name))
