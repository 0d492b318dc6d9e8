"""Turns of phrase that messages of all parts share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["did_you_mean", "nearest"]


def nearest(found: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; None when none is close."""
    close = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(found: str, known: Sequence[str]) -> str:
    """`did you mean "x"? known: ...`, or only the known names when none is close."""
    close = nearest(found, known)
    hint = f'did you mean "{close}"? ' if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
