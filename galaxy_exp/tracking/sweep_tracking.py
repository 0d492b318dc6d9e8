"""The MLflow store of one sweep, from before its first trial to after its last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from galaxy_exp.config import load_sweep, parse_sweep
from galaxy_exp.config.differences import STORE
from galaxy_exp.errors import ConfigError, TrackingError, UnusableStoreError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import Event, SweepChanged
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.redaction import remember_address
from galaxy_exp.tracking.addresses import is_first_use, resolve_tracking_uri, sqlite_file
from galaxy_exp.tracking.store import open_client, tracking_errors
from galaxy_exp.tracking.store_check import check_store
from galaxy_exp.wording import Say

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from galaxy_exp.data.prepared import PreparedData
    from galaxy_exp.tracking.projection import MlflowProjection

__all__ = ["LazyProjection", "build_projection", "check_recorded_store", "end_open_runs", "remember_password"]


class LazyProjection:
    """An observer that builds the projection at the first event, so that MLflow is imported while a trial trains.

    It is built in a thread of its own: Ctrl-C, which interrupts the main thread, leaves no import half done.
    """

    def __init__(self, build: Callable[[], MlflowProjection]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._built: Future[MlflowProjection] | None = None

    @property
    def projection(self) -> MlflowProjection:
        """The projection; waits until it is built.

        Raises:
            TrackingError: MLflow cannot be imported.
        """
        with self._lock:
            if self._built is None:
                builder = ThreadPoolExecutor(1, "galaxy-exp-mlflow")
                self._built = builder.submit(self._build)
                builder.shutdown(wait=False)
        return self._built.result()

    def on_event(self, event: Event, record: SweepRecord) -> None:
        """Writes an event to MLflow."""
        self.projection.on_event(event, record)


def build_projection(
    journal: Journal, folder: SweepFolder, data: PreparedData, say: Say, write_report: Callable[[], None] | None = None
) -> MlflowProjection:
    """What writes a journal to MLflow; the store is opened when it is first written to.

    Args:
        say: prints a line; when the sweep is in MLflow, also where it can be watched.
        write_report: writes the sweep's report page among its artifacts; called now and then while it runs.

    Raises:
        TrackingError: MLflow cannot be imported.
    """
    uri = journal.record.tracking_uri
    with tracking_errors(uri):
        from galaxy_exp.tracking.projection import MlflowProjection
        from galaxy_exp.tracking.views import watch_command
    remember_password(journal.record)

    def open_store() -> MlflowClient:
        if is_first_use(uri):
            say(f"creating the MLflow database {uri} (first use, about 10 s)")
        return open_client(uri)

    def on_begin() -> None:
        say(f"watch it in MLflow: {watch_command(journal.record)}")

    return MlflowProjection(open_store, journal, folder, data, say, on_begin=on_begin, write_report=write_report)


def check_recorded_store(record: SweepRecord, change: SweepChanged | None, say: Say) -> SweepChanged | None:
    """Checks that the store of a sweep, which may be a new one, can be used before the sweep is resumed.

    Returns:
        The change, with the address of the new store, if it leads to one.

    Raises:
        UnusableStoreError: it cannot, and the message names the command that takes another store; or it is gone
            because the project was moved.
    """
    remember_password(record)
    uri = record.tracking_uri
    if change is not None and any(each.key == STORE for each in change.changes):
        uri = remember_address(resolve_tracking_uri(parse_sweep(change.config, "changed sweep file").tracking.uri))
        if uri != record.tracking_uri:
            change = change.model_copy(update={"tracking_uri": uri})
            say(f"the whole sweep is written anew into the MLflow store {uri}")
    is_finished = record.ended is not None and record.ended.succeeded
    command = None if is_finished else f"galaxy-exp resume {record.sweep_id}"
    if record.parent_run_id is not None and uri == record.tracking_uri:
        _refuse_moved(uri, command)
    check_store(uri, say, command, record.config.experiment_name)
    return change


def _refuse_moved(uri: str, command: str | None) -> None:
    """Raises UnusableStoreError if the folder of a store that had runs is gone: it would be made anew, elsewhere."""
    file = sqlite_file(uri)
    if file is None or file.parent.exists():
        return
    other = "" if command is None else f"; or take another store: {command} --set tracking.uri=sqlite:///mlflow.db"
    raise UnusableStoreError(
        f"MLflow store {uri}: its folder is gone; if the project was moved, move it back, or put a link in its former "
        f"place, as MLflow has whole paths of its files: ln -s NEW_FOLDER {file.parent}{other}"
    )


def end_open_runs(record: SweepRecord, say: Say) -> None:
    """Ends the runs of an interrupted sweep that are RUNNING in MLflow; prints a line if MLflow cannot be reached."""
    if not record.trials:
        return
    try:
        with tracking_errors(record.tracking_uri):
            from galaxy_exp.tracking.mlflow_runs import find_experiment, find_runs
            from galaxy_exp.tracking.parent_run import end_runs

            client = open_client(record.tracking_uri)
            end_runs(client, record, "KILLED")
            # those of trials whose end, or whose run, the killed process had not written yet
            experiment_id = find_experiment(client, record.config.experiment_name, record.parent_run_id)
            for run in find_runs(client, experiment_id, record.sweep_id):
                if run.info.status == "RUNNING":
                    client.set_terminated(run.info.run_id, "KILLED")
    except TrackingError as error:
        say(f"{error}; the runs in MLflow stay open until: galaxy-exp resume {record.sweep_id}")


def remember_password(record: SweepRecord) -> None:
    """Looks for the store's password in the sweep file, since the journal has the address without it."""
    source = record.sweep_file
    if source is None or not source.path or record.config.tracking.uri is None:
        return
    try:
        uri = load_sweep(source.path).tracking.uri
    except ConfigError:  # the file is gone or has changed; the password may be in the environment
        return
    if uri is not None:
        remember_address(uri)
