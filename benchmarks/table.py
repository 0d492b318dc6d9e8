"""The comparison as a table: a row a figure, a column a contender, and ratios to the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

from benchmarks.measured import Measured

__all__ = ["ROWS", "Row", "build_table", "compute_ratio"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    key: str
    """In `Measured.figures`."""
    label: str
    better: Literal["less", "more"] | None = None
    """Which way the ratio counts; None for no ratio."""
    decimals: int = 0
    section_end: bool = False


ROWS = (
    Row("wall_seconds", "whole command, s", "less", 1),
    Row("cpu_seconds", "processor time of all its processes, s", "less", 1),
    Row("other_cpu_seconds", "processor time of other work meanwhile, s", decimals=1),
    Row("fits", "networks trained"),
    Row("epochs", "epochs trained"),
    Row("span_seconds", "first fit to last, s", "less", 1),
    Row("fit_seconds", "in epochs and validation, s", "less", 1),
    Row("beyond_fit_mean", "beyond the fit, s a trial, mean", "less", 2),
    Row("beyond_fit_median", "beyond the fit, s a trial, median", "less", 2),
    Row("outside_seconds", "before first and after last fit, s", "less", 1, section_end=True),
    Row("baseline_speed", "tutorial's network, images/s trained", "more"),
    Row("peak_process_mb", "peak memory, largest process, MiB", "less"),
    Row("peak_total_mb", "peak memory, all processes, MiB", "less", section_end=True),
    Row("val_accuracy", "best validation accuracy", decimals=3),
    Row("test_accuracy", "its held-out test accuracy", decimals=3),
    Row("test_macro_f1", "its held-out test macro-F1", decimals=3, section_end=True),
    Row("n_runs", "MLflow runs"),
    Row("n_nested", "  children of another"),
    Row("n_with_hyperparameters", "  with all tuned hyperparameters"),
    Row("n_with_mixed_curves", "  with curves of several fits mixed"),
    Row("n_with_artifacts", "  with artifacts"),
    Row("n_models", "logged models"),
)


def compute_ratio(row: Row, first: float | None, other: float | None) -> float | None:
    """How many times better `other` is; above 1 it is better. None without a direction or a value."""
    if row.better is None or not first or not other or first < 0 or other < 0:
        return None
    return first / other if row.better == "less" else other / first


def build_table(measured: Sequence[Measured], title: str) -> Table:
    """The first contender is the one compared with."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    for index, one in enumerate(measured):
        table.add_column(one.name, justify="right")
        if index:
            table.add_column("times better", justify="right")
    for row in ROWS:
        table.add_row(row.label, *_cells(row, [one.figures() for one in measured]), end_section=row.section_end)
    return table


def _cells(row: Row, figures: Sequence[dict[str, float | None]]) -> list[str]:
    first = figures[0][row.key]
    cells = [_format(first, row.decimals)]
    for other in figures[1:]:
        ratio = compute_ratio(row, first, other[row.key])
        cells += [_format(other[row.key], row.decimals), "" if ratio is None else f"{ratio:.3g}"]
    return cells


def _format(value: float | None, decimals: int) -> str:
    return "?" if value is None else f"{value:,.{decimals}f}"
