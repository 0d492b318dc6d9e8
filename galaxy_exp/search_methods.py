"""The samplers and schedulers that a sweep file can name: one table of each.

A new one is a class or function in `galaxy_exp.search` and one entry here. The sweep file's allowed names, the help,
the report's words and its citations come from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

__all__ = ["SAMPLERS", "SCHEDULERS", "STOPPING", "SearchMethod", "one_of_names", "scheduler_of_pruner"]


@dataclass(frozen=True, slots=True)
class SearchMethod:
    """A sampler or a scheduler."""

    implementation: str
    """module:name of the class or function that makes one."""
    label: str
    """What it is, as a sentence continues after "by"."""
    citations: tuple[str, ...] = ()
    """Keys of `report/references.bib`."""
    options: tuple[str, ...] = ()
    """Keys of the sweep file's `search` section that it reads besides `objective` and `seed`."""
    packages: tuple[str, ...] = ()
    """Further packages that do its work and are to be cited."""
    single_objective: bool = False
    """Whether it can learn from one objective only."""
    takes_priors: bool = True
    """Whether it can use an expert's priors; a sampler only, as the next."""
    weighs_seconds: bool = False
    """Whether it can look for improvement per second."""

    def load(self) -> Any:
        """Imports the implementation."""
        return resolve_name(self.implementation)


SAMPLERS: Mapping[str, SearchMethod] = {
    "gp": SearchMethod(
        "galaxy_exp.search.bayesian:GaussianProcessSampler",
        "expected improvement under a Gaussian process",
        ("jones1998",),
        packages=("scipy",),
        single_objective=True,
        weighs_seconds=True,
    ),
    "tpe": SearchMethod(
        "galaxy_exp.search.optuna_samplers:build_tpe",
        "a tree-structured Parzen estimator",
        ("bergstra2011", "akiba2019"),
    ),
    "random": SearchMethod("galaxy_exp.search.samplers:RandomSampler", "random search"),
    "grid": SearchMethod("galaxy_exp.search.samplers:GridSampler", "a grid", takes_priors=False),
    "qmc": SearchMethod(
        "galaxy_exp.search.samplers:SobolSampler",
        "a quasi-random sequence",
        ("sobol1967", "owen1998"),
        packages=("scipy",),
    ),
    "cmaes": SearchMethod(
        "galaxy_exp.search.cma_es:CmaEsSampler",
        "CMA-ES",
        ("hansen2001", "akiba2019"),
        single_objective=True,
    ),
}

SCHEDULERS: Mapping[str, SearchMethod] = {
    "promote": SearchMethod(
        "galaxy_exp.search.schedulers:PromotionScheduler",
        "successive halving that pauses trials and promotes the most promising",
        ("li2020",),
        ("first_rung",),
    ),
    "asha": SearchMethod(
        "galaxy_exp.search.schedulers:AshaScheduler",
        "asynchronous successive halving with promotion",
        ("li2020",),
        ("first_rung", "reduction_factor"),
    ),
    "hyperband": SearchMethod(
        "galaxy_exp.search.schedulers:HyperbandScheduler",
        "Hyperband with promotion",
        ("li2018", "li2020"),
        ("first_rung", "reduction_factor"),
    ),
    "asha-stop": SearchMethod(
        "galaxy_exp.search.stopping_rules:AshaStopping",
        "asynchronous successive halving that stops trials",
        ("li2020",),
        ("first_rung", "reduction_factor"),
    ),
    "hyperband-stop": SearchMethod(
        "galaxy_exp.search.stopping_rules:HyperbandStopping",
        "Hyperband that stops trials",
        ("li2018", "li2020"),
        ("first_rung", "reduction_factor"),
    ),
    "median": SearchMethod(
        "galaxy_exp.search.stopping_rules:MedianStopping", "the median rule", ("golovin2017",), ("first_rung",)
    ),
    "patience": SearchMethod(
        "galaxy_exp.search.stopping_rules:PatienceStopping",
        "patience with trials that do not improve",
        (),
        ("patience",),
    ),
    "none": SearchMethod("galaxy_exp.search.stopping_rules:NoStopping", ""),
}

STOPPING = {"promote": "asha-stop", "asha": "asha-stop", "hyperband": "hyperband-stop"}
"""What takes the place of schedulers that pause trials where trials cannot continue."""

FORMER_PRUNERS = {"asha": "asha-stop", "hyperband": "hyperband-stop"}
"""What the names mean in the key `search.pruner` of older sweep files and journals; the others mean the same."""


def scheduler_of_pruner(pruner: Any) -> Any:
    """The value of `search.scheduler` that means the same as one of `search.pruner`."""
    return FORMER_PRUNERS.get(pruner, pruner) if isinstance(pruner, str) else pruner


def one_of_names(methods: Mapping[str, SearchMethod]) -> str:
    """`asha, median or none`."""
    *first, last = methods
    return f"{', '.join(first)} or {last}"
