"""Completeness, purity and F1 of each class, as records and as aligned text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from galaxy_exp import metrics

__all__ = ["per_class_table", "per_class_text"]

_HEADER = ("class", "images", "completeness", "purity", "f1")


def per_class_table(
    labels: NDArray[Any], probabilities: NDArray[Any], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """One record per class, in label order.

    Args:
        labels: integers (n,).
        probabilities: (n, n_classes).
        class_names: one per class.

    Returns:
        `class`, `images` (how many are truly of it), `completeness`, `purity`, `f1`; the first and last of
        these ratios are None for a class without images.
    """
    matrix = metrics.confusion_matrix(labels, probabilities.argmax(axis=1), len(class_names))
    columns = zip(
        class_names,
        matrix.sum(axis=1).tolist(),
        metrics.completeness(matrix).tolist(),
        metrics.purity(matrix).tolist(),
        metrics.f1_per_class(matrix).tolist(),
        strict=True,
    )
    return [
        {"class": name, "images": images, "completeness": _known(found), "purity": pure, "f1": _known(f1)}
        for name, images, found, pure, f1 in columns
    ]


def per_class_text(labels: NDArray[Any], probabilities: NDArray[Any], class_names: Sequence[str]) -> str:
    """`per_class_table` as a table of aligned text, one line per class under a header, for a terminal or a file."""
    rows = [_HEADER, *(_cells(record) for record in per_class_table(labels, probabilities, class_names))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return "\n".join(_aligned(row, widths) for row in rows) + "\n"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    ratios = (record[name] for name in _HEADER[2:])
    return (record["class"], str(record["images"]), *("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios))


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join((row[0].ljust(widths[0]), *numbers))
