"""KerasTuner hyperparameters as Optuna distributions, and Optuna's answers as KerasTuner values."""

from __future__ import annotations

import math
from typing import Any

import keras_tuner
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from galaxy_exp.records import HyperparameterValue

__all__ = ["decode_value", "distribution_of", "encode_value", "is_tunable", "parameter_names"]

_PARAMETERS = keras_tuner.engine.hyperparameters


def is_tunable(hyperparameter: Any) -> bool:
    """Whether there is anything to choose: more than one value."""
    if isinstance(hyperparameter, _PARAMETERS.Choice):
        return len(hyperparameter.values) > 1
    if isinstance(hyperparameter, _PARAMETERS.Int | _PARAMETERS.Float):
        return bool(hyperparameter.min_value < hyperparameter.max_value)
    return not isinstance(hyperparameter, _PARAMETERS.Fixed)


def distribution_of(hyperparameter: Any) -> BaseDistribution:
    """The Optuna distribution of a tunable hyperparameter.

    Ordered choices (numbers) and numbers on a logarithmic grid become the index of the value, so that
    the sampler knows which values are neighbours; unordered choices stay categories.
    """
    if isinstance(hyperparameter, _PARAMETERS.Boolean):
        return CategoricalDistribution([False, True])
    if isinstance(hyperparameter, _PARAMETERS.Choice):
        if hyperparameter.ordered:
            return IntDistribution(0, len(hyperparameter.values) - 1)
        return CategoricalDistribution(list(hyperparameter.values))
    if _is_logarithmic_grid(hyperparameter):
        return IntDistribution(0, len(list(hyperparameter.values)) - 1)
    log = hyperparameter.sampling in ("log", "reverse_log")
    if isinstance(hyperparameter, _PARAMETERS.Int):
        step = 1 if log else int(hyperparameter.step or 1)
        return IntDistribution(hyperparameter.min_value, _last_on_grid(hyperparameter, step), log=log, step=step)
    if hyperparameter.step is None:
        return FloatDistribution(hyperparameter.min_value, hyperparameter.max_value, log=log)
    high = _last_on_grid(hyperparameter, hyperparameter.step)
    return FloatDistribution(hyperparameter.min_value, high, step=hyperparameter.step)


def decode_value(hyperparameter: Any, sampled: Any) -> HyperparameterValue:
    """What KerasTuner should see for Optuna's `sampled`."""
    if isinstance(hyperparameter, _PARAMETERS.Choice) and hyperparameter.ordered:
        value: HyperparameterValue = hyperparameter.values[sampled]
    elif _is_logarithmic_grid(hyperparameter):
        value = list(hyperparameter.values)[sampled]
    elif isinstance(hyperparameter, _PARAMETERS.Float):
        value = (
            float(sampled) if hyperparameter.step is None else round(float(sampled), 10)
        )  # 0.35, not 0.35000000000000003
    else:
        value = sampled
    return value


def encode_value(hyperparameter: Any, value: HyperparameterValue) -> Any:
    """The inverse of `decode_value`; None for a value that is not among those of a grid or ordered choice."""
    if (isinstance(hyperparameter, _PARAMETERS.Choice) and hyperparameter.ordered) or _is_logarithmic_grid(
        hyperparameter
    ):
        values = list(hyperparameter.values)
    else:
        return value
    return values.index(value) if value in values else None


def parameter_names(space: list[Any]) -> list[str]:
    """One name an entry for the sampler; a name used under several conditions is numbered from the second on."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for hyperparameter in space:
        seen[hyperparameter.name] = seen.get(hyperparameter.name, 0) + 1
        count = seen[hyperparameter.name]
        names.append(hyperparameter.name if count == 1 else f"{hyperparameter.name}#{count}")
    return names


def _is_logarithmic_grid(hyperparameter: Any) -> bool:
    """KerasTuner's `step` is a factor under logarithmic sampling, which Optuna does not know."""
    sampling = getattr(hyperparameter, "sampling", None)
    return sampling in ("log", "reverse_log") and getattr(hyperparameter, "step", None) not in (None, 1)


def _last_on_grid(hyperparameter: Any, step: float) -> Any:
    """The largest value not above max_value that min_value + k * step reaches."""
    low, high = hyperparameter.min_value, hyperparameter.max_value
    steps = math.floor((high - low) / step + 1e-9)
    reached = low + steps * step
    return int(reached) if isinstance(low, int) and isinstance(step, int) else min(reached, high)
