"""What cannot follow in a journal: lines that were lost, doubled or moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from galaxy_exp.journal.events import (
    EpochReported,
    Event,
    FinalistsChosen,
    ModelRegistered,
    SealedTestOpened,
    SweepStarted,
    TrialEnded,
    TrialProjected,
    TrialProposed,
    TrialRunCreated,
    TrialStarted,
    WinnerChosen,
    WorkerLost,
)

if TYPE_CHECKING:
    from galaxy_exp.journal.record import SweepRecord

__all__ = ["misplaced"]


def misplaced(event: Event, record: SweepRecord) -> str | None:
    """Why an event cannot be the next one of a journal, in words that follow its name; None if it can."""
    if isinstance(event, SweepStarted):
        return "comes a second time"
    for number in _trials_of(event):
        if number not in record.trials:
            return f"names trial {number}, which was never proposed"
    if isinstance(event, TrialProposed) and event.number != len(record.trials):
        return f"names trial {event.number} where trial {len(record.trials)} comes next"
    if isinstance(event, TrialEnded) and record.trials[event.result.number].result is not None:
        return f"names trial {event.result.number}, which had ended before"
    return None


def _trials_of(event: Event) -> list[int]:
    """The trials that have to be known when an event comes."""
    match event:
        case EpochReported():
            return [event.report.number]
        case TrialEnded():
            return [event.result.number]
        case FinalistsChosen():
            return event.numbers
        case TrialProposed():
            return [] if event.confirms is None else [event.confirms]
        case TrialStarted() | WorkerLost() | TrialRunCreated() | TrialProjected():
            return [event.number]
        case WinnerChosen() | SealedTestOpened() | ModelRegistered():
            return [event.number]
        case _:
            return []
