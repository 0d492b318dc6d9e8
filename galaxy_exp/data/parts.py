"""The three parts of a data set, and user-defined splits into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import DataError

__all__ = ["PARTS", "PART_NAMES", "Part", "parse_parts"]

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

_SPELLINGS: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
PART_NAMES = {spelling: part for part, spellings in _SPELLINGS.items() for spelling in spellings}
"""The part by its usual names, in lower case."""


def parse_parts(
    values: Sequence[Any] | NDArray[Any], source: str, key: str, *, by_row: bool = False
) -> NDArray[np.int8]:
    """The part of each image as its position in `PARTS`, int8 (n,).

    Args:
        values: text or bytes: "train", "validation" or "test", in any case, or "training", "val", "valid", "dev",
            "testing".
        source: file, for messages.
        key: column or data set, for messages.
        by_row: whether messages count rows from 1 instead of indices from 0.

    Raises:
        DataError: names the first index with another value.
    """
    values = np.asarray(values)
    if values.ndim != 1:
        raise DataError(f"{source}: {key!r} has shape {values.shape}; expected (n,), one part per image")
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.tolist()]
    parts = [PART_NAMES.get(text.strip().lower()) if isinstance(text, str) else None for text in texts]
    if None in parts:
        index = parts.index(None)
        at = (
            f"row {index + 1}: {key!r} is {texts[index]!r}"
            if by_row
            else f"{key!r} is {texts[index]!r} at index {index}"
        )
        raise DataError(f"{source}: {at}; expected {', '.join(PARTS)}")
    return np.array([PARTS.index(part) for part in parts if part is not None], dtype=np.int8)
