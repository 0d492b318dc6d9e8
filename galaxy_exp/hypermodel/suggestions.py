"""The tail of a message about an unknown word of a hypermodel."""

from __future__ import annotations

from collections.abc import Iterable

from galaxy_exp.config.problems import nearest

__all__ = ["known_words", "nearest_word"]


def nearest_word(word: str, known: Iterable[str]) -> str:
    """A comma and the question for the nearest known word, or an empty string when none is near."""
    near = nearest(word, known)
    return f", did you mean {near}?" if near else ""


def known_words(word: str, known: Iterable[str]) -> str:
    """The question for the nearest known word, if any, and the list of all known words."""
    words = list(known)
    return f"{nearest_word(word, words) or ';'} known: {', '.join(words) or 'none'}"
