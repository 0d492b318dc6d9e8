"""Turns of phrase that messages of all parts share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

__all__ = ["did_you_mean", "iso_time", "local_time", "nearest"]


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as `2026-11-28T14:11:18+00:00` (ISO 8601, UTC): for JSON, CSV, HTML and tags."""
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")


def local_time(seconds: float) -> str:
    """Seconds since 1970 as `2026-11-28 15:11:18 +0100`, in the zone of this machine: for a terminal."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def nearest(found: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; None when none is close."""
    close = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(found: str, known: Sequence[str]) -> str:
    """`did you mean "x"? known: ...`, or only the known names when none is close."""
    close = nearest(found, known)
    hint = f'did you mean "{close}"? ' if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
