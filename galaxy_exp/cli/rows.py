"""Sweeps and trials as rows of tables, JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any

import click

from galaxy_exp.cli.output import format_duration, print_rows
from galaxy_exp.encoder_file import describe_start
from galaxy_exp.errors import ConfigError, JournalError
from galaxy_exp.evaluation.selection import standings
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import OrderTaken
from galaxy_exp.journal.journal import read_record
from galaxy_exp.journal.record import SweepRecord, TrialRecord, result_value
from galaxy_exp.records import Gain
from galaxy_exp.tracking.store import hide_in_address
from galaxy_exp.wording import iso_time, local_time, short_value

__all__ = [
    "describe_order",
    "describe_settings",
    "describe_sweep",
    "for_people",
    "ordered_trials",
    "print_leaderboard",
    "state_for_people",
    "sweep_row",
    "trial_row",
]


def print_leaderboard(record: SweepRecord, sort: bool = True, limit: int | None = None) -> None:
    """Prints the table of trials, or its first `limit` rows."""
    trials = ordered_trials(record, sort)
    front = {trial.number for trial in record.pareto_front()} if len(record.objectives) > 1 else set()
    rows = [_short_row(trial, record, front) for trial in trials[:limit]]
    simulated = ", on SIMULATED galaxies" if record.simulated else ""
    title = f"{record.sweep_id}: objective is {record.config.search.objective_text}{simulated}"
    print_rows(rows, "table", title, empty=f"sweep {record.sweep_id} has no trials yet")
    if front:
        click.echo(
            f"pareto: no other trial is better in one objective and no worse in the others ({len(front)} trials)"
        )
    fixed = fixed_settings(record)
    if fixed and len(trials) > 1:
        click.echo(f"fixed in all but the baseline: {_join(fixed)}")
    if limit is not None and len(trials) > limit:
        click.echo(f"and {len(trials) - limit} more: galaxy-exp trials {record.sweep_id}")


def ordered_trials(record: SweepRecord, sort: bool) -> list[TrialRecord]:
    """All trials, by number; with `sort`, the leaderboard first."""
    trials = list(record.trials.values())
    if not sort:
        return trials
    ranked = record.leaderboard()
    places = {trial.number: place for place, trial in enumerate(ranked)}
    return sorted(trials, key=lambda trial: (trial.retrains is not None, places.get(trial.number, len(places))))


def trial_row(trial: TrialRecord, record: SweepRecord) -> dict[str, Any]:
    """A trial for JSON and CSV."""
    result = trial.result
    return {
        "number": trial.number,
        "state": str(trial.state),
        "simulated": record.simulated,
        "objective": trial.objective_value(record.objective),
        "best_epoch": result.best_epoch if result and result.state.has_model else None,
        "epochs": trial.epochs,
        "seconds": round(trial.seconds, 2) if result else None,
        "training_seconds": round(result.training_seconds, 2) if result else None,
        "parameters": result.parameters if result else None,
        "flops": result.flops if result else None,
        "seconds_per_image": result.seconds_per_image if result else None,
        "precision": result.precision if result else None,
        "backend": result.backend if result else None,
        "reason": result.reason if result else "",
        "params": trial.values,
        "metrics": result.metrics if result else {},
        "seed": trial.seed,
        "confirms": trial.retrains,
        "attempt": trial.attempt,
        "from_epoch": trial.from_epoch,
        "paused": trial.is_paused,
        "run_id": trial.run_id,
    }


def describe_sweep(record: SweepRecord) -> dict[str, Any]:
    """A sweep for JSON, CSV and the table of `show`; `started` is ISO 8601, UTC."""
    config, search, best = record.config, record.config.search, record.leaderboard(1)
    return {
        "id": record.sweep_id,
        "state": sweep_state(record),
        "started": iso_time(record.started.time),
        "duration": format_duration(record.updated_at - record.started.time),
        "data": _describe_data(record),
        "simulated": record.simulated,
        "data_digest": record.started.data_digest[:16],
        "hypermodel": config.hypermodel,
        "search": f"{search.sampler_choice} + {search.scheduler}, objective {search.objective_text}",
        "workers": record.workers_chosen.why if record.workers_chosen else config.execution.workers,
        "changed": [str(change) for event in record.changed for change in event.changes] or None,
        "orders": [describe_order(order) for order in record.orders] or None,
        "trials": _count_trials(record),
        "trial_states": _count_states(record),
        "ended": record.ended.reason if record.ended else None,
        "pareto_front": [t.number for t in record.pareto_front()] if len(record.objectives) > 1 else None,
        "epochs": record.epochs,
        "best_trial": best[0].number if best else None,
        "best_objective": best[0].objective_value(record.objective) if best else None,
        "finalists": {standing.finalist: str(standing) for standing in standings(record)} or None,
        "winner": record.winner,
        "started_from": describe_start(record.winning_trial.values) if record.winning_trial else None,
        "sealed_test": {number: _short_report(report) for number, report in record.test_reports.items()},
        "gain_over_baseline": {metric: gain.to_dict() for metric, gain in record.gains.items()} or None,
        "test_opening": record.opening or None,
        "registered": f"{record.registered.name} version {record.registered.version}" if record.registered else None,
        "promotion": record.promotion.reason if record.promotion else None,
        "experiment": config.experiment_name,
        "tracking_uri": hide_in_address(record.tracking_uri),
        "parent_run_id": record.parent_run_id,
    }


def describe_order(taken: OrderTaken) -> str:
    """`stop 7: trial 7 ends after epoch 5 of 20`; `stop 7 refused: there is no trial 7 yet`."""
    return f"{taken.order or taken.file}{'' if taken.accepted else ' refused'}: {taken.answer}"


def sweep_state(record: SweepRecord) -> str:
    """`finished`, `failed: why`, or `unfinished` (running, interrupted or killed)."""
    if record.ended is None:
        return "unfinished"
    return "finished" if record.ended.succeeded else f"failed: {record.ended.reason}"


def sweep_row(folder: SweepFolder) -> dict[str, Any]:
    """A row of `galaxy-exp list`; a sweep whose journal cannot be read has the reason as its state.

    A journal of another release may have a configuration that this one refuses at its first use.
    """
    try:
        return _readable_row(read_record(folder.path))
    except (JournalError, ConfigError) as error:
        return {"sweep": folder.sweep_id, "state": f"unreadable: {str(error).splitlines()[0]}"}


def _readable_row(record: SweepRecord) -> dict[str, Any]:
    best = record.leaderboard(1)
    return {
        "sweep": record.sweep_id,
        "state": sweep_state(record),
        "started": iso_time(record.started.time),
        "data": _describe_data(record),
        "simulated": record.simulated,
        "trials": sum(trial.result is not None for trial in record.searched),
        "max_trials": record.config.search.max_trials,
        "objective": record.objective.name,
        "best": best[0].objective_value(record.objective) if best else None,
        "best_trial": best[0].number if best else None,
        "registered": f"{record.registered.name} v{record.registered.version}" if record.registered else "",
    }


def describe_settings(trial: TrialRecord, record: SweepRecord) -> str:
    """A trial's differences from the baseline, in one line, without those that the sweep file fixes for all trials."""
    if trial.retrains is not None:
        return f"trial {trial.retrains} again, with another seed"
    if trial.number == 0 and record.config.search.baseline:
        return "the baseline"
    fixed = fixed_settings(record)
    changed = {name: value for name, value in record.changes_from_baseline(trial.values).items() if name not in fixed}
    return _join(changed) or "as the baseline" + (" but for what is fixed" if fixed else "")


def fixed_settings(record: SweepRecord) -> dict[str, Any]:
    """The values that the sweep file fixes for every trial but the baseline, if they differ from the baseline's."""
    fixed = {name: entry for name, entry in record.config.space.items() if isinstance(entry, str | bool | int | float)}
    return record.changes_from_baseline(fixed)


def _join(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={short_value(value, 3)}" for name, value in values.items())


def state_for_people(trial: TrialRecord) -> str:
    """The state of a trial; `paused` for one that was stopped and may continue."""
    return "paused" if trial.is_paused else str(trial.state)


def _short_row(trial: TrialRecord, record: SweepRecord, front: Set[int]) -> dict[str, Any]:
    """A row that fits a terminal; with several objectives, all of them and whether the trial is on the Pareto front."""
    row = trial_row(trial, record)
    row["state"] = state_for_people(trial)
    kept = {key: row[key] for key in ("number", "state", "objective", "epochs", "seconds")}
    for objective in record.objectives[1:]:
        kept[objective.name] = result_value(trial.result, objective.name) if trial.result else None
    if len(record.objectives) > 1:
        kept["pareto"] = "yes" if trial.number in front else ""
    return {**kept, "differs from the baseline in": describe_settings(trial, record)}


def _short_report(report: dict[str, Any]) -> dict[str, float]:
    return {name: round(report[name], 4) for name in ("accuracy", "macro_f1", "balanced_accuracy")}


def _count_trials(record: SweepRecord) -> str:
    """`18 of 20`, and how many train finalists again."""
    ended = [record.trials[number] for number in record.end_order]
    again = sum(trial.retrains is not None for trial in ended)
    searched = f"{len(ended) - again} of {record.config.search.max_trials}"
    return f"{searched}, and {again} that train finalists again" if again else searched


def _count_states(record: SweepRecord) -> dict[str, int]:
    counts: dict[str, int] = {}
    for trial in record.trials.values():
        counts[str(trial.state)] = counts.get(str(trial.state), 0) + 1
    return counts


def _describe_data(record: SweepRecord) -> str:
    """The data source as in the sweep file."""
    source = record.config.data.source
    return f"{source} (SIMULATED galaxies)" if record.simulated else source


def for_people(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `list` or `show` for a table: local time, gains in words, `simulated` left out since `data` has it."""
    shown = {key: value for key, value in row.items() if key != "simulated"}
    if "started" in shown:
        shown["started"] = local_time(datetime.fromisoformat(shown["started"]).timestamp())
    for metric, gain in (shown.get("gain_over_baseline") or {}).items():
        found = Gain(metric, gain["difference"], gain["low"], gain["high"])
        shown["gain_over_baseline"] = shown["gain_over_baseline"] | {metric: str(found)}
    return shown
