"""Votes of volunteers: reading them as catalogues have them, and checking and describing those of a data set.

Catalogues have counts, or fractions of those who got to a question, perhaps with totals.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.votes_section import VotesConfig, check_tree
from galaxy_exp.errors import DataError
from galaxy_exp.questions import Question, Questions, Votes
from galaxy_exp.wording import count

__all__ = [
    "ReadVotes",
    "VotesAt",
    "build_votes",
    "check_votes",
    "describe_votes",
    "digest_votes",
    "parse_votes_description",
    "questions_of",
    "read_votes",
]

_LOG = logging.getLogger(__name__)

_FRACTION_TOLERANCE = 1e-3
"""Largest deviation from 1 of the sum of the fractions of the first question, in a `Votes`."""


def digest_votes(votes: Votes) -> bytes:
    """SHA-256 (32 bytes) of the questions and the values."""
    questions = json.dumps([votes.questions.to_list(), votes.are_counts])
    return hashlib.sha256(questions.encode() + votes.values.astype("<f4").tobytes()).digest()


def describe_votes(votes: Votes) -> dict[str, Any]:
    """All but the values, as JSON."""
    return {"questions": votes.questions.to_list(), "are_counts": votes.are_counts}


def parse_votes_description(content: Mapping[str, Any]) -> tuple[Questions, bool]:
    """The inverse of `describe_votes`: the questions, and whether the values are counts."""
    return Questions.from_list(content["questions"]), bool(content["are_counts"])


def build_votes(description: Mapping[str, Any], values: NDArray[np.float32]) -> Votes:
    """The votes with these values, (n, n_answers), and the description of `describe_votes`."""
    questions, are_counts = parse_votes_description(description)
    return Votes(questions, values, are_counts)


def _check_questions(questions: Questions, source: str) -> None:
    """Raises `DataError` for votes without a question, and for questions that `check_tree` refuses."""
    if not questions.items:
        raise DataError(f"{source}: votes without questions; expected at least one")
    try:
        check_tree(questions.items)
    except ValueError as error:
        raise DataError(f"{source}: votes: {error}") from None


def check_votes(votes: Votes, n_images: int, source: str) -> None:
    """Refuses votes that are not as the docstring of `Votes.values` says.

    Raises:
        DataError: the questions are wrong, the shape is, or a value is; names the first image and the answer.
    """
    if not isinstance(votes.questions, Questions):
        raise DataError(f"{source}: votes: the questions are a {type(votes.questions).__name__}; expected Questions")
    _check_questions(votes.questions, source)
    stated: Any = votes.values
    values, questions = np.asarray(stated), votes.questions
    expected = (n_images, questions.n_answers)
    if not isinstance(stated, np.ndarray) or values.shape != expected or values.dtype != np.float32:
        raise DataError(f"{source}: votes are {values.dtype} of shape {values.shape}; expected float32 {expected}")
    wrong = ~(np.isfinite(values) & (values >= 0))
    if votes.are_counts:
        wrong |= values != np.rint(values)
    if wrong.any():
        index, answer = (int(place) for place in np.argwhere(wrong)[0])
        what = "a whole number of votes, at least 0" if votes.are_counts else "a fraction, at least 0"
        raise DataError(
            f"{source}: {questions.answers[answer]!r} is {values[index, answer]:g} at index {index}; expected {what}"
        )
    totals = questions.totals(values)[:, 0]
    bad = totals <= 0 if votes.are_counts else np.abs(totals - 1) > _FRACTION_TOLERANCE
    if bad.any():
        index, name = int(bad.argmax()), questions.items[0].name
        what = "at least one vote" if votes.are_counts else "1"
        raise DataError(f"{source}: votes on {name!r} sum to {totals[index]:g} at index {index}; expected {what}")


Values = NDArray[np.float64]

_EDGE = 1e-9
"""Allows for the rounding of floating-point sums at the tolerance."""


@dataclass(frozen=True, slots=True)
class VotesAt:
    """Origin of votes, for messages."""

    source: str
    answers: Sequence[str]
    """Name of each answer at the source, such as its column."""
    totals: Sequence[str] = ()
    """Name of each question's number of votes."""
    unit: Literal["row", "image"] = "image"
    """Rows count from 1 in messages, images from 0."""

    def place(self, index: int) -> str:
        """The beginning of a message on one image."""
        return f"{self.source}: {self.unit} {index + 1 if self.unit == 'row' else index}"


@dataclass(frozen=True, slots=True, eq=False)
class ReadVotes:
    """Votes of the images that have some."""

    votes: Votes
    kept: NDArray[np.int64]
    """Index of the image of each row of votes, int64 (n_kept,), sorted."""
    dropped: dict[int, str]
    """One line for each other image, by its index."""
    note: str | None = None
    """How the votes were understood, if that is not obvious."""


def questions_of(config: VotesConfig) -> Questions:
    """The questions of a sweep file."""
    return Questions(tuple(Question(each.name, each.answers, each.after) for each in config.questions))


def read_votes(values: Values, totals: Values | None, config: VotesConfig, at: VotesAt) -> ReadVotes:
    """Checks votes and brings them into the form of `Votes.values`.

    Counts that are not whole numbers, such as weighted votes, and counts from fractions and totals are rounded so that
    the number of votes on a question is right to half a vote.

    Args:
        values: float64 (n, n_answers), NaN where nothing is stated; nothing at all for a question, or zeros, says that
            nobody got to it.
        totals: float64 (n, n_questions), the number of votes on each question, for fractions that become counts.

    Raises:
        DataError: one line with the first image and answer that is wrong: negative or infinite, a question with some
            answers only, fractions that do not sum to 1; or an image without votes, if these are refused.
    """
    questions = questions_of(config)
    _refuse_negative(values, at.answers, at)
    values = _fill_unasked(values, questions, at)
    note = None
    if config.kind == "fractions":
        values = _normalise(values, questions, config.tolerance, at)
        if totals is not None:
            values = _whole_votes(_multiply(values, totals, questions, at), questions)
    else:
        values, note = _round_counts(values, questions, at)
    are_counts = config.kind == "counts" or totals is not None
    if are_counts:
        _refuse(values > _MOST_VOTES, values, at.answers, at, f"expected at most {_MOST_VOTES:,} votes")
    _warn_of_odd_questions(values, questions, are_counts, at)
    has_votes = questions.totals(values)[:, 0] > 0
    dropped = _drop_missing(has_votes, config, at)
    kept = np.flatnonzero(has_votes)
    values = values[kept]
    if not are_counts:
        values = _weigh_by_reach(values, questions)
    return ReadVotes(Votes(questions, values.astype(np.float32), are_counts), kept, dropped, note)


_MOST_VOTES = 100_000
"""A larger number is not a number of volunteers."""


def _warn_of_odd_questions(values: Values, questions: Questions, are_counts: bool, at: VotesAt) -> None:
    """Warns of questions that nobody answered, and of those with more votes than the answer that leads to them."""
    totals, column_of = questions.totals(values), _columns_of_answers(questions)
    for place, each in enumerate(questions.items):
        asked = totals[:, place] > 0
        if not asked.any():
            _LOG.warning("%s: nobody answered %r; networks learn nothing about it", at.source, each.name)
        elif are_counts and each.after is not None:
            more = asked & (totals[:, place] > values[:, column_of[each.after]] + 1)
            if 2 * more.sum() > asked.sum():
                _LOG.warning(
                    "%s: %r has more votes than %r, which leads to it, for %d of %d %ss; check the order of answers "
                    "and what the question is after",
                    *(at.source, each.name, each.after, more.sum(), asked.sum(), at.unit),
                )


def _columns_of_answers(questions: Questions) -> dict[str, int]:
    """The column of each answer, by "question.answer"."""
    names = [f"{each.name}.{answer}" for each in questions.items for answer in each.answers]
    return {name: column for column, name in enumerate(names)}


def _refuse_negative(values: Values, names: Sequence[str], at: VotesAt) -> None:
    with np.errstate(invalid="ignore"):
        _refuse((values < 0) | np.isinf(values), values, names, at, "expected a number of at least 0")


def _refuse(wrong: NDArray[np.bool_], values: Values, names: Sequence[str], at: VotesAt, expected: str) -> None:
    """Raises `DataError` with the first image and column that is wrong, if any; (n, n_columns)."""
    if wrong.any():
        index, column = (int(place) for place in np.argwhere(wrong)[0])
        rows, found = np.asarray(wrong.any(axis=1)), f"{names[column]!r} is {values[index, column]:g}"
        raise DataError(f"{at.place(index)}: {found}; {expected}{_also_wrong(rows, at)}")


def _also_wrong(wrong: NDArray[np.bool_], at: VotesAt) -> str:
    """The end of a message on the first of several that are wrong, (n,); empty if it is the only one."""
    n_more = int(wrong.sum()) - 1
    if not n_more:
        return ""
    return f" (1 more {at.unit} is wrong too)" if n_more == 1 else f" ({n_more} more {at.unit}s are wrong too)"


def _fill_unasked(values: Values, questions: Questions, at: VotesAt) -> Values:
    """Zeros for questions that have nothing; refuses a question with some of its answers."""
    missing = np.isnan(values)
    for columns in questions.slices.values():
        torn = missing[:, columns] & ~missing[:, columns].all(axis=1, keepdims=True)
        if torn.any():
            index, column = (int(place) for place in np.argwhere(torn)[0])
            name = at.answers[columns.start + column]
            others = ", ".join(map(repr, at.answers[columns]))
            raise DataError(
                f"{at.place(index)}: {name!r} is empty; expected a number in all of {others}, or in none if nobody "
                "answered"
            )
    return np.where(missing, 0.0, values)


def _normalise(values: Values, questions: Questions, tolerance: float, at: VotesAt) -> Values:
    """Fractions that sum to exactly 1 in each question, or are all 0."""
    hint = f"(data.votes.tolerance is {tolerance:g}; a larger one divides fractions by their sum)"
    instead = "if these are numbers of votes: data.votes.kind: counts; if debiased fractions: data.votes.tolerance: 0.3"
    too_large = f"expected a fraction from 0 to 1 (data.votes.tolerance is {tolerance:g}); {instead}"
    _refuse(values > 1 + tolerance + _EDGE, values, at.answers, at, too_large)
    result = values.copy()
    for (name, columns), sums in zip(questions.slices.items(), questions.totals(values).T, strict=True):
        wrong = (sums > 0) & (np.abs(sums - 1) > tolerance + _EDGE)
        if wrong.any():
            index = int(wrong.argmax())
            raise DataError(
                f"{at.place(index)}: the fractions of {name!r} sum to {sums[index]:.4g}; "
                f"expected 1 {hint}{_also_wrong(wrong, at)}"
            )
        result[:, columns] /= np.where(sums > 0, sums, 1)[:, None]
    return result


def _multiply(fractions: Values, totals: Values, questions: Questions, at: VotesAt) -> Values:
    """Fractions times the number of votes on their question."""
    _refuse_negative(totals, at.totals, at)
    totals = np.nan_to_num(totals)
    answered = questions.totals(fractions) > 0
    nobody = "or 0 votes if nobody got to the question"
    _refuse((totals > 0) & ~answered, totals, at.totals, at, f"expected fractions of its answers too, {nobody}")
    uncounted = (totals == 0) & answered
    uncounted[totals[:, 0] == 0] = False  # images without votes, for which there is a policy
    _refuse(
        uncounted, totals, at.totals, at, "its answers have fractions; expected their number, not 0 or an empty cell"
    )
    return fractions * questions.by_answer(totals)


_FEWEST_VOTES = 1.5
"""What most questions' numbers sum to at least, if they are votes; fractions sum to about 1, debiased ones too."""


def _round_counts(values: Values, questions: Questions, at: VotesAt) -> tuple[Values, str | None]:
    """Whole numbers, and a note if they were none."""
    broken = values != np.rint(values)
    if not broken.any():
        return values, None
    sums = questions.totals(values)
    if np.median(sums[sums > 0]) < _FEWEST_VOTES:
        expected = "expected whole numbers of votes; for fractions: data.votes.kind: fractions"
        _refuse(broken, values, at.answers, at, expected)
    rows = count(int(broken.any(axis=1).sum()), at.unit)
    note = f"votes of {rows} are not whole numbers, such as weighted votes; they are rounded"
    return _whole_votes(values, questions), note


def _whole_votes(values: Values, questions: Questions) -> Values:
    """Rounds each question's votes to whole ones by largest remainder, with the sum rounded to the nearest."""
    result = np.floor(np.round(values, 6))
    for columns in questions.slices.values():
        exact, whole = values[:, columns], result[:, columns]
        short = np.rint(np.round(exact.sum(axis=1), 6)) - whole.sum(axis=1)
        rank = np.argsort(np.argsort(whole - exact, axis=1, kind="stable"), axis=1, kind="stable")
        result[:, columns] = whole + (rank < short[:, None])
    return result


def _drop_missing(has_votes: NDArray[np.bool_], config: VotesConfig, at: VotesAt) -> dict[int, str]:
    missing = np.flatnonzero(~has_votes).tolist()
    name = config.questions[0].name
    if missing and config.missing == "refuse":
        also = f", and so {'have' if len(missing) > 2 else 'has'} {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{at.place(missing[0])} has no votes on {name!r}{also}; expected some, or data.votes.missing: drop, "
            "which leaves such images out"
        )
    if len(missing) == len(has_votes):
        raise DataError(f"{at.source}: no image has votes on {name!r}, the first question")
    return {index: f"{at.place(index)}: no votes on {name!r}" for index in missing}


def _weigh_by_reach(fractions: Values, questions: Questions) -> Values:
    """Fractions times the share of volunteers who got to their question."""
    column_of = _columns_of_answers(questions)
    result = fractions.copy()
    for each in questions.items:
        if each.after is not None:
            result[:, questions.slices[each.name]] *= result[:, column_of[each.after], None]
    return result
