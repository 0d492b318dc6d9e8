"""The choice of the winner: on validation data alone, and not on a single lucky seed."""

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
    """A finalist with the scores of its configuration, trained again with other seeds."""

    finalist: int
    trials: list[TrialRecord]
    """The retrained ones, by number."""
    mean: float
    """Of the objective on the validation images."""
    spread: float | None
    """Standard deviation between seeds; None for a single one."""

    def __str__(self) -> str:
        if self.spread is None:
            return f"{self.mean:.4f} with 1 new seed"
        seeds = f"{len(self.trials)} new seeds"
        if self.spread < 0.00005:
            return f"{self.mean:.4f} with each of {seeds}"
        return f"{self.mean:.4f} (mean of {seeds}, standard deviation {self.spread:.4f})"


def choose_finalists(journal: Journal, why_search_ended: str) -> None:
    """Journals the best configurations of the search by validation objective, `registry.finalists` of them, once.

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
    """The hyperparameters, without the entries `tuner/...` that KerasTuner's oracles add."""
    return frozenset((name, value) for name, value in trial.values.items() if not name.startswith("tuner/"))


def standings(record: SweepRecord) -> list[Standing]:
    """The finalists with a retrained model, the best mean first; ties go to the one that was better in the search."""
    found = []
    for finalist in record.finalists or []:
        trials = record.retrainings(finalist)
        values = [value for trial in trials if (value := trial.objective_value(record.objective)) is not None]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            found.append(Standing(finalist, trials, statistics.fmean(values), spread))
    return sorted(found, key=lambda standing: record.objective.sort_key(standing.mean))


def _score(record: SweepRecord, trial: TrialRecord) -> float:
    """The objective; the worst value for a trial without a model."""
    value = trial.objective_value(record.objective)
    return record.objective.worst if value is None else value


def find_best(record: SweepRecord) -> TrialRecord | None:
    """The trial that wins if no other is trained; None if none has a model.

    With finalists, it is the best trial, on the validation images, of the configuration with the best mean over its
    seeds. Without, it is the best trial of the search; the earlier one of two equals.
    """
    ranked = standings(record)
    trials = ranked[0].trials if ranked else record.leaderboard(1)
    return min(trials, key=lambda trial: record.objective.sort_key(_score(record, trial)), default=None)


def choose_winner(journal: Journal) -> TrialRecord:
    """The trial whose model is tested, registered and used: `find_best`, journaled once.

    Raises:
        SweepFailedError: no trial ended with a model.
    """
    record = journal.record
    winner = record.winning_trial or find_best(record)
    if winner is None:
        raise SweepFailedError(_why_no_winner(record))
    if record.winner is None:
        journal.append(WinnerChosen(number=winner.number))
    return winner


def _why_no_winner(record: SweepRecord) -> str:
    reasons = [trial.result.reason for trial in record.trials.values() if trial.result]
    last = f"; the last: {reasons[-1]}" if reasons else ""
    return f"none of the {len(record.trials)} trials of {record.sweep_id} ended with a model{last}"
