"""Sweeps as rows of tables, JSON and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from galaxy_exp.encoder_file import describe_start
from galaxy_exp.errors import ConfigError, JournalError
from galaxy_exp.evaluation.conclusion import (
    best_configuration,
    compare_with_baseline,
    join_values,
    name_configuration,
    score_with_interval,
    short_comparison,
    validation_score,
    winner_changes,
)
from galaxy_exp.evaluation.selection import standings
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import OrderTaken
from galaxy_exp.journal.journal import read_record
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.tracking.store import hide_in_address
from galaxy_exp.wording import format_duration, iso_time, local_time

__all__ = [
    "LIST_IMPORTANCE",
    "describe_order",
    "describe_sweep",
    "list_for_people",
    "show_for_people",
    "sweep_row",
    "sweep_state",
]

LIST_IMPORTANCE = (
    "sweep",
    "state",
    "best",
    "comparison",
    "trials",
    "winner",
    "objective",
    "registered",
    "started",
    "data",
)
"""The columns of `galaxy-exp list`, the most important first."""


def describe_sweep(record: SweepRecord) -> dict[str, Any]:
    """A sweep for JSON and CSV; `started` is ISO 8601, UTC."""
    config, search, best = record.config, record.config.search, record.leaderboard(1)
    winner = record.winning_trial
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
        "winner_configuration": name_configuration(winner, record) if winner is not None else None,
        "winner_params": winner.values if winner is not None else None,
        "started_from": describe_start(winner.values) if winner is not None else None,
        "sealed_test": {number: _short_report(report) for number, report in record.test_reports.items()},
        "gain_over_baseline": {metric: gain.to_dict() for metric, gain in record.gains.items()} or None,
        "comparison": compare_with_baseline(record) or None,
        "test_opening": record.opening or None,
        "registered": f"{record.registered.name} version {record.registered.version}" if record.registered else None,
        "promotion": record.promotion.reason if record.promotion else None,
        "experiment": config.experiment_name,
        "tracking_uri": hide_in_address(record.tracking_uri),
        "parent_run_id": record.parent_run_id,
    }


def show_for_people(record: SweepRecord) -> dict[str, Any]:
    """The entries of `galaxy-exp show`, the result first; those that are None or empty are not shown."""
    row = describe_sweep(record)
    tested, baseline, best = record.winner_test, record.baseline_test, best_configuration(record)
    simulated = "SIMULATED " if record.simulated else ""
    entries: dict[str, Any] = {"sweep": record.sweep_id, "state": row["state"], "ended because": row["ended"]}
    if record.winning_trial is not None:
        entries["winner"] = row["winner_configuration"]
        entries["validation"] = validation_score(record)
    elif best is not None:
        value = best.objective_value(record.objective)
        entries["best so far"] = f"{name_configuration(best, record)}, {record.objective.name} {value:.4f}"
    if best is not None:
        values = join_values({name: value for name, (value, _) in winner_changes(record).items()})
        entries["values"] = f"{values}; else as the baseline" if values and record.started.baseline else values
    if tested is not None:
        entries["sealed test"] = f"{tested['n_images']} {simulated}images the sweep never saw"
        for name, label in _TESTED.items():
            entries[label] = score_with_interval(name, tested)
            if baseline is not None:
                gain = record.gains.get(name)
                entries[label] += f"; baseline {baseline[name]:.3f}" + (f", gain {gain}" if gain else "")
        entries["comparison"] = row["comparison"]
    entries["started from"], entries["finalists"] = row["started_from"], _finalists(record)
    for name in ("registered", "promotion", "trials"):
        entries[name] = row[name]
    entries["states"] = Counter(trial.state_name for trial in record.trials.values())
    entries["pareto front"], entries["epochs"] = row["pareto_front"], row["epochs"]
    entries["started"] = local_time(record.started.time)
    for name in ("duration", "data", "hypermodel", "search", "workers", "changed", "orders", "test_opening"):
        entries[name.replace("_", " ")] = row[name]
    for name in ("experiment", "tracking_uri", "parent_run_id", "data_digest"):
        entries[name.replace("_", " ")] = row[name]
    return entries


_TESTED = {"macro_f1": "macro-F1", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}


def _finalists(record: SweepRecord) -> str | None:
    """`trial 1: 0.5400 +- 0.0440 over 2 fresh seeds; trial 4: ...`."""
    return "; ".join(f"trial {each.finalist}: {each}" for each in standings(record)) or None


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
    best, winner = record.leaderboard(1), record.winning_trial
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
        "winner": record.winner,
        "winner_configuration": name_configuration(winner, record) if winner is not None else "",
        "comparison": short_comparison(record),
        "registered": f"{record.registered.name} v{record.registered.version}" if record.registered else "",
    }


def list_for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `list` for a table: local time, `trials` of how many, and `simulated` left out since `data` has it."""
    if "started" not in row:
        return dict(row)
    return {
        "sweep": row["sweep"],
        "state": row["state"],
        "trials": f"{row['trials']} of {row['max_trials']}",
        "objective": row["objective"],
        "best": row["best"],
        "winner": row["winner_configuration"],
        "comparison": row["comparison"],
        "registered": row["registered"],
        "started": local_time(datetime.fromisoformat(row["started"]).timestamp()),
        "data": row["data"],
    }


def _short_report(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: round(report[name], 4) for name in ("accuracy", "macro_f1", "balanced_accuracy")}


def _count_trials(record: SweepRecord) -> str:
    """`18 of 20`, and how many train finalists again."""
    ended = [record.trials[number] for number in record.end_order]
    again = sum(trial.retrains is not None for trial in ended)
    searched = f"{len(ended) - again} of {record.config.search.max_trials}"
    return f"{searched}, and {again} that train finalists again" if again else searched


def _count_states(record: SweepRecord) -> dict[str, int]:
    return dict(Counter(str(trial.state) for trial in record.trials.values()))


def _describe_data(record: SweepRecord) -> str:
    """The data source as in the sweep file."""
    source = record.config.data.source
    return f"{source} (SIMULATED galaxies)" if record.simulated else source
