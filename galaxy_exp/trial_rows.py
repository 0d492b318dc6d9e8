"""Trials as rows of tables, JSON, CSV and data frames, with the same names of columns in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from galaxy_exp.evaluation.conclusion import CHANGES, join_values, simulated
from galaxy_exp.journal.record import SweepRecord, TrialRecord, result_value
from galaxy_exp.layout import lay_out_table, wrap
from galaxy_exp.wording import count, format_duration

__all__ = [
    "describe_settings",
    "flat_columns",
    "flat_rows",
    "hyperparameter_columns",
    "leaderboard_text",
    "nested_rows",
    "ordered_trials",
]


def leaderboard_text(record: SweepRecord, width: int, sort: bool = True, limit: int | None = None) -> str:
    """The table of trials, or its first `limit` rows, with a title and notes."""
    trials = ordered_trials(record, sort)
    images = f", on {simulated(record)}galaxies" if record.simulated else ""
    title = f"{record.sweep_id}: objective is {record.config.search.objective_text}{images}"
    if not trials:
        return f"sweep {record.sweep_id} has no trials yet"
    front = {trial.number for trial in record.pareto_front()} if len(record.objectives) > 1 else set()
    rows = [_short_row(trial, record, front) for trial in trials[:limit]]
    names = [objective.name for objective in record.objectives]
    importance = ("trial", names[0], "state", CHANGES, *names[1:], "pareto", "epochs", "time")
    lines = [*wrap(title, width, "  "), lay_out_table(rows, width, importance)]
    if front:
        why = "no other trial is better in one objective and no worse in the others"
        lines += wrap(f"pareto: {why} ({count(len(front), 'trial')})", width, "  ")
    fixed = _fixed_settings(record)
    if fixed and len(trials) > 1:
        lines += wrap(f"fixed in all but the baseline: {join_values(fixed)}", width, "  ")
    if limit is not None and len(trials) > limit:
        lines += wrap(f"and {len(trials) - limit} more: galaxy-exp trials {record.sweep_id}", width, "  ")
    return "\n".join(lines)


def ordered_trials(record: SweepRecord, sort: bool = True) -> list[TrialRecord]:
    """All trials, by number; with `sort`, the leaderboard first and those that train finalists again last."""
    trials = list(record.trials.values())
    if not sort:
        return trials
    places = {trial.number: place for place, trial in enumerate(record.leaderboard())}
    return sorted(trials, key=lambda trial: (trial.retrains is not None, places.get(trial.number, len(places))))


def nested_rows(trials: Sequence[TrialRecord], record: SweepRecord) -> list[dict[str, Any]]:
    """The rows of `flat_rows` for JSON, which also have the hyperparameters and metrics nested, by their own names.

    `number`, `objective` and `confirms` are the former names of `trial`, the objective's column and `retrains`.
    """
    return [
        {
            **row,
            "params": trial.values,
            "metrics": trial.result.metrics if trial.result else {},
            "paused": trial.is_paused,
            "number": trial.number,
            "objective": trial.objective_value(record.objective),
            "confirms": trial.retrains,
        }
        for trial, row in zip(trials, flat_rows(trials, record), strict=True)
    ]


def flat_rows(trials: Sequence[TrialRecord], record: SweepRecord) -> list[dict[str, Any]]:
    """A row for each trial with a column for each hyperparameter and each metric of the best epoch; all have all.

    A hyperparameter with the name of another column, as `state`, is called `params.state`; a metric with the name of
    another column or of a hyperparameter, as the `learning_rate` of the epoch, `metrics.learning_rate`.
    """
    params, metrics = hyperparameter_columns(record), _metric_columns(record)
    return [
        _columns(trial, record)
        | {column: trial.values.get(name) for name, column in params.items()}
        | {column: trial.result.metrics.get(name) if trial.result else None for name, column in metrics.items()}
        for trial in trials
    ]


def flat_columns(record: SweepRecord) -> list[str]:
    """The columns of `flat_rows`, also while there is no trial; those of metrics appear when a trial has ended."""
    return [*_fixed_columns(record), *hyperparameter_columns(record).values(), *_metric_columns(record).values()]


def hyperparameter_columns(record: SweepRecord) -> dict[str, str]:
    """The column of each hyperparameter by its name: of the search space, in its order, and of the trials."""
    space = [entry["config"]["name"] for entry in record.started.space.get("space", [])]
    tried = [name for trial in list(record.trials.values()) for name in trial.values]
    fixed = _fixed_columns(record)
    return {name: f"params.{name}" if name in fixed else name for name in [*space, *record.started.baseline, *tried]}


def _metric_columns(record: SweepRecord) -> dict[str, str]:
    """The column of each metric by its name, without the objectives, which every trial has."""
    objectives = {each.name for each in record.objectives}
    taken = {*_fixed_columns(record), *hyperparameter_columns(record)}
    results = [trial.result for trial in list(record.trials.values()) if trial.result is not None]
    names = dict.fromkeys(name for result in results for name in result.metrics if name not in objectives)
    return {name: f"metrics.{name}" if name in taken else name for name in names}


def _fixed_columns(record: SweepRecord) -> list[str]:
    return list(_columns(TrialRecord(0, {}, seed=0, proposed_at=0.0), record))


def _columns(trial: TrialRecord, record: SweepRecord) -> dict[str, Any]:
    """What every trial has besides hyperparameters and metrics; None where it is not known yet."""
    result = trial.result
    objectives = {each.name: result_value(result, each.name) if result else None for each in record.objectives}
    objectives[record.objective.name] = trial.objective_value(record.objective)  # for a trial that runs: so far
    return {
        "trial": trial.number,
        "state": trial.state_name,
        **objectives,
        "epochs": trial.epochs,
        "best_epoch": result.best_epoch if result and result.state.has_model else None,
        "seconds": round(trial.seconds, 2) if result else None,
        "training_seconds": round(result.training_seconds, 2) if result else None,
        **{name: getattr(result, name, None) for name in _OF_RESULT},
        "simulated": record.simulated,
        "reason": result.reason if result else "",
        **{name: getattr(trial, name) for name in _OF_TRIAL},
    }


_OF_RESULT = ("parameters", "flops", "seconds_per_image", "precision", "backend")
_OF_TRIAL = ("retrains", "attempt", "from_epoch", "seed", "run_id")
"""Attributes of `TrialResult` and of `TrialRecord` that are columns under their own names."""


def describe_settings(trial: TrialRecord, record: SweepRecord) -> str:
    """A trial's differences from the baseline, in one line, without those that the sweep file fixes for all trials."""
    if trial.retrains is not None:
        return f"trial {trial.retrains} again, with another seed"
    if record.is_baseline(trial.number):
        return "the baseline"
    fixed = _fixed_settings(record)
    changed = {name: value for name, value in record.changes_from_baseline(trial.values).items() if name not in fixed}
    return join_values(changed) or "as the baseline" + (" but for what is fixed" if fixed else "")


def _fixed_settings(record: SweepRecord) -> dict[str, Any]:
    """The values that the sweep file fixes for every trial but the baseline, if they differ from the baseline's."""
    fixed = {name: entry for name, entry in record.config.space.items() if isinstance(entry, str | bool | int | float)}
    return record.changes_from_baseline(fixed)


def _short_row(trial: TrialRecord, record: SweepRecord, front: set[int]) -> dict[str, Any]:
    """A row that fits a terminal; with several objectives, all of them and whether the trial is on the Pareto front."""
    row = _columns(trial, record)
    row["pareto"] = "yes" if trial.number in front else ""
    row[CHANGES] = describe_settings(trial, record)
    row["time"] = None if row["seconds"] is None else format_duration(row["seconds"])
    names = ("trial", "state", *(each.name for each in record.objectives), "epochs", "time", "pareto", CHANGES)
    return {name: row[name] for name in names}
