"""Differences between two sweep files, and which keys may change when a sweep is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from galaxy_exp.config.sweep import SweepConfig
from galaxy_exp.wording import shorten

__all__ = ["CHANGEABLE", "EPOCHS", "STORE", "Change", "changes_workers", "differences", "is_budget", "is_changeable"]

EPOCHS = "training.epochs"
"""May be raised: trials that were complete continue from their checkpoints."""

BUDGET = (
    EPOCHS,
    "search.max_trials",
    "search.max_epochs",
    "search.max_hours",
    "search.max_trials_without_gain",
    "search.min_expected_gain",
)
"""Keys that decide when the search and its trials end; fixed once finalists are trained again, as is `registry`."""

STORE = "tracking.uri"
"""Key of the MLflow store; the whole sweep is written to a new one."""

CHANGEABLE = (*BUDGET, "search.max_failures", "execution", STORE, "tracking.keep_models", "registry")
"""Keys and sections on which no proposal and no result of a trial depends."""

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One key with two values of JSON types; None also stands for a missing key."""

    key: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: was {_show(self.then)}, is {_show(self.now)} now"


def differences(then: SweepConfig, now: SweepConfig) -> list[Change]:
    """Keys with different values, in the order of the sweep file; a hyperparameter of `space` is one key."""
    before, after = dict(_leaves(then.model_dump(mode="json"))), dict(_leaves(now.model_dump(mode="json")))
    return [
        Change(key, before.get(key), after.get(key))
        for key in before | after
        if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]


def is_changeable(key: str) -> bool:
    """Whether a started sweep may continue with another value of a key."""
    return any(key == each or key.startswith(f"{each}.") for each in CHANGEABLE)


def is_budget(key: str) -> bool:
    """Whether a key decides how long the search takes, or what follows it."""
    return key in BUDGET or key.startswith("registry.")


def changes_workers(changes: Iterable[Change]) -> bool:
    """Whether the number of workers has to be measured again for `execution.workers: auto`."""
    keys = ("execution.workers", "execution.threads", "execution.workers_per_gpu")
    return any(change.key in keys for change in changes)


def _leaves(section: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        key = f"{path}{name}"
        if isinstance(value, dict) and value and path != "space.":
            yield from _leaves(value, f"{key}.")
        elif value != {}:
            yield key, value


def _show(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return shorten(text)
