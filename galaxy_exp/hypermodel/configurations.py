"""Whole configurations held against a search space: completed from a part, or checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed

from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel.discovery import discover_space
from galaxy_exp.hypermodel.overrides import OverrideError, override_hyperparameter
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.wording import did_you_mean

__all__ = ["complete_configuration", "misfit"]


def complete_configuration(
    hypermodel: keras_tuner.HyperModel,
    space: keras_tuner.HyperParameters,
    partial: Mapping[str, HyperparameterValue],
    where: str,
    declared: keras_tuner.HyperParameters | None = None,
) -> dict[str, HyperparameterValue]:
    """Every active hyperparameter of a configuration of which some values are given.

    Args:
        space: of the sweep; its defaults fill the gaps. The given values may lie outside it, like those of the
            baseline, but have to be possible for the hypermodel.
        where: the key path that messages start with.
        declared: the hypermodel's own space, if it is known already.

    Raises:
        ConfigError: with one line for every value that the hypermodel does not know or cannot take, or that has no
            effect because its condition is not met.
    """
    known = list(dict.fromkeys(entry.name for entry in space.space))
    problems = [
        f"{where}.{name}: unknown hyperparameter; {did_you_mean(name, known)}" for name in partial if name not in known
    ]
    limits: Mapping[str, tuple[float, float]] = getattr(hypermodel, "limits", {})
    own = discover_space(hypermodel) if declared is None else declared
    filled = space.copy()
    filled.values = {}
    for entry, possible in zip(space.space, own.space, strict=True):
        if not filled.is_active(entry):
            continue
        value: Any = entry.default
        if entry.name in partial:
            try:
                value = override_hyperparameter(possible, partial[entry.name], limits.get(entry.name)).default
            except OverrideError as error:
                problems.append(f"{where}.{entry.name}: {error}")
        filled.values[entry.name] = value
    problems += [
        f"{where}.{name}: has no effect here, as the condition that it depends on is not met"
        for name in partial
        if name in known and name not in filled.values
    ]
    if problems:
        raise ConfigError(problems)
    return dict(filled.values)


def misfit(space: keras_tuner.HyperParameters, values: Mapping[str, HyperparameterValue]) -> str | None:
    """Why a configuration is not one of the space, None if it is."""
    filled = space.copy()
    filled.values = dict(values)
    active = [entry for entry in space.space if filled.is_active(entry)]
    foreign = set(values) - {entry.name for entry in active}
    if foreign:
        return f"{min(foreign)} is not among its hyperparameters"
    for entry in active:
        if entry.name not in values:
            return f"{entry.name} is missing"
        if not _is_possible(entry, values[entry.name]):
            return f"{entry.name} = {values[entry.name]} is outside the space"
    return None


def _is_possible(entry: Any, value: HyperparameterValue) -> bool:
    if isinstance(entry, Fixed):
        return bool(entry.value == value)
    if isinstance(entry, Boolean):
        return isinstance(value, bool)
    if isinstance(entry, Choice):
        return value in entry.values
    return isinstance(value, int | float) and bool(entry.min_value <= value <= entry.max_value)
