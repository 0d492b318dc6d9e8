"""The three parts of a data set, and a user's own division into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import DataError

__all__ = ["PARTS", "Part", "parse_parts"]

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


def parse_parts(values: Sequence[Any] | NDArray[Any], source: str, key: str) -> NDArray[np.int8]:
    """The part of each image as its position in `PARTS`, int8 (n,).

    Args:
        values: text or bytes, "train", "validation" or "test".
        source: file, for messages.
        key: column or data set, for messages.

    Raises:
        DataError: names the first index with another value.
    """
    values = np.asarray(values)
    if values.ndim != 1:
        raise DataError(f"{source}: {key!r} has shape {values.shape}; expected (n,), one part per image")
    codes: dict[Any, int] = {name: code for code, name in enumerate(PARTS)}
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.tolist()]
    for index, text in enumerate(texts):
        if text not in codes:
            raise DataError(f"{source}: {key!r} is {text!r} at index {index}; expected {', '.join(PARTS)}")
    return np.array([codes[text] for text in texts], dtype=np.int8)
