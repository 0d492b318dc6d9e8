"""What can be wrong with a folder of sweeps, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Diagnosis", "Finding", "State"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that disagrees."""

    where: str
    """The sweep's id; for what is no sweep's, the store or the folder."""
    what: str
    """One line."""
    remedy: str
    """What `mend` does, or else what the user can do."""
    mend: Callable[[], None] | None = None
    """Puts it in order; None if that is not ours to do. Raises a GalaxyExpError or OSError if it cannot."""
    is_harmless: bool = False
    """Worth telling, and nothing has to be done."""

    @property
    def key(self) -> tuple[str, str]:
        return self.where, self.what


class State(StrEnum):
    """What became of a finding."""

    OPEN = "open"
    MENDED = "mended"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding and what became of it."""

    finding: Finding
    state: State
    why_open: str = ""
    """Why it could not be mended, if that was tried."""
