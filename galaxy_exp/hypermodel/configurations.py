"""Whole configurations, completed from those values that a user writes down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel.overrides import OverrideError, override_hyperparameter
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.wording import did_you_mean

__all__ = ["complete_configuration"]


def complete_configuration(
    hypermodel: keras_tuner.HyperModel,
    space: keras_tuner.HyperParameters,
    partial: Mapping[str, HyperparameterValue],
    where: str,
    declared: keras_tuner.HyperParameters,
) -> dict[str, HyperparameterValue]:
    """Every active hyperparameter of a configuration of which some values are given.

    Args:
        space: of the sweep; its defaults fill the gaps. The given values may lie outside it, like those of the
            baseline, but have to be possible for the hypermodel.
        where: the key path that messages start with.
        declared: the hypermodel's own space, as `discover_space` found it.

    Raises:
        ConfigError: with one line for every value that the hypermodel does not know or cannot take, or that has no
            effect because its condition is not met.
    """
    known = list(dict.fromkeys(entry.name for entry in space.space))
    problems = [
        f"{where}.{name}: unknown hyperparameter; {did_you_mean(name, known)}" for name in partial if name not in known
    ]
    limits: Mapping[str, tuple[float, float]] = getattr(hypermodel, "limits", {})
    filled = space.copy()
    filled.values = {}
    for entry, possible in zip(space.space, declared.space, strict=True):
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
