"""A search space in words, for tables and reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed

from galaxy_exp.records import HyperparameterValue

__all__ = ["HyperparameterDescription", "describe_space"]


@dataclass(frozen=True, slots=True)
class HyperparameterDescription:
    """One hyperparameter, ready to be printed."""

    name: str
    kind: str
    """fixed, choice, boolean, int or float."""
    domain: str
    """"32, 64, 128", "0.0001 to 0.003", "0 to 0.6, step 0.05"."""
    scale: str
    """linear, log or reverse_log for a range; empty for anything else."""
    default: HyperparameterValue
    condition: str
    """"optimizer is adamw", or empty when it is always active."""


def describe_space(space: keras_tuner.HyperParameters) -> list[HyperparameterDescription]:
    """One record per hyperparameter, in the order of declaration (parents before their children)."""
    return [
        HyperparameterDescription(
            entry.name,
            type(entry).__name__.lower(),
            _domain(entry),
            getattr(entry, "sampling", ""),
            entry.default,
            _condition(entry),
        )
        for entry in space.space
    ]


def _domain(entry: Any) -> str:
    if isinstance(entry, Fixed):
        return _text(entry.value)
    if isinstance(entry, Boolean):
        return "false, true"
    if isinstance(entry, Choice):
        return ", ".join(map(_text, entry.values))
    plain_step = entry.step is None or (isinstance(entry.step, int) and entry.step == 1)
    step = "" if plain_step else f", step {entry.step:g}"
    return f"{_text(entry.min_value)} to {_text(entry.max_value)}{step}"


def _condition(entry: Any) -> str:
    return " and ".join(f"{condition.name} is {_alternatives(condition.values)}" for condition in entry.conditions)


def _alternatives(values: list[Any]) -> str:
    consecutive = all(isinstance(value, int) for value in values) and values == list(range(values[0], values[-1] + 1))
    if consecutive and len(values) > 2:
        return f"{values[0]} to {values[-1]}"
    return " or ".join(map(_text, values))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
