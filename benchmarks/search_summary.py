"""What replays say of the default search: its reach on several tables, where peers are better, and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from scipy.stats import mannwhitneyu

__all__ = [
    "Comparison",
    "Replayed",
    "compare",
    "draw_regret",
    "holm",
    "median_interval",
    "summarise",
    "summary_table",
    "worse_table",
]

SIGNIFICANT = 0.05
DRAWS = 2000
"""Bootstrap samples of an interval."""


@dataclass(frozen=True)
class Replayed:
    """The searches on one table."""

    table: str
    budget: int
    """Epochs."""
    regrets: Mapping[str, NDArray[np.float64]]
    """By contender, (seeds, 4) at the quarters of the budget."""
    reached: Mapping[str, NDArray[np.float64]]
    """By contender, (seeds,) epochs until random search's end is reached; inf if never. Empty without random search."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The default against a rival at a quarter of the budget on a table."""

    table: str
    share: float
    rival: str
    p: float
    """Two-sided Mann-Whitney, Holm-corrected over the rivals."""
    difference: float
    """Mean regret of the default minus the rival's; above 0 if the default is worse."""
    low: float
    """Of the 95 % bootstrap interval of the difference."""
    high: float
    tends_higher: bool
    """Whether the default's regret is the higher one in most pairs of searches."""

    @property
    def is_worse(self) -> bool:
        """Whether the default is significantly worse."""
        return self.p < SIGNIFICANT and self.tends_higher


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values (Holm 1979) in the order given."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def compare(replayed: Replayed, default: str, rivals: Sequence[str], shares: Sequence[float]) -> list[Comparison]:
    """The default against each rival that was replayed, at each quarter."""
    rivals = [name for name in rivals if name in replayed.regrets]
    comparisons = []
    for index, share in enumerate(shares):
        own = replayed.regrets[default][:, index]
        others = [replayed.regrets[name][:, index] for name in rivals]
        tests = [_mann_whitney(own, other) for other in others]
        for rival, other, p, (_, tends_higher) in zip(rivals, others, holm([p for p, _ in tests]), tests, strict=True):
            low, high = _difference_interval(own, other)
            difference = float(np.nanmean(own) - np.nanmean(other))
            comparisons.append(Comparison(replayed.table, share, rival, p, difference, low, high, tends_higher))
    return comparisons


def _mann_whitney(own: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, bool]:
    """The p value, and whether `own` is the higher one in most pairs. Nothing found is the worst regret."""
    own, other = (np.where(np.isnan(values), math.inf, values) for values in (own, other))
    if len({*own, *other}) == 1:
        return 1.0, False
    statistic, p = mannwhitneyu(own, other)
    return float(p), bool(statistic > own.size * other.size / 2)


def _difference_interval(own: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    means = [np.nanmean(rng.choice(values, (DRAWS, values.size)), axis=1) for values in (own, other)]
    low, high = np.nanquantile(means[0] - means[1], [0.025, 0.975])
    return float(low), float(high)


def median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median; values may be inf."""
    medians = np.median(np.random.default_rng(1).choice(values, (DRAWS, values.size)), axis=1)
    return float(np.quantile(medians, 0.025, method="lower")), float(np.quantile(medians, 0.975, method="higher"))


def summarise(
    tables: Sequence[Replayed],
    default: str,
    families: Mapping[str, Sequence[str]],
    shares: Sequence[float],
) -> dict[str, Any]:
    """The summary over the tables, for JSON: shares of the budget, None for never.

    Args:
        families: rivals by what they are called together; p values are corrected within a family.
        shares: of the budget, at which regrets are compared.
    """
    reaches = {table.table: _reach(table, default) for table in tables if default in table.reached}
    numbers = list(reaches.values())
    summary: dict[str, Any] = {
        "default": default,
        "tables": len(tables),
        "reach": {
            table.table: [_finite(_reach(table, default)), *_reach_interval(table, default)]
            for table in tables
            if table.table in reaches
        },
        "median_reach": _finite(float(np.median(numbers))) if numbers else None,
        "worst_reach": _finite(max(numbers)) if numbers else None,
        "end_regret_0": sum(float(np.median(table.regrets[default][:, -1])) < 1e-9 for table in tables),
        "rivals": {},
    }
    for family, rivals in families.items():
        if not any(name in table.regrets for table in tables for name in rivals):
            continue
        best = {table.table: best_reach(table, rivals) for table in tables if table.table in reaches}
        found = [comparison for table in tables for comparison in compare(table, default, rivals, shares)]
        worse = [comparison for comparison in found if comparison.is_worse]
        summary["rivals"][family] = {
            "before_the_best": sum(reaches[name] < reach for name, (_, reach) in best.items()),
            "best_reach": {name: [rival, _finite(reach)] for name, (rival, reach) in best.items()},
            "tables_worse": len({comparison.table for comparison in worse}),
            "worse": [
                {
                    "table": comparison.table,
                    "share": comparison.share,
                    "rival": comparison.rival,
                    "p": comparison.p,
                    "difference": comparison.difference,
                    "interval": [comparison.low, comparison.high],
                }
                for comparison in worse
            ],
        }
    return summary


def best_reach(table: Replayed, rivals: Sequence[str]) -> tuple[str, float]:
    """The rival that reaches random search's end first, and after what share of the budget."""
    return min(((name, _reach(table, name)) for name in rivals if name in table.reached), key=lambda found: found[1],
               default=("", math.inf))  # fmt: skip


def _reach(table: Replayed, name: str) -> float:
    return float(np.median(table.reached[name])) / table.budget


def _reach_interval(table: Replayed, name: str) -> list[float | None]:
    return [_finite(bound / table.budget) for bound in median_interval(table.reached[name])]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def summary_table(summary: Mapping[str, Any]) -> Table:
    """A row for each table, then one for all."""
    families = summary["rivals"]
    headings = ("table", "reach (95 % interval)", *(f"best of the {family}" for family in families))
    title = f"{summary['default']}: share of the budget to random search's end"
    rendered = Table(*headings, box=box.MARKDOWN, title=title)
    for name, (reach, low, high) in summary["reach"].items():
        best = [families[family]["best_reach"][name] for family in families]
        cells = [f"{rival or 'none'} {_percent(share)}" for rival, share in best]
        rendered.add_row(name, f"{_percent(reach)} ({_percent(low)} to {_percent(high)})", *cells)
    if summary["reach"]:
        n_tables = len(summary["reach"])
        worst, median = _percent(summary["worst_reach"]), _percent(summary["median_reach"])
        ahead = [f"default is before it on {found['before_the_best']} of {n_tables}" for found in families.values()]
        rendered.add_row("all", f"median {median}, worst {worst}", *ahead)
    rendered.caption = f"median end regret 0 on {summary['end_regret_0']} of {summary['tables']} tables"
    return rendered


def _percent(share: float | None) -> str:
    return "never" if share is None else f"{share:.0%}"


def worse_table(summary: Mapping[str, Any]) -> Table:
    """Where the default is significantly worse than a rival."""
    title = (
        f"{summary['default']} is significantly worse: Mann-Whitney, Holm-corrected over the rivals, p < {SIGNIFICANT}"
    )
    headings = ("table", "after", "than", "difference of mean regrets (95 % interval)", "p")
    rendered = Table(*headings, box=box.MARKDOWN, title=title)
    for family, found in summary["rivals"].items():
        for row in found["worse"]:
            low, high = row["interval"]
            interval = f"{row['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
            rendered.add_row(row["table"], f"{row['share']:.0%}", row["rival"], interval, f"{row['p']:.2g}")
        rendered.add_row(f"{family}: on {found['tables_worse']} of {summary['tables']} tables", "", "", "", "")
    return rendered


def draw_regret(path: Path, regrets: Mapping[str, NDArray[np.float64]], note: str) -> None:
    """Writes a PNG: the median of each contender's regret against epochs, with a band from quartile to quartile.

    Args:
        regrets: by contender, (seeds, epochs); nan before anything was found.
        note: the line under the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes = figure.add_subplot()
    top = 0.0
    for name, regret in regrets.items():
        low, median, high = np.nanquantile(regret, [0.25, 0.5, 0.75], axis=0)
        epochs = np.arange(1, regret.shape[1] + 1)
        top = max(top, float(high[len(epochs) // 8]))
        (line,) = axes.plot(epochs, median, label=name, linewidth=1.6)
        axes.fill_between(epochs, low, high, color=line.get_color(), alpha=0.09, linewidth=0)
    axes.set_xlabel("epochs trained, all trials together")
    axes.set_ylabel("regret in val_macro_f1 (best of the table minus best found)")
    axes.set_xlim(1, None)
    axes.set_ylim(0, top or None)  # cut above: the first epochs, where all are as bad, would take up most of it
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.supxlabel(note, fontsize=8)
    figure.savefig(path, dpi=110)
