"""Three functions with known minima, and how low a search gets on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
import numpy as np

from benchmarks.search_replay import Searcher

__all__ = ["FUNCTIONS", "Function", "minimise"]

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Function:
    """Something to minimise."""

    declare: Callable[[keras_tuner.HyperParameters], None]
    """Declares the arguments."""
    evaluate: Callable[[Values], float]
    minimum: float
    decimals: int = 2
    """For tables."""

    @property
    def space(self) -> keras_tuner.HyperParameters:
        """All arguments, conditional ones included."""
        space = keras_tuner.HyperParameters()
        self.declare(space)
        return space


def minimise(searcher: Searcher, function: Function, evaluations: int) -> float:
    """The lowest value after so many evaluations. The searcher maximises, so it is told the negative."""
    lowest = math.inf
    asked: list[dict[str, Any]] = []

    def record(values: Values) -> tuple[int, dict[str, Any]]:
        asked.append(dict(values))
        return len(asked) - 1, asked[-1]

    for _ in range(evaluations):
        job = searcher.ask(record)
        if job is None:
            break
        value = function.evaluate(asked[job.row])
        searcher.report(job, 1, -value)
        searcher.end(job, [-value], failed=False)
        lowest = min(lowest, value)
    return lowest


def _declare_branin(hp: keras_tuner.HyperParameters) -> None:
    hp.Float("x1", -5.0, 10.0)
    hp.Float("x2", 0.0, 15.0)


def _branin(values: Values) -> float:
    x1, x2 = float(values["x1"]), float(values["x2"])
    valley = x2 - 5.1 / (4 * math.pi**2) * x1**2 + 5 / math.pi * x1 - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x1) + 10


_HARTMANN_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_HARTMANN_SCALES = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_HARTMANN_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
"""Dixon & Szegö (1978), Towards Global Optimisation 2."""


def _declare_hartmann(hp: keras_tuner.HyperParameters) -> None:
    for number in range(1, 7):
        hp.Float(f"x{number}", 0.0, 1.0)


def _hartmann(values: Values) -> float:
    point = np.array([values[f"x{number}"] for number in range(1, 7)])
    distances = (_HARTMANN_SCALES * (point - _HARTMANN_CENTRES) ** 2).sum(axis=1)
    return -float(_HARTMANN_WEIGHTS @ np.exp(-distances))


def _declare_mixed(hp: keras_tuner.HyperParameters) -> None:
    hp.Choice("kind", ["forest", "network", "nearest"])
    hp.Float("rate", 1e-5, 1.0, sampling="log")
    hp.Boolean("normalise")
    with hp.conditional_scope("kind", ["network"]):
        hp.Int("layers", 1, 6)
        hp.Choice("width", [16, 32, 64, 128, 256])
        hp.Choice("activation", ["relu", "tanh", "gelu"])
        hp.Float("dropout", 0.0, 0.8, step=0.1)
    with hp.conditional_scope("kind", ["forest"]):
        hp.Int("depth", 1, 20)
        hp.Float("share", 0.1, 1.0)
    with hp.conditional_scope("kind", ["nearest"]):
        hp.Int("neighbours", 1, 50, sampling="log")


def _mixed(values: Values) -> float:
    """A made-up validation loss. Its minimum, 0, is a normalised network of 4 layers of 128 at a rate of 0.001."""
    loss: float = 0.0 if values["normalise"] else 0.15
    if values["kind"] == "forest":
        rate = 0.02 * (math.log10(values["rate"]) + 2) ** 2
        return float(loss + 0.25 + rate + 0.002 * (values["depth"] - 12) ** 2 + 0.3 * (values["share"] - 0.6) ** 2)
    if values["kind"] == "nearest":
        return loss + 0.4 + 0.1 * abs(math.log10(values["neighbours"]) - 1)
    return float(
        loss
        + 0.15 * (math.log10(values["rate"]) + 3) ** 2
        + 0.04 * abs(values["layers"] - 4)
        + 0.06 * abs(math.log2(values["width"]) - 7)
        + {"relu": 0.05, "tanh": 0.12, "gelu": 0.0}[values["activation"]]
        + 0.5 * (values["dropout"] - 0.3) ** 2
    )


FUNCTIONS: dict[str, Function] = {
    "Branin": Function(_declare_branin, _branin, 0.397887, 3),
    "Hartmann6": Function(_declare_hartmann, _hartmann, -3.32237),
    "mixed": Function(_declare_mixed, _mixed, 0.0),
}
