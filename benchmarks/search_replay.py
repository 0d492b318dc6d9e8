"""Replays a search on a table of real learning curves: what would have been found after so many epochs.

A searcher proposes a configuration; it gets the nearest one of the table that was not used before, and is told those
values instead of its own. The curve is then revealed an epoch at a time, and the searcher may stop it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras_tuner
import numpy as np
from numpy.typing import NDArray

from benchmarks.curves_table import Configuration, CurveTable

__all__ = [
    "OBJECTIVE",
    "Job",
    "Searcher",
    "Snap",
    "TableExhausted",
    "best_of_table",
    "epoch_seconds",
    "fill_values",
    "replay",
    "searched_space",
    "snapper",
]

OBJECTIVE = "val_macro_f1"

_PARAMETERS = keras_tuner.engine.hyperparameters


class TableExhausted(Exception):
    """Every configuration of the table was used."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker trains: a row of the table, from an epoch to another."""

    key: Any
    """The searcher's own name for it."""
    row: int
    first: int
    """Epochs trained before, which cost nothing again: above 0 where Hyperband goes on with a promoted network."""
    last: int


Snap = Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]
"""From proposed values to the row that stands for them, which is used from then on, and the row's own values."""


class Searcher(Protocol):
    """One search; all objectives are to be maximised."""

    def ask(self, snap: Snap) -> Job | None:
        """The next job, or None while there is nothing to start."""
        ...

    def report(self, job: Job, epoch: int, value: float) -> bool:
        """Whether the job goes on after this epoch, which counts from 1 and from the network's beginning."""
        ...

    def end(self, job: Job, curve: Sequence[float], failed: bool) -> None:
        """The job ended; `curve` holds its own epochs only, all of them unless it was stopped or failed."""
        ...


def fill_values(space: keras_tuner.HyperParameters, value_of: Callable[[Any], Any]) -> dict[str, Any]:
    """The values of the active hyperparameters, from a function of each, in the order of the space."""
    values: dict[str, Any] = {}
    for entry in space.space:
        if all(values.get(condition.name) in condition.values for condition in entry.conditions):
            values[entry.name] = value_of(entry)
    return values


def searched_space(table: CurveTable) -> keras_tuner.HyperParameters:
    """The hyperparameters of the table that vary.

    Without the fixed ones, which KerasTuner's BayesianOptimization would count as dimensions: it starts with three
    random points for each.
    """
    # KerasTuner replaces parts of the dictionary that it is given
    declared = keras_tuner.HyperParameters.from_config(copy.deepcopy(table.task["space"]))
    space = keras_tuner.HyperParameters()
    space.merge([entry for entry in declared.space if not isinstance(entry, _PARAMETERS.Fixed)])
    return space


def snapper(table: CurveTable, space: keras_tuner.HyperParameters) -> Snap:
    """A fresh `Snap`.

    The distance is the sum over the hyperparameters that are active in both configurations: for numbers the
    difference as a share of the range, on the hyperparameter's own scale; for words and true/false 0 or 1 (Gower's
    terms). An inactive one adds nothing, since the difference of its parent counts already.
    """
    names = [entry.name for entry in space.space]
    positions = np.array([_positions(space, row.values) for row in table.rows])
    categorical = np.array([_is_categorical(entry) for entry in space.space])
    free = np.ones(len(table.rows), bool)

    def snap(values: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        if not free.any():
            raise TableExhausted
        difference = np.abs(positions - _positions(space, values))
        difference[:, categorical] = difference[:, categorical] > 0
        distance = np.nansum(np.where(np.isnan(positions), np.nan, difference), axis=1)
        row = int(np.flatnonzero(free)[np.argmin(distance[free])])
        free[row] = False
        return row, {name: table.rows[row].values[name] for name in names if name in table.rows[row].values}

    return snap


def _positions(space: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> NDArray[np.float64]:
    """Where each value lies in its range, 0 to 1; the index of a category; nan for what is inactive."""
    return np.array([_position(e, values[e.name]) if e.name in values else math.nan for e in space.space])


def _position(entry: Any, value: Any) -> float:
    if isinstance(entry, _PARAMETERS.Boolean):
        return float(value)
    if isinstance(entry, _PARAMETERS.Choice):
        index = list(entry.values).index(value)
        return index / (len(entry.values) - 1) if entry.ordered else float(index)
    scale = math.log if entry.sampling == "log" else float
    return (scale(value) - scale(entry.min_value)) / (scale(entry.max_value) - scale(entry.min_value))


def _is_categorical(entry: Any) -> bool:
    return isinstance(entry, _PARAMETERS.Boolean) or (isinstance(entry, _PARAMETERS.Choice) and not entry.ordered)


def epoch_seconds(table: CurveTable, row: int, epochs: int | None = None) -> float:
    """Mean seconds of an epoch of a configuration, over its first epochs or all."""
    return float(np.mean(table.rows[row].curves["epoch_seconds"][:epochs]))


def _relative_costs(table: CurveTable) -> NDArray[np.float64]:
    """What an epoch of each configuration costs, 1 on average."""
    costs = np.array([epoch_seconds(table, row) for row in range(len(table.rows))])
    return np.asarray(costs / costs.mean())


def best_of_table(table: CurveTable) -> float:
    """The highest value that any configuration reaches at any epoch."""
    return max(max(row.curves[OBJECTIVE]) for row in table.rows if row.state == "completed")


@dataclass(slots=True)
class _Slot:
    """A worker and what it is at."""

    job: Job | None = None
    epoch: int = 0


def replay(
    table: CurveTable,
    searcher: Searcher,
    space: keras_tuner.HyperParameters,
    budget: int,
    workers: int = 1,
    *,
    in_seconds: bool = False,
) -> NDArray[np.float64]:
    """Runs a search until the budget is spent.

    All workers are equally fast and an epoch takes the same time whatever the network. A configuration that diverges
    costs the epoch in which it does, and nothing of it counts as found.

    Args:
        budget: epochs of all workers together.
        in_seconds: an epoch of a network takes what it took, where the mean over the table is one epoch of the budget;
            for one worker.

    Returns:
        The best value found so far after each epoch spent, float64 (budget,); nan before the first.
    """
    snap = snapper(table, space)
    found = np.full(budget, math.nan)
    slots = [_Slot() for _ in range(workers)]
    costs = _relative_costs(table) if in_seconds else np.ones(len(table.rows))
    best, spent = math.nan, 0.0
    while spent < budget:
        idle, working = 0, slots[: math.ceil(budget - spent)]
        for slot in working:
            if slot.job is None and not _start(slot, searcher, snap):
                idle += 1
                continue
            spent += costs[slot.job.row]  # type: ignore[union-attr]
            value = _train_one_epoch(slot, searcher, table)
            best = value if math.isnan(best) else max(best, value) if not math.isnan(value) else best
            found[math.ceil(spent) - 1 :] = best
        if idle == len(working):
            break  # nothing is left to try
    return found


def _start(slot: _Slot, searcher: Searcher, snap: Snap) -> bool:
    try:
        slot.job = searcher.ask(snap)
    except TableExhausted:
        slot.job = None
    slot.epoch = slot.job.first if slot.job is not None else 0
    return slot.job is not None


def _train_one_epoch(slot: _Slot, searcher: Searcher, table: CurveTable) -> float:
    """Advances the slot by an epoch and returns what counts as found: nan in a configuration that diverges."""
    job = slot.job
    assert job is not None
    row: Configuration = table.rows[job.row]
    curve = row.curves[OBJECTIVE]
    slot.epoch += 1
    if slot.epoch > len(curve):
        searcher.end(job, curve[job.first :], failed=True)
        slot.job = None
        return math.nan
    goes_on = searcher.report(job, slot.epoch, curve[slot.epoch - 1])
    if not goes_on or slot.epoch == job.last:
        searcher.end(job, curve[job.first : slot.epoch], failed=False)
        slot.job = None
    return curve[slot.epoch - 1] if row.state == "completed" else math.nan
