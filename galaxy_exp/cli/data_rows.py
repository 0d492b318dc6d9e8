"""A data set's description as rows to print."""

from __future__ import annotations

from typing import Any

from galaxy_exp.data.summary import DataSummary

__all__ = ["class_rows", "describe_data"]


def class_rows(summary: DataSummary) -> list[dict[str, Any]]:
    """One row per class and one for all: `label`, `class`, images by part, and all of them."""
    rows: list[dict[str, Any]] = [
        {"label": label, "class": name, **counts} for label, (name, counts) in enumerate(summary.counts.items())
    ]
    columns = next(iter(summary.counts.values()))
    total = {column: sum(counts[column] for counts in summary.counts.values()) for column in columns}
    return [*rows, {"label": None, "class": "all", **total}]


def describe_data(summary: DataSummary) -> dict[str, Any]:
    """Everything but the counts; keeps its keys whatever the data."""
    height, width, _ = summary.image_shape
    return {
        "source": summary.source,
        "simulated": summary.simulated,
        "images": summary.n_images,
        "width": width,
        "height": height,
        "digest": summary.digest,
        "split_digest": summary.split_digest,
        "split": "your own" if summary.own_split else "by shares",
        "split_problem": summary.split_problem,
        "identical_to_another": summary.n_identical,
        "near_duplicates": summary.n_near,
        "channel_means": [round(value, 4) for value in summary.channel_means],
        "channel_deviations": [round(value, 4) for value in summary.channel_deviations],
        "preprocessing": summary.preprocessing.describe(),
        "understood": list(summary.notes),
        "skipped_files": len(summary.skipped),
        "skipped": list(summary.skipped),
        "other_files": summary.other_files,
    }
