"""Short texts for people, and what prints them: times, numbers, cut values, and hints at misspelt names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "Say",
    "count",
    "did_you_mean",
    "flatten_text",
    "format_bytes",
    "format_duration",
    "iso_time",
    "local_time",
    "nearest",
    "parse_number",
    "printable",
    "short_value",
    "shorten",
]


Say = Callable[[str], None]
"""Prints one line for people."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, with which a text could move the cursor or colour a terminal, besides tab and line feed."""


def printable(text: str) -> str:
    """The text with control characters as their escapes, such as `\\x1b`; tabs and line feeds stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def flatten_text(text: str) -> str:
    """The text without line breaks and control characters."""
    return printable(" ".join(text.expandtabs(1).splitlines()))


def count(number: int, noun: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as `2026-11-28T14:11:18+00:00` (ISO 8601, UTC): for JSON, CSV, HTML and tags."""
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")


def local_time(seconds: float) -> str:
    """Seconds since 1970 as `2026-11-28 15:11:18 +0100`, in the zone of this machine: for a terminal."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def format_bytes(number: float) -> str:
    """`512 MB`, `4.2 GB`."""
    return f"{number / 1e6:.0f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"


def format_duration(seconds: float) -> str:
    """`8.3 s`, `26 s`, `3 min 20 s`, `1 h 02 min`, `24 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if 0.05 <= seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    minutes = whole % 3600 // 60
    return f"{whole // 3600} h" + (f" {minutes:02d} min" if minutes else "")


def nearest(found: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; None if no word is close."""
    close = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(found: str, known: Sequence[str]) -> str:
    """`did you mean "x"? known: ...`, or only the known names if none is close."""
    close = nearest(found, known)
    hint = f'did you mean "{close}"? ' if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


def short_value(value: Any, digits: int = 4) -> str:
    """A float with this many significant digits; any other value as its text."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def shorten(text: str, length: int = 100) -> str:
    """The text; if it is longer than `length` characters, its beginning and an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def parse_number(text: str) -> float | None:
    """The number in a text; None for any other text, also for 1_0, which Python reads as 10."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
