"""What a sweep found, in words: the winner, how it differs from the baseline, and whether it is better; how far it is.

Commands, the report page, MLflow's notes and `SweepResult` use the same sentences.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from galaxy_exp.config.differences import EPOCHS
from galaxy_exp.evaluation.held_out_report import compared_names, label_of, shown_names
from galaxy_exp.evaluation.metrics import METRICS
from galaxy_exp.evaluation.selection import standings
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import LESS_IS_BETTER, Gain, TrialState, gain_in
from galaxy_exp.wording import format_duration, short_value

__all__ = [
    "CHANGES",
    "SCORES",
    "answer",
    "baseline_retrained",
    "best_configuration",
    "compare_with_baseline",
    "compared_metric",
    "comparison_words",
    "describe_progress",
    "expected_trials",
    "join_values",
    "name_configuration",
    "score_with_interval",
    "scores_shown",
    "short_comparison",
    "simulated",
    "summary_lines",
    "versus_baseline",
    "winner_changes",
]

CHANGES = "differs from the baseline in"
"""The heading of a trial's values in a few words."""

SCORES = ("macro_f1", "accuracy", "balanced_accuracy")
"""The scores that are shown of a held-out test."""


def best_configuration(record: SweepRecord) -> TrialRecord | None:
    """The trial of the search whose configuration won or, before that, has the best score; None without a score."""
    winner = record.winning_trial
    if winner is None:
        return next(iter(record.leaderboard(1)), None)
    return winner if winner.retrains is None else record.trials[winner.retrains]


def name_configuration(trial: TrialRecord, record: SweepRecord) -> str:
    """`configuration of trial 1, retrained as 7`; `trial 3`, or `trial 0, the baseline`."""
    baseline = ", the baseline" if any(map(record.is_baseline, (trial.number, trial.retrains))) else ""
    if trial.retrains is None:
        return f"trial {trial.number}{baseline}"
    return f"configuration of trial {trial.retrains}{baseline}, retrained as {trial.number}"


def _validation_score(record: SweepRecord) -> str:
    """The winner's objective on the validation images, with the mean over its seeds; empty before the choice."""
    winner = record.winning_trial
    if winner is None or (value := winner.objective_value(record.objective)) is None:
        return ""
    own = [standing for standing in standings(record) if standing.finalist == winner.retrains]
    mean = f"; its configuration: {own[0]}" if own and len(own[0].trials) > 1 else ""
    return f"{record.objective.name} {value:.4f} on {simulated(record)}validation images{mean}"


def winner_changes(record: SweepRecord) -> dict[str, tuple[Any, Any]]:
    """The values of the best configuration that differ from the baseline's, each with the baseline's.

    The baseline's is None where it does not use the hyperparameter. Without a baseline, all values are in it.
    """
    best = best_configuration(record)
    if best is None:
        return {}
    changed = record.changes_from_baseline(best.values)
    return {name: (value, record.started.baseline.get(name)) for name, value in changed.items()}


def compared_metric(record: SweepRecord) -> str:
    """The score by which the winner is compared with the baseline: the objective's, else macro-F1.

    Of votes, the objective's where their report has it, else the deviance.
    """
    name, tested = record.objective.name.removeprefix("val_"), record.winner_test
    if tested is not None and tested.get("votes"):
        return name if name in compared_names(tested) else "deviance"
    return name if name in METRICS else "macro_f1"


def scores_shown(record: SweepRecord) -> tuple[str, ...]:
    """`SCORES`, and the one by which the winner is compared if it is another; of votes, all that the test has."""
    tested = record.winner_test
    if tested is not None and tested.get("votes"):
        return shown_names(tested)
    return tuple(dict.fromkeys((*SCORES, compared_metric(record))))


def baseline_retrained(record: SweepRecord) -> bool:
    """Whether the baseline's configuration won, trained again: its gain over the baseline is that of another seed."""
    winner = record.winning_trial
    return winner is not None and record.is_baseline(winner.retrains)


def comparison_words(record: SweepRecord) -> tuple[str, str]:
    """What the winner is compared with, and what this makes: `the baseline` and `gain`.

    `its first seed` and `difference` if the baseline's configuration won with another seed.
    """
    return ("its first seed", "difference") if baseline_retrained(record) else ("the baseline", "gain")


def _baseline_cut_short(record: SweepRecord) -> str:
    """A sentence if the baseline had fewer epochs than trials may have: `training.epochs` was raised, or it stopped."""
    first, epochs = record.trials[0], record.config.training.epochs
    was_raised = any(change.key == EPOCHS for event in record.changed for change in event.changes)
    if first.epochs >= epochs or not (was_raised or first.state is TrialState.STOPPED):
        return ""
    return f" The baseline was trained for {first.epochs} of {epochs} epochs."


def compare_with_baseline(record: SweepRecord, gains: Sequence[Gain] = ()) -> str:
    """Whether the winner is better than the baseline, in a sentence, and if the baseline trained for less, in another.

    Empty before the held-out test.

    Args:
        gains: replace those of the journal, which lacks them in sweeps of an earlier release.
    """
    tested, metric = record.winner_test, compared_metric(record)
    if tested is None:
        return ""
    if not record.has_baseline:
        return "There is no baseline to compare with (search.baseline is false)."
    if record.winner == 0:
        return "The baseline itself won: nothing that was searched did better on the validation images."
    first = record.trials[0]
    if first.result is not None and not first.state.has_model:
        return f"There is no baseline to compare with: trial 0 has no model ({first.state}: {first.result.reason})."
    baseline, label = record.baseline_test, label_of(metric, tested)
    gain = next((each for each in gains if each.metric == metric), None) or record.gains.get(metric)
    if gain is not None:
        difference = gain.difference
    elif baseline is not None:
        difference = gain_in(metric, tested[metric], baseline[metric])
    else:
        return ""
    amount, interval = _amount(label, metric, difference), f"95% interval {_interval(gain)}" if gain else ""
    if baseline_retrained(record):
        won = "The baseline's configuration won, with another seed; the search found nothing better."
        return f"{won} Its other seed makes a difference of {amount}{f' ({interval})' if gain else ''}."
    cut_short = _baseline_cut_short(record)
    if gain is None:
        return f"The difference from the baseline, {amount}, may be chance: it has no interval.{cut_short}"
    if not gain.is_clear:
        return f"Not distinguishable from the baseline: {amount} ({interval}; may be chance).{cut_short}"
    word = "Better" if gain.difference > 0 else "WORSE"
    if metric in LESS_IS_BETTER:
        return f"{word} than the baseline: {amount} ({interval}).{cut_short}"
    return f"{word} than the baseline by {abs(gain.difference):.3f} {label} ({interval}).{cut_short}"


def _amount(label: str, metric: str, gain: float) -> str:
    """`macro-F1 +0.020`; `cross-entropy (nats) lower by 0.020`, since less is better there."""
    if metric in LESS_IS_BETTER:
        return f"{label} {'lower' if gain >= 0 else 'higher'} by {abs(gain):.3f}"
    return f"{label} {gain:+.3f}"


def _interval(gain: Gain) -> str:
    """The ends; where less is better, with the sign of what `_amount` says: how much lower, or how much higher."""
    says_higher = gain.metric in LESS_IS_BETTER and gain.difference < 0
    low, high = (-gain.high, -gain.low) if says_higher else (gain.low, gain.high)
    return f"{low:+.3f} to {high:+.3f}"


def short_comparison(record: SweepRecord) -> str:
    """`better by 0.080`, `not distinguishable`, `WORSE by 0.010`, or `the baseline won`; empty without an interval."""
    if record.winner_test is not None and (record.winner == 0 or baseline_retrained(record)):
        return "the baseline won" if record.has_baseline else ""
    gain = record.gains.get(compared_metric(record))
    if gain is None or record.baseline_test is None:
        return ""
    if not gain.is_clear:
        return "not distinguishable"
    return f"{'better' if gain.difference > 0 else 'WORSE'} by {abs(gain.difference):.3f}"


def _score_lines(record: SweepRecord) -> list[str]:
    """The scores on the held-out test set with 95% intervals, the baseline's, and the gains; empty before it."""
    tested = record.winner_test
    if tested is None:
        return []
    members = ", ".join(map(str, tested.get("members", [])))
    of = f", the mean of trials {members}" if members else ""
    lines = [f"held-out test, {tested['n_images']} {simulated(record)}images the sweep never saw{of}:"]
    for name in scores_shown(record):
        lines.append(f"  {label_of(name, tested)} {score_with_interval(name, tested)}")
        if versus := versus_baseline(record, name):
            lines.append(f"    {versus}")
    shown = "deviance" if tested.get("votes") else "macro_f1"
    for other in tested.get("compared", []):
        gain = Gain.of_difference(shown, *other["differences"][shown])
        lines.append(f"  {label_of(shown, tested)}, {other['name']}: {other[shown]:.3f}, difference {gain}")
    return lines


def summary_lines(record: SweepRecord) -> list[str]:
    """What a sweep found: the winner and its configuration, its scores, and whether it is better than the baseline.

    Before the winner is chosen, the best trial so far.
    """
    best = best_configuration(record)
    if best is None:
        return ["no trial has a model yet"]
    lines = [f"finalist {each.finalist}: {record.objective.name} {each}" for each in standings(record)]
    if record.winning_trial is not None:
        lines.append(f"winner: {name_configuration(record.winning_trial, record)}, {_validation_score(record)}")
    else:
        score = f"{record.objective.name} {best.objective_value(record.objective):.4f}"
        where = f"on {simulated(record)}validation images"
        lines.append(f"best so far: {name_configuration(best, record)}, {score} {where}")
    return [*lines, *_change_lines(record), *_score_lines(record), *filter(None, [compare_with_baseline(record)])]


def _change_lines(record: SweepRecord) -> list[str]:
    changes = winner_changes(record)
    if not changes:
        return []
    width, widest = max(map(len, changes)), max(len(short_value(value, 3)) for value, _ in changes.values())
    lines = [f"  {CHANGES}:" if record.started.baseline else "  its hyperparameters:"]
    for name, (value, baseline) in changes.items():
        if baseline is not None:
            was = f"  (baseline {short_value(baseline, 3)})"
        else:
            was = "  (baseline: not used)" if record.started.baseline else ""
        lines.append(f"    {name:<{width}}  {short_value(value, 3):<{widest}}{was}".rstrip())
    return lines


def score_with_interval(name: str, report: Mapping[str, Any]) -> str:
    """`0.512 (95% interval 0.462 to 0.552)`; reports of earlier releases have no interval."""
    ends = report.get("intervals", {}).get(name)
    return f"{report[name]:.3f}" + (f" (95% interval {ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def versus_baseline(record: SweepRecord, name: str) -> str:
    """`baseline 0.400, gain +0.180 (95% interval ...)`; empty without a test of the baseline.

    If the baseline's configuration won, the baseline is its first training, and the gain is only a difference.
    """
    tested, baseline, gain = record.winner_test, record.baseline_test, record.gains.get(name)
    if tested is None or baseline is None or baseline.get(name) is None:
        return ""
    if name == "count_coverage":  # neither more nor less of it is better
        return f"baseline {baseline[name]:.3f}"
    unknown = f"{gain_in(name, tested[name], baseline[name]):+.3f} (interval not recorded; may be chance)"
    whose, word = comparison_words(record)
    return f"{whose.removeprefix('the ')} {baseline[name]:.3f}, {word} {gain or unknown}"


def answer(record: SweepRecord) -> dict[str, str]:
    """The winner or, before it is chosen, the best trial so far, as entries: who, its score, and its values."""
    winner, best = record.winning_trial, best_configuration(record)
    if best is None:
        return {}
    if winner is not None:
        entries = {"winner": name_configuration(winner, record), "validation": _validation_score(record)}
    else:
        value = best.objective_value(record.objective)
        entries = {"best so far": f"{name_configuration(best, record)}, {record.objective.name} {value:.4f}"}
    values = join_values({name: value for name, (value, _) in winner_changes(record).items()})
    return entries | {"values": f"{values}; else as the baseline" if values and record.started.baseline else values}


def simulated(record: SweepRecord) -> str:
    """What stands before the images, or the score, of a sweep on simulated galaxies; else empty."""
    return "SIMULATED " if record.simulated else ""


def join_values(values: Mapping[str, Any]) -> str:
    """`n_blocks=4, learning_rate=0.00344`."""
    return ", ".join(f"{name}={short_value(value, 3)}" for name, value in values.items())


def expected_trials(record: SweepRecord) -> int:
    """`search.max_trials`; after the search, the number of its trials and of those that train finalists again."""
    if record.finalists is None:
        return record.config.search.max_trials
    return len(record.searched) + len(record.finalists) * record.config.registry.seeds


def describe_progress(record: SweepRecord) -> str:
    """`4 of 6 trials, best val_macro_f1 0.5111 (trial 1), at most about 12 min left`."""
    parts = [f"{len(record.end_order)} of {expected_trials(record)} trials"]
    if best := record.leaderboard(1):
        value = best[0].objective_value(record.objective)
        parts.append(f"best {simulated(record)}{record.objective.name} {value:.4f} (trial {best[0].number})")
    if (left := _seconds_left(record)) is not None:
        parts.append(f"at most about {format_duration(60 * round(left / 60) if left > 60 else left)} left")
    return ", ".join(parts)


def _seconds_left(record: SweepRecord) -> float | None:
    """How long the trials to come may take at the present speed; None before two have ended or if nothing is to come.

    The search ends where its first budget does; `min_expected_gain` and `max_trials_without_gain` may end it sooner.
    """
    if record.ended is not None or record.winner is not None or len(record.end_order) < 2:
        return None
    active = record.active_seconds
    search, registry = record.config.search, record.config.registry
    if record.finalists is not None:
        trained = sum(trial.epochs for trial in list(record.trials.values()) if trial.retrains is not None)
        return _seconds_of(len(record.finalists) * registry.seeds, trained, record)
    done = [len(record.end_order) / search.max_trials]
    if search.max_epochs is not None:
        done.append(record.epochs / search.max_epochs)
    if search.max_hours is not None:
        done.append(active / (3600 * search.max_hours))
    share = min(1.0, max(done))
    return active * (1 - share) / share + _seconds_of(registry.finalists * registry.seeds, 0, record)


def _seconds_of(n_trials: int, n_trained: int, record: SweepRecord) -> float:
    """Of so many trials of all epochs, of which some epochs are trained, on as many workers as are busy now."""
    ended = (record.trials[number] for number in record.end_order)
    seconds = [each for trial in ended if (each := trial.epoch_seconds) is not None]
    n_epochs = max(0, n_trials * record.config.training.epochs - n_trained)
    return n_epochs * statistics.median(seconds) / max(1, len(record.running)) if seconds else 0.0
