"""Votes of volunteers as a data set has them: what is checked, and what follows from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from galaxy_exp.config.votes_section import check_tree
from galaxy_exp.errors import DataError
from galaxy_exp.questions import Questions, Votes

__all__ = [
    "FRACTION_TOLERANCE",
    "check_questions",
    "check_votes",
    "describe_votes",
    "digest_votes",
    "parse_votes_description",
]

FRACTION_TOLERANCE = 1e-3
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


def check_questions(questions: Questions, source: str) -> None:
    """Refuses questions that cannot be asked.

    Raises:
        DataError: no question, or what `check_tree` refuses.
    """
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
    check_questions(votes.questions, source)
    values, questions = votes.values, votes.questions
    expected = (n_images, questions.n_answers)
    if values.shape != expected or values.dtype != np.float32:
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
    bad = totals <= 0 if votes.are_counts else np.abs(totals - 1) > FRACTION_TOLERANCE
    if bad.any():
        index, name = int(bad.argmax()), questions.items[0].name
        what = "at least one vote" if votes.are_counts else "1"
        raise DataError(f"{source}: votes on {name!r} sum to {totals[index]:g} at index {index}; expected {what}")
