"""The space a sweep searches: what the hypermodel declares, narrowed, widened or fixed by the sweep file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from galaxy_exp.config.sweep import SpaceEntry
from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel.overrides import OverrideError, override_hyperparameter
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.wording import did_you_mean

__all__ = ["baseline_values", "build_space", "discover_space", "is_fixed", "space_from_config"]

MAX_EXPLORING_BUILDS = 100
"""After so many builds, scopes that never became active are taken as unreachable."""

_Scope = list[Any]


def build_space(
    hypermodel: keras_tuner.HyperModel, overrides: Mapping[str, SpaceEntry], where: str = "space"
) -> keras_tuner.HyperParameters:
    """The hypermodel's space with the sweep file's overrides applied; conditions and order stay.

    Args:
        overrides: by name, a plain value (fixed), `ValuesSpace` or `RangeSpace`.
        where: the key path that messages start with.

    Returns:
        A space whose `values` are its own defaults (active ones only).

    Raises:
        ConfigError: with one line for every mistake in the overrides.
    """
    space = discover_space(hypermodel)
    known = list(dict.fromkeys(entry.name for entry in space.space))
    limits: Mapping[str, tuple[float, float]] = getattr(hypermodel, "limits", {})
    problems = [_unknown_name(where, name, known) for name in overrides if name not in known]
    entries = []
    for entry in space.space:
        try:
            entries.append(_overridden(entry, overrides, limits))
        except OverrideError as error:
            problems.append(f"{where}.{entry.name}: {error}")
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return _with_defaults(entries)


def discover_space(hypermodel: keras_tuner.HyperModel) -> keras_tuner.HyperParameters:
    """All hyperparameters of a hypermodel, the conditional ones included, with their defaults as `values`.

    A hypermodel that sets `declares_everything` is only asked to declare. Any other is built, and built again with
    values that activate each conditional scope not entered so far, until all were or no build finds anything new.
    """
    space = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(space)
    if not getattr(hypermodel, "declares_everything", False):
        _explore(hypermodel, space)
    return _with_defaults(space.space)


def baseline_values(space: keras_tuner.HyperParameters) -> dict[str, HyperparameterValue]:
    """The default of every hyperparameter that is active under the defaults.

    For the baseline of a sweep, call it with `discover_space(hypermodel)`: what a sweep file fixes or narrows
    does not change what it is compared with.
    """
    return dict(_with_defaults(space.space).values)


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
    space = _with_defaults(entries)
    space.values = dict(config["values"] if values is None else values)
    return space


def _entry_from_config(class_name: str, config: Mapping[str, Any]) -> Any:
    kind = getattr(keras_tuner.engine.hyperparameters, class_name)
    return kind.from_config(dict(config))


def _with_defaults(entries: list[Any]) -> keras_tuner.HyperParameters:
    space = keras_tuner.HyperParameters()
    space.merge(entries)
    return space


def _unknown_name(where: str, name: str, known: list[str]) -> str:
    return f"{where}.{name}: unknown hyperparameter; {did_you_mean(name, known)}"


def _overridden(entry: Any, overrides: Mapping[str, SpaceEntry], limits: Mapping[str, tuple[float, float]]) -> Any:
    if entry.name not in overrides:
        return entry
    return override_hyperparameter(entry, overrides[entry.name], limits.get(entry.name))


def _explore(hypermodel: keras_tuner.HyperModel, space: keras_tuner.HyperParameters) -> None:
    entered: list[_Scope] = []
    tried: list[_Scope] = []
    attempt = _with_defaults(space.space)
    for _ in range(MAX_EXPLORING_BUILDS):
        hypermodel.build(attempt)
        space.merge(attempt, overwrite=False)
        entered += [scope for scope in attempt.active_scopes if scope not in entered]
        waiting = [scope for scope in attempt.inactive_scopes if scope not in entered + tried]
        pending = [*waiting, *(scope for scope in _pending(space) if scope not in entered + tried)]
        if not pending:
            return
        tried.append(pending[0])
        attempt = _activating(space, pending[0])


def _pending(space: keras_tuner.HyperParameters) -> list[_Scope]:
    """The conditions of everything found so far: a scope met in an earlier build may not be met in the latest."""
    return [entry.conditions for entry in space.space if entry.conditions]


def _activating(space: keras_tuner.HyperParameters, scope: _Scope) -> keras_tuner.HyperParameters:
    """A space to build with, whose values make all conditions of the scope true and are defaults elsewhere."""
    attempt = keras_tuner.HyperParameters()
    attempt.values = {condition.name: condition.values[0] for condition in scope}
    attempt.merge(space.space, overwrite=False)
    return attempt
