"""Which simulated classes stand for which class of another file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["merge_probabilities", "parse_map"]


def parse_map(text: str, n_classes: int) -> dict[int, int]:
    """ "1:0,2:1,3:2" as {1: 0, 2: 1, 3: 2}: simulated class to class of the file.

    Args:
        text: pairs with commas between; a simulated class that is left out has no counterpart.
        n_classes: simulated ones.

    Raises:
        ValueError: not pairs of whole numbers, a class twice or out of range, or a gap in the file's classes.
    """
    try:
        pairs = [(int(one), int(other)) for one, other in (pair.split(":") for pair in text.split(","))]
    except ValueError:
        raise ValueError(f"{text!r} is no class map; expected pairs such as 1:0,2:1") from None
    mapped = dict(pairs)
    if len(mapped) < len(pairs) or not all(0 <= one < n_classes for one in mapped):
        raise ValueError(f"{text!r}: expected each simulated class at most once, from 0 to {n_classes - 1}")
    if set(mapped.values()) != set(range(len(set(mapped.values())))):
        raise ValueError(f"{text!r}: expected the file's classes from 0 without a gap")
    return mapped


def merge_probabilities(
    probabilities: NDArray[np.floating], classes: Sequence[int], mapped: Mapping[int, int]
) -> NDArray[np.float64]:
    """Sums the probabilities of the simulated classes of each class of the file: float64 (n, classes of the file).

    Args:
        probabilities: (n, len(classes)).
        classes: the simulated class of each column; one without a counterpart is left out and the rest scaled to 1.
        mapped: of `parse_map`.
    """
    merged = np.zeros((len(probabilities), len(set(mapped.values()))))
    for column, label in enumerate(classes):
        if label in mapped:
            merged[:, mapped[label]] += probabilities[:, column]
    merged /= np.maximum(merged.sum(axis=1, keepdims=True), 1e-12)
    return merged
