"""The runs and versions of sweeps in MLflow, compared with the journals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from galaxy_exp.doctor.sweep_files import Finding
from galaxy_exp.errors import TrackingError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import ModelRegistered
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.wording import Say

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunComparison", "TrackedSweep", "compare_runs", "examine_stores"]

_MOST_LISTED = 8
"""Numbers that a message lists."""


@dataclass(frozen=True, slots=True)
class TrackedSweep:
    """A sweep that no driver runs, and its folder."""

    folder: SweepFolder
    record: SweepRecord

    def find_experiment(self, client: MlflowClient) -> str | None:
        """The id of the experiment that has the sweep's runs, if any."""
        from galaxy_exp.tracking.mlflow_runs import find_experiment

        return find_experiment(client, self.record.config.experiment_name, self.record.parent_run_id)


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What disagrees between a journal and the active runs of its sweep."""

    lacking: tuple[int, ...] = ()
    """Numbers of ended trials whose run is missing, unfinished or incomplete."""
    lacks_sweep: bool = False
    """Whether the parent run is missing, or not closed although the sweep ended."""
    doubled: tuple[str, ...] = ()
    """Ids of further runs of what the journal names one run of."""
    doubled_trials: tuple[str, ...] = ()
    """What `doubled` are runs of: `trial 3`, `the sweep`."""
    orphans: tuple[str, ...] = ()
    """Ids of RUNNING runs."""
    unknown: tuple[str, ...] = ()
    """Ids of runs of trials that the journal does not have."""


def examine_stores(sweeps: Sequence[TrackedSweep], known: set[str] | None, say: Say) -> list[Finding]:
    """Compares each sweep with the store that its journal names; a missing SQLite store is not created.

    Runs of sweeps that are not `known`, by id, are looked for unless it is None.
    """
    by_store: dict[str, list[TrackedSweep]] = defaultdict(list)
    for sweep in sweeps:
        by_store[sweep.record.tracking_uri].append(sweep)
    return [finding for uri, group in by_store.items() for finding in _examine_store(uri, group, known, say)]


def _examine_store(uri: str, sweeps: Sequence[TrackedSweep], known: set[str] | None, say: Say) -> list[Finding]:
    from galaxy_exp.redaction import hide_in_address
    from galaxy_exp.tracking.addresses import is_first_use, whole_address
    from galaxy_exp.tracking.mlflow_runs import find_runs
    from galaxy_exp.tracking.store import open_client, tracking_errors
    from galaxy_exp.tracking.store_check import refuse_unusable
    from galaxy_exp.tracking.sweep_tracking import remember_password

    if is_first_use(uri):
        return [finding for sweep in sweeps for finding in _Examination(sweep, None, say).examine([])]
    found: list[Finding] = []
    notes: list[str] = []
    for sweep in sweeps:
        remember_password(sweep.record)
    try:
        with tracking_errors(uri):
            refuse_unusable(whole_address(uri), notes.append, ask=False, to_write=False)
            if notes:
                what = f"its runs are compared with the journals once it is migrated; {notes[0]}"
                migrate = partial(_migrate, uri, notes[0], say)
                return [Finding(hide_in_address(uri), what, "MLflow migrates it", migrate)]
            client = open_client(uri, to_write=False)
            if known is not None:
                return _examine_experiments(client, sweeps, known, hide_in_address(uri), say)
            for sweep in sweeps:
                runs = find_runs(client, sweep.find_experiment(client), sweep.record.sweep_id)
                found += _Examination(sweep, client, say).examine(runs)
            return found
    except TrackingError as error:
        remedy = "look at it or its server, then once more: galaxy-exp doctor"
        what = f"cannot be compared with the journals of {len(sweeps)} sweeps: {error}"
        return [Finding(hide_in_address(uri), what, remedy)]


def _migrate(uri: str, note: str, say: Say) -> None:
    from galaxy_exp.tracking.store import open_client

    say(note)
    open_client(uri)


def _examine_experiments(
    client: MlflowClient, sweeps: Sequence[TrackedSweep], known: set[str], store: str, say: Say
) -> list[Finding]:
    """Asks for all runs of an experiment at once, which also finds those of unknown sweeps."""
    from galaxy_exp.tracking import names
    from galaxy_exp.tracking.mlflow_runs import find_runs

    by_experiment: dict[str | None, list[TrackedSweep]] = defaultdict(list)
    for sweep in sweeps:
        by_experiment[sweep.find_experiment(client)].append(sweep)
    found = []
    for experiment_id, group in by_experiment.items():
        by_sweep: dict[str, list[Run]] = defaultdict(list)
        for run in find_runs(client, experiment_id):
            by_sweep[run.data.tags[names.SWEEP_ID]].append(run)
        for sweep in group:
            found += _Examination(sweep, client, say).examine(by_sweep.get(sweep.record.sweep_id, []))
        remedy = "another folder's, or its journal was deleted; left as they are, the MLflow UI can delete them"
        for sweep_id, runs in by_sweep.items():
            if sweep_id not in known:
                what = f"no journal here contains its {len(runs)} runs in {store}"
                found.append(Finding(sweep_id, what, remedy, is_harmless=True))
    return found


def compare_runs(record: SweepRecord, runs: Iterable[Run]) -> RunComparison:
    """Compares a journal with the active runs of its sweep."""
    from galaxy_exp.tracking import names

    by_id = {run.info.run_id: run for run in runs}
    parents = [run for run in by_id.values() if run.data.tags[names.KIND] == "sweep"]
    children: dict[int, list[Run]] = defaultdict(list)
    for run in by_id.values():
        if run.data.tags[names.KIND] == "trial":
            children[int(run.data.tags[names.TRIAL])].append(run)
    expected = {"the sweep": parents} | {f"trial {n}": found for n, found in children.items() if n in record.trials}
    kept = _journaled_runs(record)
    extra = {
        what: [run.info.run_id for run in found if run.info.run_id not in kept]
        for what, found in expected.items()
        if len(found) > 1
    }
    unended = {trial.number for trial in record.running}
    open_runs = [run for n, found in children.items() if n in unended for run in found]
    if record.ended is None:
        open_runs += parents
    return RunComparison(
        lacking=tuple(t.number for t in record.trials.values() if t.result is not None and _lacks(t, by_id)),
        lacks_sweep=_lacks_sweep(record, by_id),
        doubled=tuple(run_id for found in extra.values() for run_id in found),
        doubled_trials=tuple(what for what, found in extra.items() if found),
        orphans=tuple(run.info.run_id for run in open_runs if run.info.status == "RUNNING"),
        unknown=tuple(r.info.run_id for n, found in children.items() if n not in record.trials for r in found),
    )


def _journaled_runs(record: SweepRecord) -> set[str | None]:
    return {record.parent_run_id} | {trial.run_id for trial in record.trials.values()}


def _lacks(trial: TrialRecord, runs: dict[str, Run]) -> bool:
    from galaxy_exp.tracking.names import STATUS, allowed_name, merged_names

    run = runs.get(trial.run_id or "")
    if run is None or not trial.projected or run.info.status != STATUS[trial.state]:
        return True
    last = trial.reports[-1].metrics if trial.reports else {}
    merged = merged_names(last)
    wanted = {allowed_name(name): value for name, value in last.items() if math.isfinite(value)}
    return any(run.data.metrics.get(name) != value for name, value in wanted.items() if name not in merged)


def _lacks_sweep(record: SweepRecord, runs: dict[str, Run]) -> bool:
    run = runs.get(record.parent_run_id or "")
    return run is None or (record.ended is not None and run.info.status != _final_status(record))


def _final_status(record: SweepRecord) -> str:
    if record.ended is None:
        return "KILLED"
    return "FINISHED" if record.ended.succeeded else "FAILED"


class _Examination:
    """Findings of one sweep in MLflow; each repair locks the journal."""

    def __init__(self, sweep: TrackedSweep, client: MlflowClient | None, say: Say) -> None:
        self._folder = sweep.folder
        self._record = sweep.record
        self._client = client
        self._say = say

    def examine(self, runs: list[Run]) -> list[Finding]:
        """Findings in the order in which they are to be repaired; `runs` are the active ones of this sweep."""
        return self._examine_runs(runs) + ([] if self._client is None else self._examine_version(self._client))

    def _examine_runs(self, runs: list[Run]) -> list[Finding]:
        found, sweep_id = compare_runs(self._record, runs), self._record.sweep_id
        findings = []
        if found.lacking or found.lacks_sweep:
            what = f"MLflow lacks {' and '.join(_describe_lacking(self._record, found))}"
            remedy = "it is written from the journal, as by galaxy-exp sync"
            findings.append(Finding(sweep_id, what, remedy, lambda: self._write(found.lacking)))
        if found.doubled:
            what = f"MLflow has more than one run of {_listed(found.doubled_trials)}"
            remedy = "those the journal does not name are deleted; MLflow can restore them"
            findings.append(Finding(sweep_id, what, remedy, lambda: self._delete(found.doubled)))
        if found.orphans:
            n_runs = "1 run is" if len(found.orphans) == 1 else f"{len(found.orphans)} runs are"
            what = f"{n_runs} RUNNING in MLflow, and no driver runs the sweep"
            remedy = f"they are closed as KILLED; galaxy-exp resume {sweep_id} continues the sweep"
            findings.append(Finding(sweep_id, what, remedy, lambda: self._close(found.orphans)))
        if found.unknown:
            what = f"MLflow has {len(found.unknown)} runs of trials that the journal does not have"
            remedy = "left as they are, the MLflow UI can delete them"
            findings.append(Finding(sweep_id, what, remedy, is_harmless=True))
        return findings

    def _examine_version(self, client: MlflowClient) -> list[Finding]:
        """Compares the journal with the registered version that has the sweep's id in its tags."""
        from galaxy_exp.registry.packaging import find_version

        record, sweep_id = self._record, self._record.sweep_id
        if record.registered is None:
            found = find_version(client, record.config.model_name, sweep_id)
            if found is None:
                return []
            what = f"{found.name} version {found.version} is registered, and the journal does not know of it"
            remedy = f"galaxy-exp resume {sweep_id} continues from there"
            if record.winner is None:
                return [Finding(sweep_id, what, remedy, is_harmless=True)]
            event = ModelRegistered(number=record.winner, name=found.name, version=found.version)
            return [Finding(sweep_id, what, f"it is added to the journal; {remedy}", lambda: self._append(event))]
        if find_version(client, record.registered.name, sweep_id) is not None:
            return []
        what = f"{record.registered.name} version {record.registered.version} is no longer in the registry"
        return [Finding(sweep_id, what, "if it was not deleted on purpose: run the sweep again", is_harmless=True)]

    def _append(self, event: ModelRegistered) -> None:
        with Journal.reopen(self._folder.path) as journal:
            journal.append(event)

    def _write(self, numbers: Sequence[int]) -> None:
        from galaxy_exp.sweep_images import restore_data
        from galaxy_exp.tracking.sweep_tracking import build_projection, check_recorded_store

        with Journal.reopen(self._folder.path) as journal:
            record = journal.record
            check_recorded_store(record, None, self._say)
            data = restore_data(record, self._folder, self._say)
            projection = build_projection(journal, self._folder, data, self._say)
            self._say(f"writing what MLflow lacks of {self._folder.sweep_id}")
            projection.write_again([number for number in numbers if record.trials[number].run_id is not None])
            projection.close_sweep(_final_status(record))

    def _delete(self, run_ids: Sequence[str]) -> None:
        from galaxy_exp.tracking.store import tracking_errors

        with Journal.reopen(self._folder.path) as journal, tracking_errors(self._record.tracking_uri):
            assert self._client is not None
            kept = _journaled_runs(journal.record)
            for run_id in run_ids:
                if run_id not in kept and self._client.get_run(run_id).info.lifecycle_stage == "active":
                    self._client.delete_run(run_id)

    def _close(self, run_ids: Sequence[str]) -> None:
        """Ends runs as KILLED at the time of the journal's last event, with a tag that says why."""
        from galaxy_exp.tracking import names
        from galaxy_exp.tracking.mlflow_runs import to_milliseconds
        from galaxy_exp.tracking.store import tracking_errors

        with Journal.reopen(self._folder.path) as journal, tracking_errors(self._record.tracking_uri):
            assert self._client is not None
            for run_id in run_ids:
                reason = "closed by galaxy-exp doctor: no driver runs the sweep any more"
                self._client.set_tag(run_id, names.CLOSED, reason)
                self._client.set_terminated(run_id, "KILLED", to_milliseconds(journal.record.updated_at))


def _describe_lacking(record: SweepRecord, found: RunComparison) -> list[str]:
    parts = []
    if found.lacking:
        is_all = len(found.lacking) == len(record.trials) > 1
        named = _listed([str(number) for number in found.lacking])
        some = f"trial{'s' if len(found.lacking) > 1 else ''} {named}"
        parts.append(f"all {len(record.trials)} trials" if is_all else some)
    if found.lacks_sweep:
        parts.append("the sweep's own run" if record.ended is None else "the end of the sweep")
    return parts


def _listed(words: Sequence[str]) -> str:
    more = [f"{len(words) - _MOST_LISTED} more"] if len(words) > _MOST_LISTED else []
    return ", ".join([*words[:_MOST_LISTED], *more])
