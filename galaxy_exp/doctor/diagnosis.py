"""What can be wrong with a folder of sweeps, and whether it was repaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Diagnosis", "Finding", "State"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that disagrees."""

    where: str
    """Id of the sweep; without a sweep, the store or the folder."""
    what: str
    """One line."""
    remedy: str
    """What `repair` does, or else what the user can do."""
    repair: Callable[[], None] | None = None
    """None if only the user can repair it. Raises a GalaxyExpError or OSError if it fails."""
    is_harmless: bool = False
    """Whether nothing has to be done."""

    @property
    def key(self) -> tuple[str, str]:
        """Equal for the same finding of two examinations."""
        return self.where, self.what


class State(StrEnum):
    """State of a finding."""

    OPEN = "open"
    REPAIRED = "repaired"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding and its state."""

    finding: Finding
    state: State
    why_open: str = ""
    """Why the repair failed, if it was tried."""
