"""What a paper should cite: the sources of data, software and methods that a sweep really used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from galaxy_exp.report.material import Material

__all__ = ["PRUNERS", "SAMPLERS", "bibtex", "cited_data", "cited_methods", "cited_software", "read_references"]

SAMPLERS = {
    "gp": "expected improvement under a Gaussian process",
    "tpe": "a tree-structured Parzen estimator",
    "random": "random search",
    "grid": "a grid",
    "qmc": "a quasi-random sequence",
    "cmaes": "CMA-ES",
}
PRUNERS = {
    "asha": "asynchronous successive halving",
    "hyperband": "Hyperband",
    "median": "the median rule",
    "patience": "patience with trials that do not improve",
}
"""What `search.sampler` and `search.pruner` stand for; user-defined ones are not in it."""

_DATA = {
    "galaxy10-sdss": ("galaxy10sdss", "abazajian2009", "lintott2008", "lintott2011", "willett2013"),
    "galaxy10-decals": ("galaxy10decals", "dey2019", "lintott2008", "lintott2011", "willett2013", "walmsley2022"),
}
_SAMPLERS = {
    "gp": ("jones1998",),
    "tpe": ("bergstra2011", "akiba2019"),
    "qmc": ("sobol1967", "owen1998"),
    "cmaes": ("hansen2001", "akiba2019"),
}
_PRUNERS = {"asha": ("li2020",), "hyperband": ("li2018", "li2020"), "median": ("golovin2017",)}
_SOFTWARE = {
    "keras": ("keras",),
    "tensorflow": ("abadi2016",),
    "jax": ("jax",),
    "keras-tuner": ("kerastuner",),
    "mlflow": ("zaharia2018",),
    "dask": ("rocklin2015",),
    "astropy": ("astropy2013", "astropy2018", "astropy2022"),
    "scipy": ("virtanen2020",),
    "numpy": ("harris2020",),
}


def cited_data(material: Material) -> tuple[str, ...]:
    """Keys for the images; none for user-defined data and for simulated images."""
    return () if material.data.simulated else _DATA.get(material.record.config.data.source, ())


def cited_software(material: Material) -> dict[str, tuple[str, ...]]:
    """Keys by package, as `describe_software` names it: what every sweep runs on, and what this one used besides."""
    record = material.record
    search, execution = record.config.search, record.execution
    backends = {trial.result.backend for trial in record.trials.values() if trial.result}
    several = execution.workers not in (None, 1) or execution.scheduler or execution.scheduler_file or execution.cluster
    used = {
        "keras": True,
        "tensorflow": "tensorflow" in backends,
        "jax": "jax" in backends,
        "keras-tuner": True,
        "mlflow": True,
        "dask": bool(several) or execution.engine == "dask",
        "astropy": any(step.startswith("FITS") for step in material.data.preprocessing),
        "scipy": search.sampler_choice in ("gp", "qmc"),
        "numpy": True,
    }
    return {package: _SOFTWARE[package] for package, is_used in used.items() if is_used}


def cited_methods(material: Material) -> dict[str, tuple[str, ...]]:
    """Keys by what they were used for: "sampler", "pruner", "bootstrap", "calibration"; without what was not used."""
    search = material.record.config.search
    found = {
        "sampler": _SAMPLERS.get(search.sampler_choice, ()),
        "pruner": _PRUNERS.get(search.pruner, ()),
        "bootstrap": ("efron1993",) if material.gains else (),
        "calibration": ("guo2017",) if material.calibration else (),
    }
    return {use: keys for use, keys in found.items() if keys}


def bibtex(keys: Iterable[str]) -> str:
    """The entries, each once, in the order of first use."""
    return "\n\n".join(read_references()[key] for key in dict.fromkeys(keys))


@cache
def read_references() -> Mapping[str, str]:
    """BibTeX entries by key, with volumes, pages and identifiers as the publishers write them."""
    text = files("galaxy_exp.report").joinpath("references.bib").read_text(encoding="utf-8")
    entries = text.strip().split("\n\n")
    return {re.split(r"[{,]", entry)[1]: entry for entry in entries}
