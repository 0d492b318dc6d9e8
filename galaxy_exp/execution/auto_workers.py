"""`execution.workers: auto`: how many workers train fastest together on the cores of this machine, by trying."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from galaxy_exp.execution.shares import threads_each
from galaxy_exp.execution.team import Memory, NotMeasuredError
from galaxy_exp.records import Throughput, TrialSpec

__all__ = ["Contest", "Outcome", "Split", "Team", "choose", "explain", "possible_splits"]

TOLERANCE = 0.05
"""So much slower than the fastest is taken for as fast. Of these the fewest workers are best: they propose with more
results known, and one alone trains the same proposals in every run."""

ROUNDS = 3
"""Windows that two teams are compared by."""

_SHARE_OF_MEMORY = 0.8
"""The rest is for the driver and the system."""


@dataclass(frozen=True, slots=True)
class Split:
    """One way to share the cores."""

    workers: int
    threads: int
    """Of each."""


class Team(Protocol):
    """The workers of one split; see `ProcessTeam`."""

    def start(self) -> None: ...

    def load(self, spec: TrialSpec) -> Memory: ...

    def measure(self) -> float: ...

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured, with the fewest workers first, and why there is no more."""

    measured: tuple[Throughput, ...]
    note: str = ""
    """Empty if nothing stood in the way."""


def possible_splits(n_cores: int, threads: int | None = None) -> list[Split]:
    """1, 2, 4, ... workers up to one for each core, or for each `threads` cores."""
    most = max(1, n_cores // (threads or 1))
    numbers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [Split(number, threads or threads_each(n_cores, number)) for number in [*numbers, most]]


def choose(measured: Sequence[Throughput]) -> Throughput:
    """The fewest workers of those that are as fast as the fastest, within `TOLERANCE`."""
    enough = (1 - TOLERANCE) * max(each.images_per_second for each in measured)
    return min((each for each in measured if each.images_per_second >= enough), key=lambda each: each.workers)


def explain(outcome: Outcome) -> str:
    """The choice in one line that begins with the number."""
    if not outcome.measured:
        return f"1; {outcome.note}"
    chosen = choose(outcome.measured)
    others = [each for each in outcome.measured if each != chosen]
    other = others[0] if chosen.workers > 1 else max(others, key=lambda each: each.images_per_second)
    line = (
        f"{chosen.workers} of {_count(chosen.threads, 'thread')}{' each' if chosen.workers > 1 else ''}: "
        f"{chosen.images_per_second:.0f} images/s{' together' if chosen.workers > 1 else ''}, against "
        f"{other.images_per_second:.0f} with {_count(other.workers, 'worker')}"
    )
    if other.images_per_second > chosen.images_per_second:
        line += f", which is no more than {TOLERANCE:.0%} faster"
    return f"{line}; {outcome.note}" if outcome.note else line


class Contest:
    """Measures one split against the next as long as more workers are faster.

    Two teams at a time, in turns, so that what else the machine does hits both. The first two are started before there
    is a network to train, since that takes them a while.

    Args:
        splits: the fewest workers first; at least two.
        open_team: makes the team of a split, not started.
    """

    def __init__(self, splits: Sequence[Split], open_team: Callable[[Split], Team]) -> None:
        self._splits = splits
        self._open_team = open_team
        self._teams: dict[Split, Team] = {}

    def start(self) -> None:
        """Starts the first processes, without waiting."""
        for split in self._splits[:2]:
            self._team(split).start()

    def hold(self, spec: TrialSpec) -> Outcome:
        """Measures, and ends all teams."""
        try:
            return self._climb(spec)
        finally:
            self.close()

    def close(self) -> None:
        """Ends all teams; may be called twice."""
        while self._teams:
            self._teams.popitem()[1].end()

    def _climb(self, spec: TrialSpec) -> Outcome:
        measured: list[Throughput] = []
        slower = self._splits[0]
        try:
            memory = self._team(slower).load(spec)
        except NotMeasuredError as error:
            return Outcome((), f"its training could not be measured: {error}")
        for split in self._splits[1:]:
            # both teams are there at once, which leaves room for networks larger than this one
            if memory.of_each * (slower.workers + split.workers) > _SHARE_OF_MEMORY * memory.limit:
                return Outcome(tuple(measured), f"{split.workers} could need more memory than this machine has")
            try:
                memory = self._team(split).load(spec)
                before, now = self._compare(slower, split)
            except NotMeasuredError as error:
                return Outcome(tuple(measured), f"{split.workers} could not be measured: {error}")
            measured = [*(measured or [_throughput(slower, before)]), _throughput(split, now)]
            if now < before:
                break
            self._teams.pop(slower).end()
            slower = split
        return Outcome(tuple(measured))

    def _team(self, split: Split) -> Team:
        if split not in self._teams:
            self._teams[split] = self._open_team(split)
        return self._teams[split]

    def _compare(self, one: Split, other: Split) -> tuple[float, float]:
        """Images/s of two teams, in windows by turns; the median of each."""
        rates: dict[Split, list[float]] = {one: [], other: []}
        for number in range(ROUNDS):
            for split in (one, other) if number % 2 == 0 else (other, one):
                rates[split].append(self._teams[split].measure())
        return statistics.median(rates[one]), statistics.median(rates[other])


def _throughput(split: Split, images_per_second: float) -> Throughput:
    return Throughput(split.workers, split.threads, images_per_second)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
