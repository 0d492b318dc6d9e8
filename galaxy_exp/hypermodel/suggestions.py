"""The tail of a message about an unknown word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "known_words"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A comma and the question for the nearest known word, or an empty string when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]}?" if near else ""


def known_words(word: str, known: Iterable[str]) -> str:
    """The question for the nearest known word, if any, and the list of all known words."""
    words = list(known)
    return f"{did_you_mean(word, words) or ';'} known: {', '.join(words) or 'none'}"
