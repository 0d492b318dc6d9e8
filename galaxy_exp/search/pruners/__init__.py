"""The rules for early stopping that a sweep can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.search.dotted import construct, load_class
from galaxy_exp.search.pruners.asha import AshaPruner
from galaxy_exp.search.pruners.base import Pruner
from galaxy_exp.search.pruners.hyperband import HyperbandPruner
from galaxy_exp.search.pruners.median import MedianPruner
from galaxy_exp.search.pruners.patience import NoPruner, PatiencePruner

__all__ = [
    "PRUNERS",
    "AshaPruner",
    "HyperbandPruner",
    "MedianPruner",
    "NoPruner",
    "PatiencePruner",
    "Pruner",
    "build_pruner",
]

PRUNERS: dict[str, Callable[[SearchConfig, int], Pruner]] = {
    "asha": lambda search, epochs: AshaPruner(
        search.objective_record, search.first_rung, search.reduction_factor, epochs
    ),
    "hyperband": lambda search, epochs: HyperbandPruner(
        search.objective_record, search.first_rung, search.reduction_factor, epochs
    ),
    "median": lambda search, epochs: MedianPruner(search.objective_record, search.first_rung, epochs),
    "patience": lambda search, epochs: PatiencePruner(search.objective_record, search.patience, epochs),
    "none": lambda search, epochs: NoPruner(),
}
"""A new pruner is one file beside this one, one line in this table and its name in `config.sweep.PRUNERS`."""


def build_pruner(search: SearchConfig, epochs: int) -> Pruner:
    """The pruner that a sweep names: one of `PRUNERS`, or package.module:Class.

    A class of the user's gets, as far as it takes them by name, `objective` (a `galaxy_exp.records.Objective`),
    `epochs`, `first_rung`, `reduction_factor` and `patience`.

    Args:
        epochs: of a trial that is not stopped.

    Raises:
        ConfigError: if the class cannot be had or is no `Pruner`.
    """
    name = search.pruner
    if name in PRUNERS:
        return PRUNERS[name](search, epochs)
    settings = {key: getattr(search, key) for key in ("first_rung", "reduction_factor", "patience")}
    known = {"objective": search.objective_record, "epochs": epochs, **settings}
    pruner = construct("search.pruner", name, load_class("search.pruner", name), known, {})
    for method in ("is_rung", "should_stop", "first_decision"):
        if not callable(getattr(pruner, method, None)):
            raise ConfigError(f"search.pruner: {name} has no method {method}; see galaxy_exp.search.pruners.Pruner")
    return cast(Pruner, pruner)
