"""What an unfinished learning curve is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from galaxy_exp.records import Objective

__all__ = ["TREND", "best_key", "promise"]

TREND = 0.2
"""The share of its latest gain with which a curve is extrapolated.

Between 0.1 and 0.35 the best of twenty trials is found earliest on eight tables of learning curves; with 0 trials that
have stopped learning beat slower ones that still gain, and with 1 all goes to those that began badly (docs/search.md).
"""


def best_key(objective: Objective, curve: Sequence[float]) -> float:
    """The best value of a curve as a key that sorts the best first; infinite if there is none."""
    return min((objective.sort_key(value) for value in curve if value == value), default=math.inf)


def promise(objective: Objective, curve: Sequence[float], epoch: int, epochs: int) -> float:
    """What a trial is expected to have reached after its last epoch, as a key that sorts the best first.

    The best value so far, and a share (`TREND`) of what it would gain if it went on as in the latest doubling of its
    epochs, in proportion to the logarithm of the epochs.

    Args:
        curve: the objective after each epoch; may hold nan.
        epoch: only the first so many epochs are looked at, from 1.
        epochs: of the whole training.
    """
    earlier = (epoch + 1) // 2
    now, before = best_key(objective, curve[:epoch]), best_key(objective, curve[:earlier])
    if earlier == epoch or epoch >= epochs or not math.isfinite(before):
        return now
    return now - TREND * (before - now) * math.log(epochs / epoch) / math.log(epoch / earlier)
