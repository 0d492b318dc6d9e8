"""The cost of a sweep, estimated before it runs."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from galaxy_exp.config import SweepConfig
from galaxy_exp.config.sweep import ExecutionConfig
from galaxy_exp.records import Decision, Timing
from galaxy_exp.search.schedulers import Scheduler, build_scheduler
from galaxy_exp.seeding import derive_seed

__all__ = ["Forecast", "forecast_epochs", "forecast_sweep"]

_SIMULATED_TRIALS = 60
"""Number of simulated trials; longer sweeps are assumed to continue like the last half of them."""
_REPEATS = 5


class _Simulated(NamedTuple):
    """A simulated sweep."""

    epochs: float
    attempts: float
    """Starts of trials, new and paused ones."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The estimated cost; ranges are (least, most)."""

    trials: int
    """Trials of the search."""
    epochs: tuple[int, int]
    """Epochs of these trials."""
    most_epochs: int
    """Epochs of these trials without early stopping."""
    finalist_trials: int
    """Trials that train finalists again."""
    finalist_epochs: int
    hours: tuple[float, float] | None
    """Hours of training, finalists included; None without timings."""
    notes: tuple[str, ...]
    """How the ranges were estimated, and whether the sweep's limits will be reached, a line each."""


def forecast_sweep(
    config: SweepConfig, n_predetermined: int, n_configurations: int | None, timings: Sequence[Timing]
) -> Forecast:
    """The cost of the sweep if nothing fails.

    Args:
        n_predetermined: trials that are not proposed: the baseline and enqueued configurations.
        n_configurations: those of the space that are not predetermined; None if it is infinite.
        timings: of the first trials, from trial 0 on; may be empty.
    """
    search, epochs = config.search, config.training.epochs
    possible = math.inf if n_configurations is None else n_configurations * search.executions + n_predetermined
    trials = int(min(search.max_trials, possible))
    simulated = _simulate_sweeps(config, trials)
    stopped = _epochs_of(simulated)
    finalists = min(config.registry.finalists, trials) * config.registry.seeds
    notes = [_explain(search.scheduler, stopped, trials * epochs)]
    hours = None
    if timings:
        searching = _hours(simulated, trials, epochs, timings)
        full = (each.start_seconds + each.once_seconds + epochs * each.epoch_seconds for each in timings[1:] or timings)
        again = finalists * statistics.fmean(full) / 3600
        hours = searching[0] + again, searching[1] + again
        notes += [*_sharing(config.execution), *_limits(config, trials, stopped, searching)]
    else:
        notes += _limits(config, trials, stopped, None)
    return Forecast(trials, stopped, trials * epochs, finalists, finalists * epochs, hours, tuple(notes))


def forecast_epochs(config: SweepConfig, trials: int) -> tuple[int, int]:
    """The epochs of trials with the sweep's scheduler, on simulated learning curves.

    The curves rise to a random height, with a little noise. The first number is for trials in random order of quality;
    the second for a search that learns, so that later trials tend to be better and train longer. Each is the
    median of five simulated sweeps.
    """
    return _epochs_of(_simulate_sweeps(config, trials))


def _epochs_of(simulated: Sequence[_Simulated]) -> tuple[int, int]:
    found = [round(each.epochs) for each in simulated]
    return min(found), max(found)


def _simulate_sweeps(config: SweepConfig, trials: int) -> list[_Simulated]:
    """With trials in random order, and with a search that learns."""
    scheduler = build_scheduler(config.search, config.training.epochs)
    simulated = []
    for learning in (0.0, 0.5):
        repeats = [_simulate(config, scheduler, trials, learning, repeat) for repeat in range(_REPEATS)]
        epochs, attempts = (statistics.median(each) for each in zip(*repeats, strict=True))
        simulated.append(_Simulated(epochs, attempts))
    return simulated


def _simulate(
    config: SweepConfig, scheduler: Scheduler, trials: int, learning: float, repeat: int
) -> tuple[float, float]:
    """The epochs and the attempts of a sweep with one worker."""
    random_numbers = random.Random(derive_seed("forecast", str(learning), repeat))
    simulated = min(trials, _SIMULATED_TRIALS)
    heights: list[float] = []
    curves: dict[int, list[float]] = {}
    paused: set[int] = set()
    attempts: Counter[int] = Counter()
    while True:
        number = scheduler.choose(curves, sorted(paused), can_start_new=len(heights) < simulated) if paused else None
        if number is None:
            if len(heights) == simulated:
                break
            number = len(heights)
            heights.append((1 - learning) * random_numbers.random() + learning * number / simulated)
            curves[number] = []
        paused.discard(number)
        attempts[number] += 1
        if _train(config, scheduler, number, curves, paused, heights[number], random_numbers) is Decision.PAUSE:
            paused.add(number)
    lengths = [len(curve) for curve in curves.values()]
    return _extend(lengths, trials), _extend([attempts[number] for number in curves], trials)


def _extend(counts: Sequence[int], trials: int) -> float:
    """The sum over all trials, if the others are like the last half of the simulated ones."""
    return sum(counts) + (trials - len(counts)) * statistics.fmean(counts[len(counts) // 2 :] or [0])


def _train(
    config: SweepConfig,
    scheduler: Scheduler,
    number: int,
    curves: dict[int, list[float]],
    paused: set[int],
    height: float,
    random_numbers: random.Random,
) -> Decision:
    """Extends the curve of a trial until it is paused or stopped, or complete; returns the last decision."""
    search, epochs = config.search, config.training.epochs
    sign = 1.0 if search.objective_record.direction == "max" else -1.0
    is_spared = search.baseline and number == 0
    for epoch in range(len(curves[number]) + 1, epochs + 1):
        rise = 2.0 ** (-5.0 * epoch / epochs)
        curves[number].append(sign * (height - 0.5 * rise + random_numbers.gauss(0.0, 0.01)))
        if epoch < epochs and not is_spared:
            decision = scheduler.decide(number, curves, sorted(paused))
            if decision is not Decision.CONTINUE:
                return decision
    return Decision.CONTINUE


def _hours(simulated: Sequence[_Simulated], trials: int, epochs: int, timings: Sequence[Timing]) -> tuple[float, float]:
    """The first trial runs all its epochs, the others take the mean of the timed ones; a paused one starts again."""
    first, rest = timings[0], timings[1:] or timings[:1]
    epoch = statistics.fmean(timing.epoch_seconds for timing in rest)
    start = statistics.fmean(timing.start_seconds for timing in rest)
    once = statistics.fmean(timing.once_seconds for timing in rest)
    fixed = first.start_seconds + first.once_seconds + epochs * first.epoch_seconds + (trials - 1) * once
    fixed += sum(timing.shared_seconds for timing in timings)
    found = [fixed + (each.attempts - 1) * start + max(0.0, each.epochs - epochs) * epoch for each in simulated]
    return min(found) / 3600, max(found) / 3600


def _explain(scheduler: str, stopped: tuple[int, int], most: int) -> str:
    if scheduler == "none" or stopped == (most, most):
        return "every trial runs all its epochs"
    return (
        f"range: {scheduler} on simulated learning curves, from trials in random order to ones that keep getting "
        f"better; never more than {most:,} epochs"
    )


def _sharing(execution: ExecutionConfig) -> list[str]:
    """What several workers change about hours that were timed with one."""
    if execution.scheduler or execution.scheduler_file or execution.cluster:
        workers = f"{execution.workers} workers" if execution.workers else "n workers"
        share = execution.workers or "n"
        return [f"timed on this machine; {workers} of its speed take 1/{share} of that, at least the longest trial"]
    if execution.workers == "auto":
        return ["timed with one worker; the sweep measures at its start how many workers train fastest"]
    if execution.workers not in (None, 1):
        n = execution.workers
        return [f"timed with one worker; {n} workers share this machine's processors and take more than 1/{n} of it"]
    return []


def _limits(config: SweepConfig, trials: int, epochs: tuple[int, int], hours: tuple[float, float] | None) -> list[str]:
    search = config.search
    lines = []
    if search.max_epochs is not None:
        lines.append(_against("max_epochs", search.max_epochs, epochs, trials))
    if search.max_hours is not None and hours is not None:
        lines.append(_against("max_hours", search.max_hours, hours, trials))
    elif search.max_hours is not None:
        lines.append(f"max_hours {search.max_hours:g}: not timed, so there is no forecast")
    return lines


def _against(name: str, limit: float, found: tuple[float, float], trials: int) -> str:
    least, most = found
    if limit >= most:
        return f"{name} {limit:g}: will not be reached"
    first, last = (min(trials, max(1, math.ceil(trials * limit / total))) for total in (most, least))
    if limit >= least:
        return f"{name} {limit:g}: may end the sweep, from trial {first} of {trials} on"
    return (
        f"{name} {limit:g}: will end the sweep at trial {first if first == last else f'{first} to {last}'} of {trials}"
    )
