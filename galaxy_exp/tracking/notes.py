"""Descriptions of runs in the MLflow UI, in Markdown, made from records alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from galaxy_exp.data.prepared import PreparedData
from galaxy_exp.evaluation.conclusion import (
    compare_with_baseline,
    comparison_words,
    describe_progress,
    join_values,
    name_configuration,
    score_with_interval,
    scores_shown,
    simulated,
    winner_changes,
)
from galaxy_exp.evaluation.held_out_report import label_of
from galaxy_exp.evaluation.selection import standings
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.tracking import names
from galaxy_exp.tracking.views import charts_address, finalists_address, trials_address
from galaxy_exp.wording import short_value

__all__ = ["EXPERIMENT_NOTE", "describe_sweep", "describe_trial"]

EXPERIMENT_NOTE = (
    "Sweeps of galaxy_exp, a run each, with their trials below; a sweep's page links its charts, report and model."
)
"""The description of an experiment, of which the UI shows one line."""


def describe_sweep(
    record: SweepRecord, data: PreparedData, experiment_id: str, run_id: str, *, has_report: bool = True
) -> str:
    """The description of the parent run: the sweep, its result, and links.

    `has_report` says whether its artifacts have the report and the figures of the hyperparameters already.
    """
    paragraphs = [_what_it_is(record, data), " · ".join(_links(record, experiment_id, run_id, has_report))]
    if record.winner is None and record.end_order:
        paragraphs.append(f"So far: {describe_progress(record)}.")
    by_order = [taken.change for taken in record.orders if taken.change is not None]
    resumed = [event for event in record.changed if event not in by_order]
    paragraphs += [f"Changed when it was resumed: {change}." for event in resumed for change in event.changes]
    paragraphs += [f"Ordered while it ran: {taken.order}: {taken.answer}." for taken in record.orders if taken.accepted]
    if (winner := record.winning_trial) is not None and (test := record.winner_test) is not None:
        paragraphs.append(_who_won(record, winner, test))
    if found := standings(record):
        each = "; ".join(f"trial {standing.finalist}: {standing}" for standing in found)
        paragraphs.append(f"Finalists by {record.objective.name}: {each}.")
    if (model := record.registered) is not None:
        decided = record.promotion
        alias = f", {'champion' if decided.promoted else 'challenger'}: {decided.reason}" if decided else ""
        paragraphs.append(f"Registered as {model.name}, version {model.version}{alias}.")
    return "\n\n".join(paragraphs)


def describe_trial(trial: TrialRecord, record: SweepRecord) -> str:
    """The description of a child run: its result, and its differences from the baseline."""
    result, sentences = trial.result, [f"{_role(trial, record)}."]
    value = trial.objective_value(record.objective)
    if result is not None:
        name = f"{simulated(record)}`{record.objective.name}`"
        reached = "" if value is None else f"{name} {value:.4f} at epoch {result.best_epoch}; "
        sentences.append(f"{reached}{trial.state_name}: {result.reason}.")
    text, changes = " ".join(sentences), record.changes_from_baseline(trial.values)
    if not (changes and record.has_baseline and record.started.baseline):
        return text
    changed = ", ".join(f"{name} = {short_value(value, 3)}" for name, value in changes.items())
    return f"{text}\n\nDiffers from the baseline in {changed}."


def _what_it_is(record: SweepRecord, data: PreparedData) -> str:
    what = "**SIMULATED** galaxies" if record.simulated else f"`{data.source}`"
    n_again = len(record.trials) - len(record.searched)
    again = f" and {n_again} that train finalists again" if n_again else ""
    n_trials = f"{len(record.searched)} trials{again}" if record.winner is not None else "trials as they come"
    return f"Sweep `{record.sweep_id}` on {what}: {n_trials}, objective `{record.objective.name}`."


def _who_won(record: SweepRecord, winner: TrialRecord, test: Mapping[str, Any]) -> str:
    scores = [_score(name, test, record) for name in scores_shown(record)]
    images = f"{test['n_images']} held-out {simulated(record)}test images"
    values = join_values({name: value for name, (value, _) in winner_changes(record).items()})
    differs = f" It differs from the baseline in {values}." if values and record.started.baseline else ""
    sentences = f"**Winner: {name_configuration(winner, record)}**.{differs} On {images}: {'; '.join(scores)}."
    comparison = compare_with_baseline(record)
    return f"{sentences} **{comparison}**" if comparison else sentences


def _score(name: str, test: Mapping[str, Any], record: SweepRecord) -> str:
    baseline, gain = record.baseline_test, record.gains.get(name)
    value, _, interval = score_with_interval(name, test).partition(" ")
    text = f"{label_of(name, test)} **{value}** {interval}".rstrip()
    if baseline is None or baseline.get(name) is None:
        return text
    whose, word = comparison_words(record)
    return f"{text}, {whose} {baseline[name]:.3f}" + (f", {word} {gain}" if gain else "")


def _links(record: SweepRecord, experiment_id: str, run_id: str, has_report: bool) -> Iterator[str]:
    """They are at the top, since the UI shows only the beginning of a long description."""
    yield f"[Trials, the best first]({trials_address(record, experiment_id)})"
    yield f"[Charts]({charts_address(record, experiment_id)})"
    if record.finalists:
        yield f"[Finalists, mean over seeds]({finalists_address(record, experiment_id)})"
    if has_report:
        artifacts, mode = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts", names.TRAINING_MODE
        yield f"[Report]({artifacts}/report.html?{mode})"
        yield f"[Hyperparameters]({artifacts}/insight/insight.html?{mode})"
    if record.registered is not None:
        name, version = record.registered.name, record.registered.version
        yield f"[Model {name}, version {version}](#/models/{quote(name)}/versions/{version}?{names.TRAINING_MODE})"


def _role(trial: TrialRecord, record: SweepRecord) -> str:
    name = f"Trial {trial.number} of sweep `{record.sweep_id}`"
    if trial.retrains is not None:
        name += f": trial {trial.retrains} again, with another seed"
    elif record.is_baseline(trial.number):
        name += ": the baseline"
    return f"**The winner.** {name}" if trial.number == record.winner else name
