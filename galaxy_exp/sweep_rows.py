"""Sweeps as rows of tables, JSON and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from galaxy_exp.encoder_file import describe_start
from galaxy_exp.errors import ConfigError, JournalError
from galaxy_exp.evaluation import conclusion
from galaxy_exp.evaluation.held_out_report import label_of, shown_names
from galaxy_exp.evaluation.selection import standings
from galaxy_exp.folders import SweepFolder
from galaxy_exp.journal.events import OrderTaken
from galaxy_exp.journal.journal import read_with_state
from galaxy_exp.journal.record import SweepRecord
from galaxy_exp.records import SweepState
from galaxy_exp.redaction import hide_in_address
from galaxy_exp.wording import format_duration, iso_time, local_time

__all__ = [
    "LIST_COLUMNS",
    "LIST_IMPORTANCE",
    "describe_order",
    "describe_sweep",
    "list_for_people",
    "show_for_people",
    "sweep_row",
]

LIST_IMPORTANCE = (
    "sweep",
    "state",
    "best",
    "comparison",
    "trials",
    "winner_configuration",
    "objective",
    "registered",
    "started",
    "data",
)
"""The columns of the table of `galaxy-exp list`, the most important first."""


def describe_sweep(record: SweepRecord, state: SweepState) -> dict[str, Any]:
    """A sweep for JSON and CSV; `started` is ISO 8601, UTC."""
    config, search, winner = record.config, record.config.search, record.winning_trial
    row = _readable_row(record, state)
    return {
        "id": row["sweep"],
        "state": row["state"],
        "started": row["started"],
        "duration": format_duration(record.active_seconds),
        "data": row["data"],
        "simulated": row["simulated"],
        "data_digest": record.started.data_digest[:16],
        "hypermodel": config.hypermodel,
        "search": f"{search.sampler_choice} + {search.scheduler}, objective {search.objective_text}",
        "workers": record.workers_chosen.why if record.workers_chosen else config.execution.workers,
        "changed": [str(change) for event in record.changed for change in event.changes] or None,
        "orders": [describe_order(order) for order in record.orders] or None,
        "trials": _count_trials(record),
        "trial_states": dict(Counter(trial.state_name for trial in record.trials.values())),
        "ended": record.ended.reason if record.ended else None,
        "pareto_front": [t.number for t in record.pareto_front()] if len(record.objectives) > 1 else None,
        "epochs": record.epochs,
        "best_trial": row["best_trial"],
        "best_objective": row["best"],
        "finalists": {standing.finalist: str(standing) for standing in standings(record)} or None,
        "winner": row["winner"],
        "winner_configuration": row["winner_configuration"],
        "winner_params": winner.values if winner is not None else None,
        "started_from": describe_start(winner.values) if winner is not None else None,
        "sealed_test": {
            number: {name: round(report[name], 4) for name in shown_names(report)}
            for number, report in record.test_reports.items()
        },
        "gain_over_baseline": {metric: gain.to_dict() for metric, gain in record.gains.items()} or None,
        "comparison": conclusion.compare_with_baseline(record) or None,
        "test_opening": record.opening or None,
        "registered": f"{record.registered.name} version {record.registered.version}" if record.registered else None,
        "promotion": record.promotion.reason if record.promotion else None,
        "experiment": config.experiment_name,
        "tracking_uri": hide_in_address(record.tracking_uri),
        "parent_run_id": record.parent_run_id,
    }


def show_for_people(record: SweepRecord, state: SweepState) -> dict[str, Any]:
    """The entries of `galaxy-exp show`, the result first; those that are None or empty are not shown."""
    row, tested = describe_sweep(record, state), record.winner_test
    entries: dict[str, Any] = {"sweep": record.sweep_id, "state": state, "ended because": row["ended"]}
    entries |= conclusion.answer(record)
    if tested is not None:
        entries["held-out test"] = f"{tested['n_images']} {conclusion.simulated(record)}images the sweep never saw"
        for name in conclusion.scores_shown(record):
            parts = [conclusion.score_with_interval(name, tested), conclusion.versus_baseline(record, name)]
            entries[label_of(name, tested)] = "; ".join(filter(None, parts))
        entries["comparison"] = row["comparison"]
    row["started"], row["states"] = local_time(record.started.time), row["trial_states"]
    row["finalists"] = "; ".join(f"trial {each.finalist}: {each}" for each in standings(record)) or None
    return entries | {name.replace("_", " "): row[name] for name in _SHOWN}


_SHOWN = ("started_from", "finalists", "registered", "promotion", "trials", "states", "pareto_front", "epochs",
          "started", "duration", "data", "hypermodel", "search", "workers", "changed", "orders", "test_opening",
          "experiment", "tracking_uri", "parent_run_id", "data_digest")  # fmt: skip
"""The entries of `galaxy-exp show` after the result, by their names in JSON."""


def describe_order(taken: OrderTaken) -> str:
    """`stop 7: trial 7 ends after epoch 5 of 20`; `stop 7 refused: there is no trial 7 yet`."""
    return f"{taken.order or taken.file}{'' if taken.accepted else ' refused'}: {taken.answer}"


LIST_COLUMNS = (
    "sweep",
    "state",
    "reason",
    "started",
    "data",
    "simulated",
    "trials",
    "max_trials",
    "objective",
    "best",
    "best_trial",
    "winner",
    "winner_configuration",
    "comparison",
    "registered",
)
"""The columns of `galaxy-exp list` in JSON and CSV, and of `list_sweeps`."""


def sweep_row(folder: SweepFolder) -> dict[str, Any]:
    """A row of `galaxy-exp list`; `reason` says why a sweep failed, or why its journal cannot be read.

    A journal of another release may have a configuration that this one refuses at its first use.
    """
    try:
        return _readable_row(*read_with_state(folder.path))
    except (JournalError, ConfigError) as error:
        found = {"sweep": folder.sweep_id, "state": SweepState.UNREADABLE, "reason": str(error).splitlines()[0]}
        return dict.fromkeys(LIST_COLUMNS) | found


def _readable_row(record: SweepRecord, state: SweepState) -> dict[str, Any]:
    best, winner = record.leaderboard(1), record.winning_trial
    return {
        "sweep": record.sweep_id,
        "state": state,
        "reason": record.ended.reason if record.ended is not None and not record.ended.succeeded else None,
        "started": iso_time(record.started.time),
        "data": _describe_data(record),
        "simulated": record.simulated,
        "trials": sum(trial.result is not None for trial in record.searched),
        "max_trials": record.config.search.max_trials,
        "objective": record.objective.name,
        "best": best[0].objective_value(record.objective) if best else None,
        "best_trial": best[0].number if best else None,
        "winner": record.winner,
        "winner_configuration": conclusion.name_configuration(winner, record) if winner is not None else None,
        "comparison": conclusion.short_comparison(record) or None,
        "registered": f"{record.registered.name} v{record.registered.version}" if record.registered else None,
    }


def list_for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `list` for a table: local time, `trials` of how many; without `simulated`, which `data` says too.

    `reason` is left out as well: it may be long, and is printed below the table.
    """
    if row["started"] is None:
        return {"sweep": row["sweep"], "state": row["state"]}
    first = ("sweep", "state", "trials", "objective", "best", "winner_configuration", "comparison", "registered")
    changed = {
        "trials": f"{row['trials']} of {row['max_trials']}",
        "started": local_time(datetime.fromisoformat(row["started"]).timestamp()),
    }
    return {name: row[name] for name in (*first, "started", "data")} | changed


def _count_trials(record: SweepRecord) -> str:
    """`18 of 20`, and how many train finalists again."""
    ended = [record.trials[number] for number in record.end_order]
    again = sum(trial.retrains is not None for trial in ended)
    searched = f"{len(ended) - again} of {record.config.search.max_trials}"
    return f"{searched}, and {again} that train finalists again" if again else searched


def _describe_data(record: SweepRecord) -> str:
    """The data source as in the sweep file."""
    source = record.config.data.source
    return f"{source} (SIMULATED galaxies)" if record.simulated else source
