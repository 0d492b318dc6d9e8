"""Params and metrics of runs in MLflow, computed from records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.evaluation.held_out_report import shown_names
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import TrialState
from galaxy_exp.tracking.names import allowed_name

__all__ = ["describe_schema", "outcome_metrics", "outcome_params", "sweep_metrics", "sweep_params"]


def sweep_params(record: SweepRecord, data: PreparedData) -> dict[str, Any]:
    """Params of the parent run: the configuration as the sweep began, since params cannot change."""
    config = record.config_at_start
    return {
        "data": data.source,
        "simulated": data.simulated,
        "hypermodel": config.hypermodel,
        "sampler": config.search.sampler_choice,
        "scheduler": config.search.scheduler,
        "objective": config.search.objective_text,
        "max_trials": config.search.max_trials,
        "epochs": config.training.epochs,
        "seed": config.search.seed,
        "split_seed": config.data.split.seed,
    }


def describe_schema(data: PreparedData) -> dict[str, Any]:
    """The schema of the runs' input data set; with votes, their questions too."""
    schema: dict[str, Any] = {"image_shape": data.image_shape, "class_names": data.class_names}
    if data.votes is not None:
        schema |= {"questions": data.votes.questions.to_list(), "votes_are_counts": data.votes.are_counts}
    return schema


def outcome_params(trial: TrialRecord) -> dict[str, Any]:
    """Params of a trial that are known at its end; none for a trial without a model."""
    result = trial.result
    if result is None or not result.state.has_model:
        return {}
    return {
        "precision": result.precision,
        "backend": result.backend,
        "parameters": result.parameters,
        "flops": result.flops,
    }


def outcome_metrics(trial: TrialRecord) -> dict[str, float]:
    """Metrics of a trial that are known at its end; those of the best epoch as `best_val_...`, to sort runs by."""
    result = trial.result
    if result is None:
        return {}
    best = {allowed_name(f"best_{name}"): value for name, value in result.metrics.items() if name.startswith("val_")}
    spent = {"seconds": trial.seconds, "training_seconds": result.training_seconds}
    if result.seconds_per_image:
        spent["seconds_per_image"] = result.seconds_per_image
    return {
        name: value
        for name, value in (best | spent | {"best_epoch": result.best_epoch}).items()
        if math.isfinite(value)
    }


def sweep_metrics(record: SweepRecord) -> dict[str, float]:
    """Metrics of the parent run: best objective, test scores of winner and baseline, counts and hours by state.

    The UI groups charts by the part of a name before the slash.
    """
    values: dict[str, float] = {}
    if best := record.leaderboard(1):
        values[allowed_name(f"best_{record.objective.name}")] = best[0].objective_value(record.objective) or 0.0
    for number, report in record.test_reports.items():
        role = "winner" if number == record.winner else "baseline"
        names = shown_names(report) if report.get("votes") else ("accuracy", "macro_f1", "balanced_accuracy")
        values |= {f"test/{role}_{name}": report[name] for name in names}
        values |= {f"test/{role}_{name}": value for name, value in _later_scores(report).items()}
    for state in (state for state in TrialState if state.is_finished):
        trials = [trial for trial in record.trials.values() if trial.state is state]
        values[f"sweep/trials_{state}"] = len(trials)
        values[f"sweep/hours_{state}"] = sum(trial.seconds for trial in trials) / 3600
    return values


def _later_scores(report: Mapping[str, Any]) -> dict[str, float]:
    """Test scores that the journals of earlier releases lack."""
    found = {name: report.get(name) for name in ("top2", "macro_f1_without_rare", "calibration_error", "temperature")}
    found["calibrated_error"] = (report.get("calibrated") or {}).get("error")
    return {name: value for name, value in found.items() if value is not None}
