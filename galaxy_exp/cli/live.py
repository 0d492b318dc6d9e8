"""The display of a running sweep on stderr: a live table on a terminal, else one line per event."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from galaxy_exp.cli.output import discard, format_duration
from galaxy_exp.cli.rows import describe_order, describe_settings, state_for_people
from galaxy_exp.journal.events import EpochReported, Event, OrderTaken, TrialEnded, TrialStarted, WorkerLost
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import CANNOT_CONTINUE, TrialState
from galaxy_exp.wording import local_time

__all__ = ["LiveDisplay", "PlainDisplay", "describe_event", "open_display"]

_BEST_SHOWN = 5
_STATE_STYLE = {
    TrialState.COMPLETED: "green",
    TrialState.STOPPED: "yellow",
    TrialState.FAILED: "red",
    TrialState.LOST: "red",
    TrialState.INFEASIBLE: "magenta",
    TrialState.RUNNING: "cyan",
}


@contextmanager
def open_display(quiet: bool = False) -> Iterator[PlainDisplay | LiveDisplay]:
    """An observer that also prints messages: a live table if stderr is a terminal, else lines; nothing if `quiet`."""
    console = _Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield PlainDisplay(console)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield LiveDisplay(live)


class _Console(Console):
    """Stops printing when its reader is gone, as in `galaxy-exp sweep ... 2>&1 | head`; the sweep continues."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard(sys.stderr)


class PlainDisplay:
    """One line per event, for logs and batch systems."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if line := describe_event(event, record):
            self.say(line)

    def say(self, message: str) -> None:
        """Prints one line."""
        self._console.print(f"{local_time(time.time())} {message}")


class LiveDisplay:
    """A table of the running and the best trials that is redrawn in place; other lines scroll above it."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._progress.add_task("trials", total=None)
        self._record: SweepRecord | None = None
        self._live.update(self)

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        is_shown = isinstance(event, TrialEnded | WorkerLost | OrderTaken) or _begins_anew(event, record)
        if is_shown and (line := describe_event(event, record)):
            self._live.console.print(line)
        self._record = record

    def __rich__(self) -> RenderableType:
        """Built when the terminal is redrawn, not for each event."""
        record = self._record
        if record is None:
            return self._progress
        self._progress.update(self._task, total=_expected_trials(record), completed=len(record.end_order))
        return Group(_trial_table(record), self._progress)

    def say(self, message: str) -> None:
        """Prints one line."""
        self._live.console.print(message)


def _expected_trials(record: SweepRecord) -> int:
    """`search.max_trials`; after the search, the number of its trials and of those that train finalists again."""
    if record.finalists is None:
        return record.config.search.max_trials
    return len(record.searched) + len(record.finalists) * record.config.registry.seeds


def describe_event(event: Event, record: SweepRecord) -> str:
    """An event as one line; empty for those that are not shown."""
    match event:
        case TrialStarted() if why := _begins_anew(event, record):
            return f"trial {event.number} begins anew (attempt {event.attempt}): {why}"
        case TrialStarted():
            settings = describe_settings(record.trials[event.number], record)
            return f"trial {event.number} {_describe_start(event)}: {settings}"
        case TrialEnded():
            return _describe_end(record.trials[event.result.number], record)
        case WorkerLost():
            trial = record.trials[event.number]
            given_up = trial.result is not None and trial.attempt <= event.attempt
            then = "that was the last attempt" if given_up else "the trial is issued again"
            return f"trial {event.number}: {event.reason}; {then}"
        case OrderTaken():
            return f"order {describe_order(event)}"
        case EpochReported() if record.config.training.epochs <= 10 or event.report.epoch % 5 == 0:
            value = event.report.metrics.get(record.objective.name)
            return f"trial {event.report.number} epoch {event.report.epoch}: {_objective(record)} {value:.4f}"
    return ""


def _begins_anew(event: Event, record: SweepRecord) -> str:
    """Why a trial that has reported epochs begins with the first one; empty if the event is something else."""
    if not isinstance(event, TrialStarted) or event.from_epoch:
        return ""
    if all(report.attempt >= event.attempt for report in record.trials[event.number].known):
        return ""
    earlier = record.last_end(event.number)
    reason = earlier.result.reason if earlier is not None and earlier.result is not None else CANNOT_CONTINUE
    had_one = CANNOT_CONTINUE not in reason  # it was paused
    return "its checkpoint is gone" if had_one else "it has no checkpoint"


def _describe_start(event: TrialStarted) -> str:
    if event.from_epoch:
        return f"continues after epoch {event.from_epoch} (attempt {event.attempt})"
    return f"started again (attempt {event.attempt})" if event.attempt > 1 else "started"


def _describe_end(trial: TrialRecord, record: SweepRecord) -> str:
    result = trial.result
    if result is None:
        return ""
    value = trial.objective_value(record.objective)
    score = f"{_objective(record)} {value:.4f}" if value is not None else "no model"
    return (
        f"trial {trial.number} {state_for_people(trial)}: {score} ({result.reason}, {format_duration(trial.seconds)})"
    )


def _objective(record: SweepRecord) -> str:
    """The objective's name, marked if it was measured on simulated galaxies."""
    return f"SIMULATED {record.objective.name}" if record.simulated else record.objective.name


def _trial_table(record: SweepRecord) -> Table:
    table = Table(
        title=record.sweep_id + (" (SIMULATED galaxies)" if record.simulated else ""), title_justify="left", expand=True
    )
    for column, justify in (
        ("trial", "right"),
        ("state", "left"),
        ("epoch", "right"),
        (record.objective.name, "right"),
    ):
        table.add_column(column, justify=justify, no_wrap=True, min_width=len(column))  # type: ignore[arg-type]
    table.add_column("differs from the baseline in", ratio=1, overflow="ellipsis", no_wrap=True)
    for trial in [*record.running, *record.leaderboard(_BEST_SHOWN)]:
        table.add_row(*_table_row(trial, record))
    return table


def _table_row(trial: TrialRecord, record: SweepRecord) -> list[Text | str]:
    value = trial.objective_value(record.objective)
    return [
        str(trial.number),
        Text(state_for_people(trial), style=_STATE_STYLE[trial.state]),
        f"{trial.epochs}/{record.config.training.epochs}",
        "" if value is None else f"{value:.4f}",
        describe_settings(trial, record),
    ]
