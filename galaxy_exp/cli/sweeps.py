"""`galaxy-exp list`, `show` and `trials`: what the journals say, without MLflow or TensorFlow."""

from __future__ import annotations

import time
from typing import Any

import click

from galaxy_exp.cli.output import format_duration, format_option, print_rows
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.journal.journal import read_record
from galaxy_exp.journal.record import SweepRecord, TrialRecord

__all__ = ["list_command", "show_command", "trials_command"]

_SWEEP_ARGUMENT = click.argument("sweep", required=False)


@click.command("list")
@format_option
def list_command(output_format: str) -> None:
    """List the sweeps of this folder, the newest last."""
    rows = [_sweep_row(read_record(folder.path)) for folder in ProjectFolder.default().sweeps()]
    print_rows(rows, output_format, empty="no sweeps here yet; start one with: galaxy-exp sweep sweeps/quickstart.yaml")


@click.command("show")
@_SWEEP_ARGUMENT
@format_option
def show_command(sweep: str | None, output_format: str) -> None:
    """Show one sweep: its settings, its state, the winner and the sealed test.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep.
    """
    record = read_record(_find(sweep).path)
    details = describe_sweep(record)
    if output_format == "table":
        print_rows([{"": key, record.sweep_id: value} for key, value in details.items()], "table")
    else:
        print_rows([details], output_format)


@click.command("trials")
@_SWEEP_ARGUMENT
@click.option("--sort/--no-sort", default=True, show_default=True, help="the best trial first, or by number")
@format_option
def trials_command(sweep: str | None, sort: bool, output_format: str) -> None:
    """List the trials of a sweep.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep.
    """
    record = read_record(_find(sweep).path)
    trials = list(record.trials.values())
    if sort:
        ranked = record.leaderboard()
        trials = [*ranked, *(trial for trial in trials if trial not in ranked)]
    rows = [trial_row(trial, record) for trial in trials]
    if output_format == "table":
        rows = [_short_row(row, trials) for row in rows]
    title = f"{record.sweep_id}: objective is {record.objective.name}"
    print_rows(rows, output_format, title, empty=f"sweep {record.sweep_id} has no trials yet")


def trial_row(trial: TrialRecord, record: SweepRecord) -> dict[str, Any]:
    """A trial for machines: the keys `number`, `state`, `objective`, `params`, `epochs`, `seconds`, `run_id` and more."""
    result = trial.result
    return {
        "number": trial.number,
        "state": str(trial.state),
        "objective": trial.objective_value(record.objective),
        "best_epoch": result.best_epoch if result and result.state.has_model else None,
        "epochs": trial.epochs,
        "seconds": round(result.seconds, 2) if result else None,
        "parameters": result.parameters if result else None,
        "reason": result.reason if result else "",
        "params": trial.values,
        "metrics": result.metrics if result else {},
        "seed": trial.seed,
        "attempt": trial.attempt,
        "run_id": trial.run_id,
    }


def describe_sweep(record: SweepRecord) -> dict[str, Any]:
    """A sweep for machines and for the table of `show`."""
    config, best = record.config, record.leaderboard()[:1]
    return {
        "id": record.sweep_id,
        "state": sweep_state(record),
        "started": _local_time(record.started.time),
        "duration": format_duration(record.updated_at - record.started.time),
        "data": config.data.source + (" (simulated galaxies)" if config.data.source == "simulated" else ""),
        "data_digest": record.started.data_digest[:16],
        "hypermodel": config.hypermodel,
        "search": f"{config.search.sampler} + {config.search.pruner}, objective {config.search.objective}",
        "trials": f"{len(record.end_order)} of {config.search.max_trials}",
        "trial_states": _count_states(record),
        "epochs": sum(trial.epochs for trial in record.trials.values()),
        "best_trial": best[0].number if best else None,
        "best_objective": best[0].objective_value(record.objective) if best else None,
        "winner": record.winner,
        "sealed_test": {number: _short_report(report) for number, report in record.test_reports.items()},
        "registered": f"{record.registered.name} version {record.registered.version}" if record.registered else None,
        "promotion": record.promotion.reason if record.promotion else None,
        "experiment": config.tracking.experiment,
        "tracking_uri": record.started.tracking_uri,
        "parent_run_id": record.parent_run_id,
    }


def sweep_state(record: SweepRecord) -> str:
    """`finished`, `failed: why`, or `unfinished` (running, interrupted or killed)."""
    if record.ended is None:
        return "unfinished"
    return "finished" if record.ended.succeeded else f"failed: {record.ended.reason}"


def _sweep_row(record: SweepRecord) -> dict[str, Any]:
    best = record.leaderboard()[:1]
    return {
        "sweep": record.sweep_id,
        "state": sweep_state(record),
        "started": _local_time(record.started.time),
        "trials": len(record.end_order),
        "max_trials": record.config.search.max_trials,
        "objective": record.objective.name,
        "best": best[0].objective_value(record.objective) if best else None,
        "best_trial": best[0].number if best else None,
        "registered": f"{record.registered.name} v{record.registered.version}" if record.registered else "",
    }


def _short_row(row: dict[str, Any], trials: list[TrialRecord]) -> dict[str, Any]:
    """What fits a terminal: of the hyperparameters only those that differ between trials."""
    kept = {key: row[key] for key in ("number", "state", "objective", "epochs", "seconds")}
    varying = [
        name
        for name in dict.fromkeys(name for trial in trials for name in trial.values)
        if len({repr(trial.values.get(name)) for trial in trials}) > 1
    ]
    changed = ", ".join(f"{name}={_short_value(row['params'][name])}" for name in varying if name in row["params"])
    return {**kept, "hyperparameters": changed or "(all the same)"}


def _short_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _short_report(report: dict[str, Any]) -> dict[str, float]:
    return {name: round(report[name], 4) for name in ("accuracy", "macro_f1", "balanced_accuracy")}


def _count_states(record: SweepRecord) -> dict[str, int]:
    counts: dict[str, int] = {}
    for trial in record.trials.values():
        counts[str(trial.state)] = counts.get(str(trial.state), 0) + 1
    return counts


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _find(reference: str | None) -> SweepFolder:
    return ProjectFolder.default().find_sweep(reference)
