"""Keeps MLflow up to date with a sweep's journal, and catches up after an outage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.errors import GalaxyExpError, TrackingError, first_line
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import EpochReported, Event, TrialEnded, TrialProposed, TrialStarted
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.redaction import hide_in_address, hide_password
from galaxy_exp.tracking.calls import OutageNotice, Patience, TimedClient, quiet_mlflow
from galaxy_exp.tracking.mlflow_runs import is_refusal
from galaxy_exp.tracking.parent_run import ParentRun
from galaxy_exp.tracking.trial_runs import RunsByAttempt, TrialRuns

__all__ = ["MlflowProjection"]

_REFRESH_SECONDS = 60.0
"""Between two drawings of the figures and the report of a running sweep, at least."""


class MlflowProjection:
    """An observer of the loop that writes each event to MLflow as it comes.

    When MLflow fails, the sweep continues: `warn` is called once, MLflow is not called for a while, and then everything
    that it lacks is written. A slow MLflow is treated in the same way (see `Patience`).

    The store is opened, and what an earlier process did not write is written, at the first event: the first trial is
    then running, so no worker waits while MLflow creates its database.

    Args:
        open_store: called once, at first use.
        journal: gets the ids of runs, and an event for each trial that is completely in MLflow.
        data: described in MLflow as the runs' input.
        clock: seconds, monotonic.
        on_begin: called once, when the sweep is in MLflow for the first time in this process.
        write_report: writes the report page among the sweep's artifacts; called at most once a minute, after which
            the parent run gets it with the figures and the description of the trials so far.
    """

    def __init__(
        self,
        open_store: Callable[[], MlflowClient],
        journal: Journal,
        folder: SweepFolder,
        data: PreparedData,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        on_begin: Callable[[], None] | None = None,
        write_report: Callable[[], None] | None = None,
    ) -> None:
        self._timed = TimedClient(open_store, clock)
        self.client = cast(MlflowClient, self._timed)
        self._journal = journal
        self._warn = warn
        self._parent = ParentRun(self.client, journal, folder, data, self._warn_once)
        self._trials = TrialRuns(self._parent)
        self._is_behind = True
        """Whether MLflow may lack something, so that the next event is not all there is to write."""
        self._patience = Patience(clock)
        self._outage = OutageNotice(warn)
        self._warned: set[str] = set()
        self._refused: set[int] = set()
        """Numbers of trials of which MLflow refused something."""
        self._turn = threading.Lock()
        self._clock = clock
        self._on_begin, self._write_report = on_begin, write_report
        self._refresh_at = clock() + _REFRESH_SECONDS

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """See `Observer.on_event`."""
        if self._patience.is_pausing:
            self._is_behind = True
            return
        waited_before = self._timed.seconds
        try:
            with self._errors_as_tracking_errors():
                if self._is_behind:
                    self._catch_up(since=waited_before)
                else:
                    self._write_event(event)
                if isinstance(event, TrialEnded) and not self._is_behind:
                    self._refresh_now_and_then()
        except TrackingError as error:
            self._patience.pause_after_failure(self._timed.seconds - waited_before)
            self._fall_behind(f"{error}; the sweep continues, and what is missing is written later")
            return
        waited = self._timed.seconds - waited_before
        if self._patience.is_spent(waited):
            self._patience.pause_after_slow_calls(waited)
            slow = f"MLflow at {self._where} is slow ({waited:.0f} s just now)"
            self._fall_behind(f"{slow}; the sweep continues, and what is missing is written now and then")
        elif not self._is_behind:
            if self._on_begin is not None:
                self._on_begin()
                self._on_begin = None
            self._patience.reset()
            refused = f" except what it refuses for trials {', '.join(map(str, sorted(self._refused)))}"
            self._outage.end(f"MLflow at {self._where} is back and has everything{refused if self._refused else ''}")

    def catch_up(self) -> None:
        """Writes everything that MLflow lacks.

        Raises:
            TrackingError: MLflow cannot be written to; what was written stays, and nothing is lost.
        """
        with self._errors_as_tracking_errors():
            self._catch_up()

    def close_sweep(self, status: str) -> None:
        """Writes everything that MLflow lacks and the sweep's summary, and ends its runs.

        Args:
            status: of the parent run, a `names.RunStatus`.

        Raises:
            TrackingError: MLflow cannot be written to.
        """
        with self._errors_as_tracking_errors():
            self._catch_up()
            self._parent.close(status)

    def write_again(self, numbers: Iterable[int]) -> None:
        """Writes trials again whose runs MLflow lost; their runs are restored or, if need be, created again.

        Raises:
            TrackingError: MLflow cannot be written to.
        """
        with self._errors_as_tracking_errors():
            self._parent.ensure(after_outage=True)
            for number in numbers:
                trial = self._journal.record.trials[number]
                self._trials.restore(trial)
                self._bring_up_to_date(trial, {})

    def _write_event(self, event: Event) -> None:
        match event:
            case TrialProposed() | TrialStarted():
                trial = self._journal.record.trials[event.number]
                if trial.result is None:  # else its end, which follows, writes everything
                    with self._refusals_reported(trial):
                        self._trials.ensure(trial, {})
            case EpochReported():
                trial = self._journal.record.trials[event.report.number]
                # not for a lost attempt, nor for a trial that has ended meanwhile
                if trial.result is None and trial.attempt == event.report.attempt:
                    with self._refusals_reported(trial):
                        self._trials.ensure(trial, {})
                        self._trials.describe(trial)
            case TrialEnded():
                trial = self._journal.record.trials[event.result.number]
                if not trial.projected:  # else an earlier event caught up with it
                    self._bring_up_to_date(trial, {})

    def _refresh_now_and_then(self) -> None:
        """Brings what a person watches up to date, in a twentieth of the time at most."""
        began = self._clock()
        if self._write_report is not None and began >= self._refresh_at:
            self._write_report()
            self._parent.refresh()
            self._refresh_at = began + max(_REFRESH_SECONDS, 20 * (self._clock() - began))

    def _catch_up(self, since: float | None = None) -> None:
        """Writes everything that MLflow lacks.

        Args:
            since: `TimedClient.seconds` when this event's calls began: stops when patience is spent. None never stops.
        """
        journaled = self._journal.record.parent_run_id
        is_lost = self._parent.ensure(after_outage=self._is_behind) != journaled and journaled is not None
        found = self._trials.find()
        for trial in list(self._journal.record.trials.values()):
            if is_lost and trial.run_id is not None:  # the store was deleted, perhaps with the runs of trials
                self._trials.restore(trial)
            elif trial.projected:
                continue
            self._bring_up_to_date(trial, found)
            if since is not None and self._patience.is_spent(self._timed.seconds - since):
                return
        self._parent.delete_strays()
        self._trials.delete_strays(found)
        self._is_behind = False

    def _bring_up_to_date(self, trial: TrialRecord, found: RunsByAttempt) -> None:
        with self._refusals_reported(trial):
            self._trials.bring_up_to_date(trial, found)

    @contextmanager
    def _errors_as_tracking_errors(self) -> Iterator[None]:
        """One thread at a time: when a driver is interrupted again, its observers may still be writing."""
        with self._turn, quiet_mlflow():
            try:
                yield
            except GalaxyExpError:
                raise
            except Exception as error:
                # MLflow, its database driver and its artifact store raise errors of any type
                message = f"MLflow at {self._where} cannot be written to: {first_line(error)}"
                raise TrackingError(hide_password(message)) from error

    @contextmanager
    def _refusals_reported(self, trial: TrialRecord) -> Iterator[None]:
        """Lets the sweep continue with other trials when MLflow refuses something of this one."""
        try:
            yield
        except MlflowException as error:
            if not is_refusal(error):
                raise
            self._refused.add(trial.number)
            self._warn_once(f"MLflow refuses trial {trial.number}: {first_line(error)}")

    @property
    def _where(self) -> str:
        return hide_in_address(self._journal.record.tracking_uri)

    def _fall_behind(self, message: str) -> None:
        self._is_behind = True
        self._trials.forget_progress()
        self._outage.begin(message)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)
