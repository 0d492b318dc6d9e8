"""The curves that a pruner compares, kept up to date instead of being copied for every decision."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView

from galaxy_exp.journal.record import SweepRecord

__all__ = ["Curves"]


class Curves:
    """The objective after each epoch of every trial, of its current attempt only.

    Args:
        record: where it begins; from then on it has to be told what happens.
    """

    def __init__(self, record: SweepRecord) -> None:
        objective = record.objective.name
        self._curves = {trial.number: trial.curve(objective) for trial in record.trials.values()}

    def begin(self, number: int) -> None:
        """A new attempt at a trial; what the one before reported no longer counts."""
        self._curves[number] = []

    def add(self, number: int, value: float) -> None:
        """A trial reported an epoch."""
        self._curves[number].append(value)

    def __getitem__(self, number: int) -> Sequence[float]:
        return self._curves[number]

    def without(self, number: int) -> Mapping[int, Sequence[float]]:
        """A view of all but one."""
        return _Others(self._curves, number)


class _Others(Mapping[int, Sequence[float]]):
    def __init__(self, curves: Mapping[int, Sequence[float]], left_out: int) -> None:
        self._curves = curves
        self._left_out = left_out

    def __getitem__(self, number: int) -> Sequence[float]:
        if number == self._left_out:
            raise KeyError(number)
        return self._curves[number]

    def __iter__(self) -> Iterator[int]:
        return (number for number in self._curves if number != self._left_out)

    def __len__(self) -> int:
        return len(self._curves) - (self._left_out in self._curves)

    def items(self) -> ItemsView[int, Sequence[float]]:
        return self._copied().items()

    def values(self) -> ValuesView[Sequence[float]]:
        return self._copied().values()

    def _copied(self) -> dict[int, Sequence[float]]:
        """The curves themselves are not copied; faster than asking for them one by one."""
        copied = dict(self._curves)
        copied.pop(self._left_out, None)
        return copied
