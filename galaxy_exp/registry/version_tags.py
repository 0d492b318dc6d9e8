"""Names of the tags and aliases that galaxy_exp gives to a registered version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "DATA_SOURCE",
    "HISTORY",
    "OBJECTIVE",
    "PREVIOUS_CHAMPION",
    "PROMOTION",
    "PROMOTION_AGAINST",
    "PROMOTION_DIFFERENCE",
    "PROMOTION_HIGH",
    "PROMOTION_LOW",
    "PROMOTION_OPENING",
    "PROMOTION_P",
    "PROMOTION_REASON",
    "SIMULATED",
    "SWEEP_ID",
    "TEST_DIGEST",
    "TEST_IMAGES",
    "build_test_tags",
    "parse_test_tags",
    "read_tag",
]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

CHAMPION = "champion"
"""Alias of the version that `load_model` gives."""
CHALLENGER = "challenger"
"""Alias of the newest version that was not promoted."""

SWEEP_ID = "galaxy_exp.sweep_id"
DATA_SOURCE = "galaxy_exp.data_source"
SIMULATED = "galaxy_exp.simulated"
""""true" if the model was trained on simulated galaxies, else "false"."""
OBJECTIVE = "galaxy_exp.objective"
"""What the sweep optimised, such as "val_macro_f1"."""
TEST_DIGEST = "galaxy_exp.test_digest"
"""Identifies the held-out test set; versions with the same one can be compared image by image."""
TEST_IMAGES = "galaxy_exp.test_images"
"""Identifies it by its images and labels alone, whatever data set they are from; versions and runs have both."""
PROMOTION = "galaxy_exp.promotion"
"""The outcome of the decision on the version: promoted, challenger, or by hand."""
PROMOTION_REASON = "galaxy_exp.promotion_reason"
PROMOTION_DIFFERENCE = "galaxy_exp.promotion_difference"
PROMOTION_LOW = "galaxy_exp.promotion_low"
PROMOTION_HIGH = "galaxy_exp.promotion_high"
PROMOTION_P = "galaxy_exp.promotion_p"
"""One-sided p-value of the gain."""
PROMOTION_OPENING = "galaxy_exp.test_opening"
"""Which opening of its test set, from 1, the version's test counted as in the decision."""
PROMOTION_AGAINST = "galaxy_exp.promotion_against"
"""The version that it was compared with."""
PREVIOUS_CHAMPION = "galaxy_exp.previous_champion"
"""The version this one took the champion's place from."""
HISTORY = "galaxy_exp.champion."
"""Prefix of the tags of a registered model (not of a version) with its champions; the time follows."""

_TEST_PREFIX = "galaxy_exp.test."


def read_tag(
    parse: Callable[[str], _T], tags: Mapping[str, str], tag: str, where: str, expected: str = "a number"
) -> _T | None:
    """The value of a tag; None if there is none, or if it was edited so that it cannot be read, which is logged.

    Args:
        parse: raises ValueError for text of another form.
        tags: of a version or a registered model.
        tag: its name.
        where: whose tags they are, such as `galaxy10-cnn version 2`.
        expected: what `parse` takes.
    """
    if tag not in tags:
        return None
    try:
        return parse(tags[tag])
    except ValueError:
        remedy = "it is left out; correct or delete the tag in the MLflow UI"
        _warn_once(f"{where}: tag {tag}: found {tags[tag]!r}; expected {expected}; {remedy}")
        return None


@cache
def _warn_once(message: str) -> None:
    _LOG.warning("%s", message)


def parse_test_tags(tags: Mapping[str, str], where: str) -> dict[str, float]:
    """The metrics of the held-out test in a version's tags, by name: `accuracy`, `macro_f1`, `n_images` and so on.

    `where` is as of `read_tag`, which reads them.
    """
    found = {tag: read_tag(float, tags, tag, where) for tag in tags if tag.startswith(_TEST_PREFIX)}
    return {tag.removeprefix(_TEST_PREFIX): value for tag, value in found.items() if value is not None}


def build_test_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """The inverse of `parse_test_tags`."""
    return {f"{_TEST_PREFIX}{name}": repr(value) for name, value in metrics.items()}
