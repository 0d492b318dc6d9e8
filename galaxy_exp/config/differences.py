"""What differs between two sweeps, key by key, and which keys a sweep may change while it is under way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from galaxy_exp.config.sweep import SweepConfig
from galaxy_exp.wording import shorten

__all__ = ["CHANGEABLE", "STORE", "Change", "differences", "is_budget", "is_changeable", "unsettles_workers"]

BUDGET = (
    "search.max_trials",
    "search.max_epochs",
    "search.max_hours",
    "search.max_trials_without_gain",
    "search.min_expected_gain",
)
"""When the search ends. These, and what follows the search, are settled once its finalists are trained again."""

STORE = "tracking.uri"
"""The MLflow store; another one gets the whole sweep anew."""

CHANGEABLE = (*BUDGET, "search.max_failures", "execution", STORE, "tracking.keep_models", "registry")
"""Keys and sections that no proposal and no result of a trial depends on."""

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One key with two values, as JSON has them; None also stands for a key that is not there."""

    key: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: was {_show(self.then)}, is {_show(self.now)} now"


def differences(then: SweepConfig, now: SweepConfig) -> list[Change]:
    """The keys whose values differ, in the order of the sweep file; a hyperparameter of `space` is one key."""
    before, after = dict(_leaves(then.model_dump(mode="json"))), dict(_leaves(now.model_dump(mode="json")))
    keys = dict.fromkeys([*before, *after])
    return [
        Change(key, before.get(key), after.get(key))
        for key in keys
        if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]


def is_changeable(key: str) -> bool:
    """Whether a sweep that is under way may go on with another value of a key."""
    return any(key == each or key.startswith(f"{each}.") for each in CHANGEABLE)


def is_budget(key: str) -> bool:
    """Whether a key says how long the search goes on, or what follows it."""
    return key in BUDGET or key.startswith("registry.")


def unsettles_workers(changes: Iterable[Change]) -> bool:
    """Whether the number that `execution.workers: auto` came to does not hold any more."""
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
