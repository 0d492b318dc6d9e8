"""The figures of a trial, in one place to import from.

Each is computed into a small record first, then drawn with matplotlib's object API onto its own canvas, so
figures can be drawn in any thread and leave no global state behind.
"""

from __future__ import annotations

from galaxy_exp.report.confusion import plot_confusion
from galaxy_exp.report.learning_curves import plot_learning_curves
from galaxy_exp.report.mistakes import plot_mistakes_gallery

__all__ = ["plot_confusion", "plot_learning_curves", "plot_mistakes_gallery"]
