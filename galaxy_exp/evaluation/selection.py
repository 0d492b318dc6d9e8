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
            # without the entries that KerasTuner's oracles add
            values = ((name, value) for name, value in trial.values.items() if not name.startswith("tuner/"))
            best.setdefault(frozenset(values), trial.number)
        numbers = list(best.values())[: record.config.registry.finalists]
        journal.append(FinalistsChosen(numbers=numbers, reason=why_search_ended))


def standings(record: SweepRecord) -> list[Standing]:
    """The finalists with a retrained model, the best mean first; ties go to the one that was better in the search."""
    found = []
    for finalist in record.finalists or []:
        trials = record.retrainings(finalist)
        if values := [trial.objective_value(record.objective) or 0.0 for trial in trials]:
            spread = statistics.stdev(values) if len(values) > 1 else None
            found.append(Standing(finalist, trials, statistics.fmean(values), spread))
    return sorted(found, key=lambda standing: record.objective.sort_key(standing.mean))


def find_best(record: SweepRecord) -> TrialRecord | None:
    """The trial that wins if no other is trained; None if none has a model.

    With finalists, the best trial of the configuration with the best mean over its seeds; else the best trial of the
    search, the earlier one of two equals.
    """
    ranked, objective = standings(record), record.objective
    trials = ranked[0].trials if ranked else record.leaderboard(1)  # all have a model
    return min(trials, key=lambda trial: objective.sort_key(trial.objective_value(objective) or 0.0), default=None)


def choose_winner(journal: Journal) -> TrialRecord:
    """The trial whose model is tested, registered and used: `find_best`, journaled once.

    Raises:
        SweepFailedError: no trial ended with a model.
    """
    record = journal.record
    winner = record.winning_trial or find_best(record)
    if winner is None:
        reasons = [trial.result.reason for trial in record.trials.values() if trial.result]
        last = f"; the last: {reasons[-1]}" if reasons else ""
        raise SweepFailedError(f"none of the {len(record.trials)} trials of {record.sweep_id} ended with a model{last}")
    if record.winner is None:
        journal.append(WinnerChosen(number=winner.number))
    return winner
