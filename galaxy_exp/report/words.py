"""Numbers and names as figures and pages write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from galaxy_exp import wording
from galaxy_exp.evaluation.metrics import METRIC_LABELS
from galaxy_exp.evaluation.vote_metrics import VOTE_METRIC_LABELS
from galaxy_exp.records import HyperparameterValue
from galaxy_exp.redaction import hide_password

__all__ = [
    "METRIC_NAMES",
    "UNKNOWN",
    "amount",
    "axis_value",
    "count",
    "duration",
    "interval",
    "metric_name",
    "plain_value",
    "printable",
    "quantity",
    "score",
    "signed",
    "validation_name",
]

UNKNOWN = "\N{EN DASH}"
"""What is written for a value that is not known or not active."""


METRIC_NAMES = {name: METRIC_LABELS[name] for name in ("accuracy", "macro_f1", "balanced_accuracy", "loss")}
"""Of the metrics that every epoch has."""


duration = wording.format_duration
count = wording.count

_CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML does not allow in a document; pages are well-formed XML as well."""


def printable(text: object) -> str:
    """Any text without passwords in addresses and without control characters."""
    return hide_password(_CONTROL.sub("\ufffd", str(text)))


def metric_name(name: str) -> str:
    """`val_macro_f1` as "macro-F1"; an unknown name is not changed."""
    return (VOTE_METRIC_LABELS | METRIC_NAMES).get(name.removeprefix("val_"), name)


def validation_name(name: str) -> str:
    """`val_macro_f1` as "validation macro-F1"; an unknown name is not changed."""
    return f"validation {metric_name(name)}" if name.startswith("val_") and metric_name(name) != name else name


def score(value: float | None) -> str:
    """Three digits after the point; an en dash for what is not known."""
    return UNKNOWN if value is None else f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def interval(ends: Sequence[float] | None) -> str:
    """`0.462 to 0.552`; empty if the ends are not known."""
    return "" if ends is None else f"{score(ends[0])} to {score(ends[1])}"


def signed(value: float) -> str:
    """With its sign, a true minus."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def amount(number: float) -> str:
    """`99,045` parameters, `77.3 million` operations."""
    if number < 1e6:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.1f} million" if number < 1e9 else f"{number / 1e9:,.2f} billion"


def quantity(value: float) -> str:
    """Four digits, `0.6269`; `381,443` for a large whole number."""
    return f"{value:,.0f}" if abs(value) >= 1000 and float(value).is_integer() else f"{value:.4g}"


def plain_value(value: HyperparameterValue | None) -> str:
    """A hyperparameter's value in a text; an en dash where it is not active."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return wording.short_value(value)


def axis_value(value: HyperparameterValue) -> str:
    """A hyperparameter's value beside an axis."""
    if isinstance(value, bool):
        return str(value).lower()
    return wording.shorten(wording.short_value(value, 3), 16)
