"""Numbers and names as the page writes them."""

from __future__ import annotations

from galaxy_exp.metrics import METRIC_LABELS
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.report.page.material import Material
from galaxy_exp.wording import short_value

__all__ = [
    "METRIC_NAMES",
    "PRUNERS",
    "SAMPLERS",
    "UNKNOWN",
    "amount",
    "count",
    "describe_data",
    "duration",
    "metric_name",
    "of_images",
    "plain_value",
    "quantity",
    "score",
    "signed",
    "validation_name",
]

UNKNOWN = "\N{EN DASH}"
"""Stands for what is not known or not active."""

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
"""What `search.sampler` and `search.pruner` stand for; not those of one's own."""

METRIC_NAMES = {name: METRIC_LABELS[name] for name in ("accuracy", "macro_f1", "balanced_accuracy", "loss")}
"""Of the metrics that every epoch has."""


def metric_name(name: str) -> str:
    """`val_macro_f1` as "macro-F1"; a name that is not known stays as it is."""
    return METRIC_NAMES.get(name.removeprefix("val_"), name)


def validation_name(name: str) -> str:
    """`val_macro_f1` as "validation macro-F1"; a name that is not known stays as it is."""
    return f"validation {metric_name(name)}" if name.startswith("val_") and metric_name(name) != name else name


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def score(value: float | None) -> str:
    """Three digits after the point; an en dash for what is not known."""
    return UNKNOWN if value is None else f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def signed(value: float) -> str:
    """With its sign, a true minus."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `2.5 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def amount(number: float) -> str:
    """`99,045` parameters, `77.3 million` operations."""
    if number < 1e6:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.1f} million" if number < 1e9 else f"{number / 1e9:,.2f} billion"


def quantity(value: float) -> str:
    """Four digits, `0.6269`; `381,443` for a large whole number."""
    return f"{value:,.0f}" if abs(value) >= 1000 and float(value).is_integer() else f"{value:.4g}"


def plain_value(value: HyperparameterValue | None) -> str:
    """A hyperparameter's value; an en dash where it is not active."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return short_value(value)


def describe_data(material: Material) -> str:
    """The data in a few words."""
    if material.data.simulated:
        return "SIMULATED galaxies"
    return material.data.source.rstrip("/").rpartition("/")[2]


def of_images(material: Material) -> str:
    """`galaxies`, or `SIMULATED galaxies`: for every sentence with a figure in it."""
    return "SIMULATED galaxies" if material.data.simulated else "galaxies"
