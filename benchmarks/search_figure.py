"""The figure of benchmarks/search.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_regret"]


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
