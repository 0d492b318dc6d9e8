"""Names of the tags and aliases that galaxy_exp gives to a registered version."""

from __future__ import annotations

from collections.abc import Mapping

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
]

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


def parse_test_tags(tags: Mapping[str, str]) -> dict[str, float]:
    """The metrics of the held-out test in a version's tags, by name: `accuracy`, `macro_f1`, `n_images` and so on."""
    return {
        name.removeprefix(_TEST_PREFIX): float(value) for name, value in tags.items() if name.startswith(_TEST_PREFIX)
    }


def build_test_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """The inverse of `parse_test_tags`."""
    return {f"{_TEST_PREFIX}{name}": repr(value) for name, value in metrics.items()}
