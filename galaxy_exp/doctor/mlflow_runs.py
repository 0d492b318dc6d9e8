"""A sweep's runs in MLflow against its journal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from galaxy_exp.doctor.findings import Finding
from galaxy_exp.journal.record import SweepRecord, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunComparison", "close_orphans", "compare_runs", "describe", "unknown_sweeps"]

_SHOWN = 8
"""So many numbers are written out."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What disagrees between a journal without a driver and the active runs of its sweep."""

    lacking: tuple[int, ...] = ()
    """Ended trials whose run is missing, unfinished or incomplete, by number."""
    lacks_sweep: bool = False
    """Whether the parent run is missing, or not closed although the sweep ended."""
    doubled: tuple[str, ...] = ()
    """Ids of runs beside the one that the journal names."""
    doubled_trials: tuple[str, ...] = ()
    """What they are runs of: `trial 3`, `the sweep`."""
    orphans: tuple[str, ...] = ()
    """Ids of RUNNING runs."""
    unknown: tuple[str, ...] = ()
    """Ids of runs of trials that the journal does not have."""


def compare_runs(record: SweepRecord, runs: Iterable[Run]) -> RunComparison:
    """Compares; `runs` are the active ones of this sweep."""
    from galaxy_exp.tracking import names

    by_id = {run.info.run_id: run for run in runs}
    parents = [run for run in by_id.values() if run.data.tags[names.KIND] == "sweep"]
    children: dict[int, list[Run]] = {}
    for run in by_id.values():
        if run.data.tags[names.KIND] == "trial":
            children.setdefault(int(run.data.tags[names.TRIAL]), []).append(run)
    lacking = [t.number for t in record.trials.values() if t.result is not None and _lacks(t, by_id)]
    doubled = {"the sweep": parents} | {f"trial {n}": found for n, found in children.items() if n in record.trials}
    kept = {record.parent_run_id} | {trial.run_id for trial in record.trials.values()}
    extra = {
        what: [run.info.run_id for run in found if run.info.run_id not in kept]
        for what, found in doubled.items()
        if len(found) > 1
    }
    unended = {trial.number for trial in record.running}
    open_runs = [run for n, found in children.items() if n in unended for run in found]
    if record.ended is None:
        open_runs += parents
    return RunComparison(
        lacking=tuple(lacking),
        lacks_sweep=_lacks_sweep(record, by_id),
        doubled=tuple(run_id for found in extra.values() for run_id in found),
        doubled_trials=tuple(what for what, found in extra.items() if found),
        orphans=tuple(run.info.run_id for run in open_runs if run.info.status == "RUNNING"),
        unknown=tuple(r.info.run_id for n, found in children.items() if n not in record.trials for r in found),
    )


def _lacks(trial: TrialRecord, runs: dict[str, Run]) -> bool:
    """Whether MLflow does not have all of an ended trial."""
    from galaxy_exp.tracking.names import allowed_name
    from galaxy_exp.tracking.projection import STATUS

    run = runs.get(trial.run_id or "")
    if run is None or not trial.projected or run.info.status != STATUS[trial.state]:
        return True
    last = trial.reports[-1].metrics if trial.reports else {}
    return any(
        run.data.metrics.get(allowed_name(name)) != value for name, value in last.items() if math.isfinite(value)
    )


def _lacks_sweep(record: SweepRecord, runs: dict[str, Run]) -> bool:
    run = runs.get(record.parent_run_id or "")
    if run is None or record.ended is None:
        return run is None
    return bool(run.info.status != ("FINISHED" if record.ended.succeeded else "FAILED"))


def unknown_sweeps(runs: Iterable[Run], known: set[str], store: str) -> list[Finding]:
    """Runs of sweeps that have no journal here: another folder's, or of a deleted one. They are not touched."""
    from galaxy_exp.tracking import names

    counts: dict[str, int] = {}
    for run in runs:
        sweep_id = run.data.tags[names.SWEEP_ID]
        if sweep_id not in known:
            counts[sweep_id] = counts.get(sweep_id, 0) + 1
    remedy = "another folder's, or its journal was deleted; left as they are, the MLflow UI can delete them"
    return [
        Finding(sweep_id, f"no journal here knows of its {count} runs in {store}", remedy, is_harmless=True)
        for sweep_id, count in counts.items()
    ]


def describe(
    record: SweepRecord,
    found: RunComparison,
    *,
    write: Callable[[], None],
    discard: Callable[[], None],
    close: Callable[[], None],
) -> list[Finding]:
    """The findings of a comparison, in the order in which they are to be mended.

    Args:
        record: of the sweep.
        found: the comparison.
        write: writes what MLflow lacks.
        discard: puts the doubled runs into the bin.
        close: closes the orphans.
    """
    sweep_id = record.sweep_id
    findings = []
    if found.lacking or found.lacks_sweep:
        what = f"MLflow lacks {' and '.join(_lacking(record, found))}"
        findings.append(Finding(sweep_id, what, "it is written from the journal, as by galaxy-exp sync", write))
    if found.doubled:
        what = f"MLflow has more than one run of {_listed(found.doubled_trials)}"
        findings.append(Finding(sweep_id, what, "those the journal does not name go to MLflow's bin", discard))
    if found.orphans:
        runs = "1 run is" if len(found.orphans) == 1 else f"{len(found.orphans)} runs are"
        what = f"{runs} RUNNING in MLflow, and no driver runs the sweep"
        remedy = f"they are closed as KILLED; galaxy-exp resume {sweep_id} goes on"
        findings.append(Finding(sweep_id, what, remedy, close))
    if found.unknown:
        what = f"MLflow has {len(found.unknown)} runs of trials that the journal does not have"
        findings.append(Finding(sweep_id, what, "left as they are, the MLflow UI can delete them", is_harmless=True))
    return findings


def _lacking(record: SweepRecord, found: RunComparison) -> list[str]:
    parts = []
    if found.lacking:
        whole = len(found.lacking) == len(record.trials) and len(record.trials) > 1
        named = f"all {len(record.trials)}" if whole else _listed([str(number) for number in found.lacking])
        parts.append(f"trial{'s' if len(found.lacking) > 1 else ''} {named}")
    if found.lacks_sweep:
        parts.append("the sweep's own run" if record.ended is None else "the end of the sweep")
    return parts


def _listed(words: Iterable[str]) -> str:
    names = list(words)
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])


def close_orphans(client: MlflowClient, record: SweepRecord, run_ids: Iterable[str]) -> None:
    """Ends runs as KILLED at the time of the journal's last event, with a tag that says why."""
    from galaxy_exp.tracking import names

    for run_id in run_ids:
        client.set_tag(run_id, names.CLOSED, "closed by galaxy-exp doctor: no driver runs the sweep any more")
        client.set_terminated(run_id, "KILLED", int(record.updated_at * 1000))
