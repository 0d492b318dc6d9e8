"""Hyperparameters as axes of a figure, and the trials that can be compared along them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.space.domains import quantile_of
from galaxy_exp.space.search_space import Hyperparameter, Kind, SearchSpace

if TYPE_CHECKING:
    from galaxy_exp.journal.record import SweepRecord, TrialRecord

__all__ = ["Axis", "axes_of", "comparable_trials", "is_wide", "offset", "score_of", "scored_trials", "tick_values"]


@dataclass(frozen=True, slots=True)
class Axis:
    """One hyperparameter that varied between the trials of a sweep."""

    name: str
    choices: tuple[HyperparameterValue, ...] = ()
    """All its values in order; empty for a range."""
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    is_whole: bool = False
    """Whether a range has whole numbers only."""
    is_reversed: bool = False
    """Whether a range is logarithmic as measured from its upper end (KerasTuner's reverse_log)."""

    @property
    def scale(self) -> str:
        """In KerasTuner's terms."""
        return "reverse_log" if self.is_reversed else "log" if self.is_log else "linear"

    def holds(self, value: HyperparameterValue) -> bool:
        """Whether the value is on this axis."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high

    def position(self, value: HyperparameterValue) -> float:
        """From 0 to 1: the value's place among the choices, or its share of the range."""
        if self.choices:
            return self.choices.index(value) / max(1, len(self.choices) - 1)
        if self.low == self.high:
            return float(value) - self.low
        return quantile_of(float(value), self.low, self.high, self.scale)


def axes_of(record: SweepRecord, trials: Sequence[TrialRecord]) -> list[Axis]:
    """The hyperparameters of the sweep's space that took at least two values in these trials, as declared.

    A name is left out if its declarations cannot be joined, as those of a range and of a number outside it: no axis
    has all its values.
    """
    merged: dict[str, Axis] = {}
    for axis in _declared_axes(record):
        merged[axis.name] = _join(merged[axis.name], axis) if axis.name in merged else axis
    taken = {name: [trial.values[name] for trial in trials if name in trial.values] for name in merged}
    varied = (axis for axis in merged.values() if len(set(map(repr, taken[axis.name]))) > 1)
    return [axis for axis in varied if all(map(axis.holds, taken[axis.name]))]


def comparable_trials(record: SweepRecord) -> list[TrialRecord]:
    """The trials of `scored_trials`."""
    return [trial for trial, _ in scored_trials(record)]


def scored_trials(record: SweepRecord) -> list[tuple[TrialRecord, float]]:
    """Finished trials of the search whose configuration is in the space, by number, each with its `score_of`.

    A trial may continue in another thread and then has no score, so each is read once.

    The baseline may be outside: then it also differs from all others in what the sweep file fixes, and says nothing
    about what was searched.
    """
    axes = _declared_axes(record)
    inside = [trial for trial in record.searched if trial.result is not None and _is_inside(trial.values, axes)]
    scores = [(trial, score_of(record, trial)) for trial in inside]
    return [(trial, score) for trial, score in scores if score is not None]


def score_of(record: SweepRecord, trial: TrialRecord) -> float | None:
    """The first objective at the best epoch; None for a trial without a model, or a value that is not finite."""
    value = trial.objective_value(record.objective)
    return value if value is not None and math.isfinite(value) else None


def offset(number: int) -> float:
    """-0.5 to 0.5, different for neighbouring trials, to draw trials with the same value beside each other.

    Multiples of the golden ratio, modulo 1, fill the unit interval evenly.
    """
    return (number * (math.sqrt(5) - 1) / 2) % 1.0 - 0.5


def is_wide(values: Collection[float]) -> bool:
    """Whether positive values span so much that a linear axis would hide the small ones.

    Not if the largest is between 0.1 and 1: that is a fraction, such as an accuracy, whose small values say little.
    """
    if not values or min(values) <= 0 or 0.1 < max(values) <= 1:
        return False
    return max(values) / min(values) > 30


def tick_values(axis: Axis) -> list[HyperparameterValue]:
    """Values to mark: all choices, or some round numbers of a range."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if axis.choices:
        return list(axis.choices)
    if axis.scale == "linear":
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10], integer=axis.is_whole).tick_values(axis.low, axis.high)
    else:
        is_long = math.log10(axis.high / axis.low) > 2.5
        ticks = LogLocator(subs=(1.0,) if is_long else (1.0, 2.0, 5.0), numticks=99).tick_values(axis.low, axis.high)
        ticks = [tick for tick in ticks if f"{tick:.6e}"[:8] in ("1.000000", "2.000000", "5.000000")]
    if axis.is_reversed:
        ticks = [axis.low + axis.high - tick for tick in reversed(ticks)]
    found = [float(f"{tick:.12g}") for tick in ticks]
    inside = [tick for tick in found if axis.low <= tick <= axis.high] or [axis.low, axis.high]
    return list(dict.fromkeys(map(round, inside))) if axis.is_whole else list(inside)


def _declared_axes(record: SweepRecord) -> list[Axis]:
    return [
        Axis(each.name, each.listed, *_ends(each), each.scale == "log", each.kind is Kind.INT,
             each.scale == "reverse_log")
        for each in SearchSpace.from_config(record.started.space).hyperparameters
    ]  # fmt: skip


def _ends(declared: Hyperparameter) -> tuple[float, float]:
    """The ends of a range, or the value beyond them that the powers of a step reach by rounding."""
    ends = [declared.low, declared.high]
    if declared.step is not None and declared.scale != "linear":
        ends += [float(declared.domain.from_unit(quantile)) for quantile in (0.0, 1.0)]
    return min(ends), max(ends)


def _join(first: Axis, second: Axis) -> Axis:
    """One axis for a name that is declared under several conditions; a range and choices leave the range."""
    if first.choices and second.choices:
        return Axis(first.name, tuple(dict.fromkeys([*first.choices, *second.choices])))
    if first.choices or second.choices:
        return second if first.choices else first
    whole, log = first.is_whole and second.is_whole, first.is_log and second.is_log
    is_reversed = first.is_reversed and second.is_reversed
    return Axis(first.name, (), min(first.low, second.low), max(first.high, second.high), log, whole, is_reversed)


def _is_inside(values: Mapping[str, HyperparameterValue], axes: Sequence[Axis]) -> bool:
    declared = {axis.name for axis in axes}
    held = {axis.name for axis in axes if axis.name in values and axis.holds(values[axis.name])}
    return declared & set(values) <= held
