"""What MLflow has of the folder's sweeps against their journals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from galaxy_exp.doctor.findings import Finding
from galaxy_exp.doctor.runs import close_orphans, compare_runs, describe, unknown_sweeps
from galaxy_exp.errors import TrackingError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import ModelRegistered
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["TrackedSweep", "examine_stores"]


@dataclass(frozen=True, slots=True)
class TrackedSweep:
    """A sweep without a driver, and where its files lie."""

    folder: SweepFolder
    record: SweepRecord


def examine_stores(sweeps: Sequence[TrackedSweep], known: set[str] | None, say: Callable[[str], None]) -> list[Finding]:
    """Compares each sweep with the store that its journal names; a SQLite store that is not there is not created.

    Args:
        sweeps: to compare.
        known: ids of all sweeps of the folder; None: runs of other sweeps are not looked for.
        say: takes one line at a time while something is mended.
    """
    by_store: dict[str, list[TrackedSweep]] = {}
    for sweep in sweeps:
        by_store.setdefault(sweep.record.tracking_uri, []).append(sweep)
    return [finding for uri, group in by_store.items() for finding in _examine_store(uri, group, known, say)]


def _examine_store(
    uri: str, sweeps: Sequence[TrackedSweep], known: set[str] | None, say: Callable[[str], None]
) -> list[Finding]:
    from galaxy_exp.tracking.store import hide_in_address, is_first_use, open_client, tracking_errors

    store = hide_in_address(uri)
    if is_first_use(uri):
        return [finding for sweep in sweeps for finding in _Sweep(sweep, None, say).examine_runs([])]
    try:
        with tracking_errors(uri):
            client = open_client(uri, to_write=False)
            found = []
            if known is None:
                for sweep in sweeps:
                    found += _Sweep(sweep, client, say).examine()
                return found
            by_experiment: dict[str, list[TrackedSweep]] = {}
            for sweep in sweeps:
                by_experiment.setdefault(sweep.record.config.experiment_name, []).append(sweep)
            for experiment, group in by_experiment.items():
                found += _examine_experiment(client, experiment, group, known, store, say)
            return found
    except TrackingError as error:
        remedy = "look at it or its server, then once more: galaxy-exp doctor"
        return [Finding(store, f"cannot be compared with the journals of {len(sweeps)} sweeps: {error}", remedy)]


def _examine_experiment(
    client: MlflowClient,
    experiment: str,
    sweeps: Sequence[TrackedSweep],
    known: set[str],
    store: str,
    say: Callable[[str], None],
) -> list[Finding]:
    from galaxy_exp.tracking import names
    from galaxy_exp.tracking.mlflow_runs import find_runs

    by_sweep: dict[str, list[Run]] = {}
    runs = find_runs(client, experiment)
    for run in runs:
        by_sweep.setdefault(run.data.tags[names.SWEEP_ID], []).append(run)
    found = []
    for sweep in sweeps:
        each = _Sweep(sweep, client, say)
        found += each.examine_runs(by_sweep.get(sweep.record.sweep_id, []))
        found += each.examine_version()
    return found + unknown_sweeps(runs, known, store)


class _Sweep:
    """One sweep, how it stands in MLflow, and how it is mended there, its journal locked."""

    def __init__(self, sweep: TrackedSweep, client: MlflowClient | None, say: Callable[[str], None]) -> None:
        self._folder = sweep.folder
        self._record = sweep.record
        self._client = client
        self._say = say

    def examine(self) -> list[Finding]:
        """Everything, with runs of this sweep alone asked for."""
        from galaxy_exp.tracking.mlflow_runs import find_runs

        assert self._client is not None
        experiment = self._record.config.experiment_name
        runs = find_runs(self._client, experiment, self._record.sweep_id)
        return self.examine_runs(runs) + self.examine_version()

    def examine_runs(self, runs: list[Run]) -> list[Finding]:
        """The runs; `runs` are the active ones of this sweep."""
        found = compare_runs(self._record, runs)
        return describe(
            self._record,
            found,
            write=lambda: self._write(found.lacking),
            discard=lambda: self._discard(found.doubled),
            close=lambda: self._close(found.orphans),
        )

    def examine_version(self) -> list[Finding]:
        """The registered version, by the sweep's id in its tags."""
        from galaxy_exp.registry.packaging import find_version

        assert self._client is not None
        record, sweep_id = self._record, self._record.sweep_id
        if record.registered is None:
            found = find_version(self._client, record.config.model_name, sweep_id)
            if found is None:
                return []
            what = f"{found.name} version {found.version} is registered, and the journal does not know of it"
            remedy = f"galaxy-exp resume {sweep_id} goes on from there"
            if record.winner is None:
                return [Finding(sweep_id, what, remedy, is_harmless=True)]
            event = ModelRegistered(number=record.winner, name=found.name, version=found.version)
            return [Finding(sweep_id, what, f"the journal takes it over; {remedy}", lambda: self._append(event))]
        if find_version(self._client, record.registered.name, sweep_id) is not None:
            return []
        what = f"{record.registered.name} version {record.registered.version} is no longer in the registry"
        return [Finding(sweep_id, what, "if it was not deleted on purpose: run the sweep again", is_harmless=True)]

    def _append(self, event: ModelRegistered) -> None:
        with Journal.reopen(self._folder.path) as journal:
            journal.append(event)

    def _write(self, numbers: Sequence[int]) -> None:
        from galaxy_exp.preparation import restore_data
        from galaxy_exp.tracking.sweep_tracking import build_projection

        with Journal.reopen(self._folder.path) as journal:
            record = journal.record
            projection = build_projection(journal, self._folder, restore_data(record, self._say), self._say)
            projection.write_again([number for number in numbers if record.trials[number].run_id is not None])
            succeeded = record.ended is not None and record.ended.succeeded
            projection.close_sweep("KILLED" if record.ended is None else "FINISHED" if succeeded else "FAILED")

    def _discard(self, run_ids: Sequence[str]) -> None:
        from galaxy_exp.tracking.store import tracking_errors

        with Journal.reopen(self._folder.path) as journal, tracking_errors(self._record.tracking_uri):
            assert self._client is not None
            kept = {journal.record.parent_run_id} | {trial.run_id for trial in journal.record.trials.values()}
            for run_id in run_ids:
                if run_id not in kept and self._client.get_run(run_id).info.lifecycle_stage == "active":
                    self._client.delete_run(run_id)

    def _close(self, run_ids: Sequence[str]) -> None:
        from galaxy_exp.tracking.store import tracking_errors

        with Journal.reopen(self._folder.path) as journal, tracking_errors(self._record.tracking_uri):
            assert self._client is not None
            close_orphans(self._client, journal.record, run_ids)
