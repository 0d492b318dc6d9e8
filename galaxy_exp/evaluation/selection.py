"""Who wins: on validation data alone, and not on a single lucky seed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from galaxy_exp.errors import SweepFailedError
from galaxy_exp.journal.events import FinalistsChosen, WinnerChosen
from galaxy_exp.journal.journal import Journal
from galaxy_exp.journal.record import SweepRecord, TrialRecord
from galaxy_exp.records import HyperparameterValue

__all__ = ["Standing", "choose_finalists", "choose_winner", "find_best", "standings"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A finalist and what its configuration reached when it was trained again."""

    finalist: int
    trials: list[TrialRecord]
    mean: float
    """Of the objective on the validation images."""
    spread: float | None
    """Standard deviation between seeds; None for a single one, which has none."""

    def __str__(self) -> str:
        if self.spread is None:
            return f"{self.mean:.4f} with 1 fresh seed"
        return f"{self.mean:.4f} +- {self.spread:.4f} over {len(self.trials)} fresh seeds"


def choose_finalists(journal: Journal, why_search_ended: str) -> None:
    """The best configurations of the search by validation objective, `registry.finalists` of them; once a sweep.

    With several objectives, those on the Pareto front come first. Of trials that differ in their number of epochs
    alone, as those that a KerasTuner Hyperband promotes do, only the best is taken.
    """
    record = journal.record
    if record.finalists is None:
        best: dict[frozenset[tuple[str, HyperparameterValue]], int] = {}
        for trial in [*record.pareto_front(), *record.leaderboard()]:
            best.setdefault(_configuration(trial), trial.number)
        numbers = list(best.values())[: record.config.registry.finalists]
        journal.append(FinalistsChosen(numbers=numbers, reason=why_search_ended))


def _configuration(trial: TrialRecord) -> frozenset[tuple[str, HyperparameterValue]]:
    """The hyperparameters, without what KerasTuner's oracles note down for themselves as `tuner/...`."""
    return frozenset((name, value) for name, value in trial.values.items() if not name.startswith("tuner/"))


def standings(record: SweepRecord) -> list[Standing]:
    """The finalists that trained again to a model, the best mean first; ties go to the one the search found better."""
    found = []
    for finalist in record.finalists or []:
        trials = record.confirmations(finalist)
        values = [value for trial in trials if (value := trial.objective_value(record.objective)) is not None]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            found.append(Standing(finalist, trials, statistics.fmean(values), spread))
    return sorted(found, key=lambda standing: record.objective.sort_key(standing.mean))


def find_best(record: SweepRecord) -> TrialRecord | None:
    """The trial that wins if no other is trained; None if none has a model.

    With finalists, the configuration with the best mean over its seeds wins, and of its trials the best on the
    validation images is taken. Without, it is the best trial of the search; the earlier one of two equals.
    """
    ranked = standings(record)
    trials = ranked[0].trials if ranked else record.leaderboard(1)
    key = record.objective.sort_key
    return min(trials, key=lambda trial: key(trial.objective_value(record.objective) or 0.0), default=None)


def choose_winner(journal: Journal) -> TrialRecord:
    """The trial whose model is tested, registered and used: `find_best`.

    Raises:
        SweepFailedError: if no trial ended with a model.
    """
    record = journal.record
    winner = record.winning_trial
    if winner is None:
        winner = find_best(record)
        if winner is None:
            raise SweepFailedError(_why_no_winner(record))
        journal.append(WinnerChosen(number=winner.number))
    return winner


def _why_no_winner(record: SweepRecord) -> str:
    reasons = [trial.result.reason for trial in record.trials.values() if trial.result]
    last = f"; the last: {reasons[-1]}" if reasons else ""
    return f"none of the {len(record.trials)} trials of {record.sweep_id} ended with a model{last}"
