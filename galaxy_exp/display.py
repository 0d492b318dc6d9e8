"""The display of a running sweep: a live table on a terminal and in a notebook, else one line per event."""

from __future__ import annotations

import html
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from galaxy_exp.evaluation.conclusion import CHANGES, describe_progress, expected_trials, simulated, summary_lines
from galaxy_exp.journal.events import EpochReported, Event, OrderTaken, TrialEnded, TrialStarted, WorkerLost
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.layout import choose_columns
from galaxy_exp.quiet import discard
from galaxy_exp.records import CANNOT_CONTINUE, TrialState
from galaxy_exp.sweep_rows import describe_order
from galaxy_exp.trial_rows import describe_settings
from galaxy_exp.wording import count, flatten_text, format_duration, local_time, printable

__all__ = [
    "LiveDisplay",
    "NotebookDisplay",
    "PlainDisplay",
    "ScriptDisplay",
    "describe_event",
    "open_display",
    "open_progress",
]

_BEST_SHOWN = 5
_MESSAGES_SHOWN = 8
_REDRAW_SECONDS = 0.5
"""Between two drawings in a notebook, unless a trial has ended."""
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


@contextmanager
def open_progress(verbose: int) -> Iterator[ScriptDisplay | NotebookDisplay]:
    """An observer for those who start a sweep from Python, which also prints messages.

    Args:
        verbose: 1: a live table in a notebook, else, as in `jupyter console`, a line for each trial; 2: also a line for
            each epoch, anywhere.
    """
    ipython = sys.modules.get("IPython")
    in_kernel = hasattr(ipython.get_ipython() if ipython is not None else None, "kernel")
    if in_kernel and verbose == 1 and any(name in os.environ for name in _NOTEBOOK_VARIABLES):
        display = NotebookDisplay()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, for bars that nobody draws
            try:
                yield display
            finally:
                display.redraw()
        return
    # on stdout in a kernel, as in a notebook, where what is on stderr looks like an error
    console = _Console(
        stderr=not in_kernel, soft_wrap=True, highlight=False, markup=False, emoji=False, force_jupyter=False
    )
    yield ScriptDisplay(console, verbose == 2)


_NOTEBOOK_VARIABLES = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
"""Set in kernels of Jupyter's notebooks, of VS Code's and of Colab's, which show HTML and replace it; `jupyter console`
and qtconsole set none of them, and do neither."""


class _Console(Console):
    """Leaves out what cannot be printed, as on a closed terminal or with a full disk, so that the sweep continues."""

    def on_broken_pipe(self) -> None:
        """The reader is gone, as in `galaxy-exp sweep ... 2>&1 | head`."""
        self.quiet = True
        discard(sys.stderr if self.stderr else sys.stdout)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            del self._buffer[:]


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
        self._console.print(f"{local_time(time.time())} {printable(message)}")


class ScriptDisplay(PlainDisplay):
    """A line for each trial with what is done so far and, if `epochs`, for each epoch."""

    def __init__(self, console: Console, epochs: bool) -> None:
        super().__init__(console)
        self._epochs = epochs
        self._begun = False

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if not self._begun:
            self._begun = True
            self.say(_headline(record))
        if isinstance(event, EpochReported):
            if self._epochs:
                self.say(_describe_epoch(event, record))
        elif line := describe_event(event, record):
            self.say(f"{line}; {describe_progress(record)}" if isinstance(event, TrialEnded) else line)

    def say(self, message: str) -> None:
        """Prints one line with the time of day."""
        self._console.print(f"{time.strftime('%H:%M:%S')} {printable(message)}")

    def conclude(self, record: SweepRecord) -> None:
        """Prints what the sweep found."""
        for line in summary_lines(record):
            self._console.print(printable(line))


class NotebookDisplay:
    """A table of the running and the best trials in the output of a notebook's cell, with the latest messages."""

    def __init__(self) -> None:
        from IPython.display import display

        page = _Page("<i>the sweep is being prepared</i>", "the sweep is being prepared")
        self._handle: Any = display(page, display_id=True)
        self._record: SweepRecord | None = None
        self._messages: list[str] = []
        self._drawn_at = 0.0

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        self._record = record
        is_shown = isinstance(event, TrialEnded | WorkerLost | OrderTaken)
        if is_shown and (line := describe_event(event, record)):
            self._add(line)
        if is_shown or time.monotonic() - self._drawn_at >= _REDRAW_SECONDS:
            self.redraw()

    def say(self, message: str) -> None:
        """Shows one line below the table; the thread that writes to MLflow leaves the drawing to the next event."""
        self._add(message)
        if threading.current_thread() is threading.main_thread():
            self.redraw()

    def _add(self, message: str) -> None:
        self._messages = [*self._messages, message][-_MESSAGES_SHOWN:]

    def conclude(self, record: SweepRecord) -> None:
        """Shows what the sweep found, in place of the messages."""
        self._record, self._messages = record, summary_lines(record)

    def redraw(self) -> None:
        """Replaces what the cell shows."""
        self._drawn_at = time.monotonic()
        headline = [] if self._record is None else [_headline(self._record), describe_progress(self._record)]
        text = "\n".join(map(printable, [*headline, *self._messages]))
        self._handle.update(_Page(_as_html(self._record, self._messages), text))


@dataclass(frozen=True)
class _Page:
    """What a cell shows, as HTML and, for what cannot show that, as text."""

    html: str
    text: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Called by IPython."""
        return {"text/html": self.html, "text/plain": self.text}


def _as_html(record: SweepRecord | None, messages: Sequence[str]) -> str:
    """The table and the messages, whose texts may have any characters."""
    lines = f"<pre>{html.escape(printable(chr(10).join(messages)))}</pre>"
    if record is None:
        return f"<div>{lines}</div>"
    header = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in _columns(record))
    rows = ""
    for row in _table_rows(record):
        cells = (html.escape(flatten_text(str(cell))) for cell in row.values())
        rows += "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>"
    title = f"<b>{html.escape(_headline(record))}</b><br>{html.escape(describe_progress(record))}"
    return f"<div>{title}<table><tr>{header}</tr>{rows}</table>{lines}</div>"


def _headline(record: SweepRecord) -> str:
    """What runs, in a line."""
    config, images = record.config, f" on {simulated(record)}galaxies" if record.simulated else ""
    size = f"at most {count(config.search.max_trials, 'trial')} of {count(config.training.epochs, 'epoch')}"
    return f"sweep {record.sweep_id}: {size}, objective {config.search.objective_text}{images}"


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
            self._live.console.print(printable(line))
        self._record = record

    def __rich__(self) -> RenderableType:
        """Built when the terminal is redrawn, not for each event."""
        record = self._record
        if record is None:
            return self._progress
        self._progress.update(self._task, total=expected_trials(record), completed=len(record.end_order))
        return Group(_trial_table(record, self._live.console.width), self._progress, Text(describe_progress(record)))

    def say(self, message: str) -> None:
        """Prints one line."""
        self._live.console.print(printable(message))


def describe_event(event: Event, record: SweepRecord) -> str:
    """An event as one line; empty for those that are not shown."""
    match event:
        case TrialStarted() if why := _begins_anew(event, record):
            return f"trial {event.number} begins anew (attempt {event.attempt}): {why}"
        case TrialStarted():
            how = f"started again (attempt {event.attempt})" if event.attempt > 1 else "started"
            if event.from_epoch:
                how = f"continues after epoch {event.from_epoch} (attempt {event.attempt})"
            return f"trial {event.number} {how}: {describe_settings(record.trials[event.number], record)}"
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
            return _describe_epoch(event, record)
    return ""


def _describe_epoch(event: EpochReported, record: SweepRecord) -> str:
    value = event.report.metrics.get(record.objective.name)
    return f"trial {event.report.number} epoch {event.report.epoch}: {_objective(record)} {value:.4f}"


def _begins_anew(event: Event, record: SweepRecord) -> str:
    """Why a trial that has reported epochs begins with the first one; empty if the event is something else."""
    if not isinstance(event, TrialStarted) or event.from_epoch:
        return ""
    if all(report.attempt >= event.attempt for report in record.trials[event.number].known):
        return ""
    earlier = record.last_ends.get(event.number)
    reason = earlier.result.reason if earlier is not None and earlier.result is not None else CANNOT_CONTINUE
    had_one = CANNOT_CONTINUE not in reason  # it was paused
    return "its checkpoint is gone" if had_one else "it has no checkpoint"


def _describe_end(trial: TrialRecord, record: SweepRecord) -> str:
    if trial.result is None:
        return ""
    value = trial.objective_value(record.objective)
    score = f"{_objective(record)} {value:.4f}" if value is not None else "no model"
    why = f"({trial.result.reason}, {format_duration(trial.seconds)})"
    return f"trial {trial.number} {trial.state_name}: {score} {why}"


def _objective(record: SweepRecord) -> str:
    """The objective's name, marked if it was measured on simulated galaxies."""
    return f"{simulated(record)}{record.objective.name}"


def _trial_table(record: SweepRecord, width: int) -> Table:
    """The columns that fit, by importance; no word is cut, and values that do not fit are counted."""
    title = Text(record.sweep_id + (f" ({simulated(record)}galaxies)" if record.simulated else ""))
    table = Table(title=title, title_justify="left")
    names, rows = _columns(record), _table_rows(record)
    least = {name: max(len(name), *(len(row[name]) for row in rows), 0) for name in names} | {CHANGES: len(CHANGES)}
    width -= _FRAME + 1
    shown = choose_columns(least, width, ("trial", record.objective.name, "state", "epochs", CHANGES), _FRAME)
    room = width - sum(least[name] for name in shown) - _FRAME * (len(shown) - 1)
    for name in names:
        if name in shown:
            justify: JustifyMethod = "left" if name in ("state", CHANGES) else "right"
            table.add_column(name, justify=justify, no_wrap=True)
    for row in rows:
        row[CHANGES] = _fit(flatten_text(str(row[CHANGES])), len(CHANGES) + max(room, 0))
        table.add_row(*(row[name] for name in names if name in shown))
    return table


_FRAME = 3
"""Characters that a column of the live table takes besides its text."""


def _fit(values: str, width: int) -> str:
    """`n_blocks=4, and 5 more` of a longer list of values."""
    parts = values.split(", ")
    for n_left in range(len(parts)):
        text = ", ".join([*parts[: len(parts) - n_left], *([f"and {n_left} more"] if n_left else [])])
        if len(text) <= width:
            return text
    return f"{count(len(parts), 'value')}" if len(parts) > 1 else "one long value"


def _columns(record: SweepRecord) -> list[str]:
    return ["trial", "state", "epochs", record.objective.name, CHANGES]


def _table_rows(record: SweepRecord) -> list[dict[str, Text | str]]:
    """The trials that run, the finalists' latest trainings with fresh seeds, and the best of the search."""
    again = [trial for trial in record.trials.values() if trial.retrains is not None and trial.result is not None]
    rows: list[dict[str, Text | str]] = []
    for trial in (*record.running, *again[-_BEST_SHOWN:], *record.leaderboard(_BEST_SHOWN)):
        value, state = trial.objective_value(record.objective), Text(trial.state_name, style=_STATE_STYLE[trial.state])
        epochs, score = f"{trial.epochs}/{record.config.training.epochs}", "" if value is None else f"{value:.4f}"
        cells = (str(trial.number), state, epochs, score, describe_settings(trial, record))
        rows.append(dict(zip(_columns(record), cells, strict=True)))
    return rows
