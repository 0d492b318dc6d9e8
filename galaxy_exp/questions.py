"""The questions that volunteers answered about each galaxy, as in Galaxy Zoo, and the layout of their votes.

Votes and the outputs of networks are arrays (n, n_answers): the answers of all questions side by side, in the order of
the questions. `Questions.slices` says where the answers of each are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Question", "Questions", "Votes"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with at least two answers."""

    name: str
    answers: tuple[str, ...]
    after: str | None = None
    """The answer to an earlier question that leads here, as "question.answer"; None: every galaxy gets it."""

    def __str__(self) -> str:
        """`bar after disk-edge-on.no (yes, no)`."""
        return f"{self.name}{f' after {self.after}' if self.after else ''} ({', '.join(self.answers)})"


@dataclass(frozen=True)
class Questions:
    """One question, or a tree of several. The first is asked about every galaxy; its answers serve as classes."""

    items: tuple[Question, ...]

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """By question: the columns of its answers."""
        ends = accumulate(self.widths)
        return {each.name: slice(end - len(each.answers), end) for each, end in zip(self.items, ends, strict=True)}

    @property
    def widths(self) -> list[int]:
        """The number of answers to each question."""
        return [len(each.answers) for each in self.items]

    @property
    def n_answers(self) -> int:
        """Number of answers to all questions together."""
        return sum(self.widths)

    @property
    def answers(self) -> tuple[str, ...]:
        """One name per column: "question.answer", or the answer alone if there is only one question."""
        if len(self.items) == 1:
            return self.items[0].answers
        return tuple(f"{each.name}.{answer}" for each in self.items for answer in each.answers)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The answers to the first question."""
        return self.items[0].answers

    def totals(self, votes: NDArray[Any]) -> NDArray[np.float64]:
        """The sum of each question's columns, float64 (n, n_questions): votes, weights or concentrations."""
        sums = [votes[:, columns].sum(axis=1, dtype=np.float64) for columns in self.slices.values()]
        return np.stack(sums, axis=1)

    def fractions(self, votes: NDArray[Any]) -> NDArray[np.float64]:
        """Each question's columns divided by their sum, float64 (n, n_answers); NaN where the sum is 0."""
        sums = self.by_answer(self.totals(votes))
        fractions = np.full(sums.shape, np.nan)
        np.divide(votes, sums, out=fractions, where=sums > 0)
        return fractions

    def by_answer(self, by_question: NDArray[Any]) -> NDArray[np.float64]:
        """The number of each question, (n, n_questions), for each of its answers: float64 (n, n_answers)."""
        return np.repeat(by_question, self.widths, axis=1).astype(np.float64)

    def winners(self, votes: NDArray[Any]) -> NDArray[np.int64]:
        """The answer to the first question with most votes, int64 (n,), from 0; of equal ones the first."""
        return np.asarray(votes[:, : self.widths[0]].argmax(axis=1), dtype=np.int64)

    def to_list(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [{"name": each.name, "answers": list(each.answers), "after": each.after} for each in self.items]

    @classmethod
    def from_list(cls, content: Sequence[Mapping[str, Any]]) -> Questions:
        """The inverse of `to_list`."""
        return cls(tuple(Question(each["name"], tuple(each["answers"]), each["after"]) for each in content))


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """What volunteers answered about each of n images."""

    questions: Questions
    values: NDArray[np.float32]
    """float32 (n, n_answers), at least 0. With counts, the number of votes for each answer; with fractions, each
    question's columns sum to the share of volunteers who got to that question, 1 for the first. A question that
    nobody got to has zeros only, and weighs nothing."""
    are_counts: bool
    """Whether these are numbers of votes; else fractions."""

    def __len__(self) -> int:
        return len(self.values)
