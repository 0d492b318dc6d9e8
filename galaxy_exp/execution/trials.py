"""The trials of a sweep: where the next one comes from, what a worker gets for it, what the search learns of it, and
which of them continue with more epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from galaxy_exp.checkpoint_file import CheckpointError, read_identity, why_not_longer
from galaxy_exp.config.differences import EPOCHS
from galaxy_exp.execution.budget import Budget
from galaxy_exp.folders import CheckpointName, SweepFolder
from galaxy_exp.journal.checkpoints import best_checkpoint, checkpoint_after
from galaxy_exp.journal.record import Step, SweepRecord, TrialRecord, violations
from galaxy_exp.records import (
    Constraint,
    HyperparameterValue,
    Objective,
    Outcome,
    SplitFiles,
    TrialResult,
    TrialSpec,
    TrialState,
)
from galaxy_exp.search.proposer import NoProposal, Proposer, epochs_of
from galaxy_exp.search_methods import SAMPLERS

__all__ = [
    "FinalistSource",
    "LongerTraining",
    "NewTrial",
    "NoTrial",
    "SearchSource",
    "TrialSource",
    "epochs_known",
    "find_longer_training",
    "keep_files",
    "outcome_of",
    "proposer_of",
    "trial_spec",
]


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A configuration to train."""

    values: dict[str, HyperparameterValue]
    is_proposed: bool = True
    """False for the baseline and for enqueued configurations."""
    finalist: int | None = None
    """The number of the trial that is trained again; None for a trial of the search."""


@dataclass(frozen=True, slots=True)
class NoTrial:
    """Why no trial is started now."""

    reason: str
    until_a_result: bool = False
    """Whether to ask again when a trial has ended."""


class TrialSource(ABC):
    """Gives the loop its trials; used from one thread. Times (`now`) are in seconds since 1970."""

    @abstractmethod
    def owns(self, trial: TrialRecord) -> bool:
        """Whether a recorded trial came from this source."""

    @abstractmethod
    def refusal(self, record: SweepRecord, now: float) -> str | None:
        """Why no further trial is started; None if the record does not tell."""

    @abstractmethod
    def next_trial(self, record: SweepRecord, now: float) -> NewTrial | NoTrial:
        """The next configuration, or why there is none."""

    def replay(self, record: SweepRecord) -> None:  # noqa: B027 - a source without a state has nothing to restore
        """Restores the state that follows from the record; called once, before anything else."""

    def exceeded(self, record: SweepRecord, now: float, epochs_reported: int = 0) -> bool:
        """Whether no trial is given another epoch.

        Args:
            epochs_reported: since the last event in the record; negative while a trial repeats epochs, which the
                record counts already.
        """
        return False

    def tell(self, record: SweepRecord, trial: TrialRecord) -> None:  # noqa: B027
        """Called when a trial from this source has ended."""


class SearchSource(TrialSource):
    """The baseline, the enqueued configurations, and then what the search proposes, until the budget is spent."""

    def __init__(self, proposer: Proposer, budget: Budget) -> None:
        self._proposer = proposer
        self._budget = budget

    def owns(self, trial: TrialRecord) -> bool:
        return trial.retrains is None

    def replay(self, record: SweepRecord) -> None:
        """Repeats proposals and results in the order in which they were journaled."""
        for known in record.history:
            trial = record.trials[known.number]
            if not self.owns(trial):
                continue
            if known.step is Step.PROPOSED:
                self._proposer.adopt(trial.number, trial.values, proposed=not trial.predetermined)
            else:
                self.tell(record, replace(trial, result=known.result, reports=list(known.reports)))

    def refusal(self, record: SweepRecord, now: float) -> str | None:
        return self._budget.refusal(record, now)

    def next_trial(self, record: SweepRecord, now: float) -> NewTrial | NoTrial:
        reason = self.refusal(record, now)
        if reason is not None:
            return NoTrial(reason)
        number = len(record.trials)
        if waiting := record.waiting:
            self._proposer.adopt(number, waiting[0], proposed=False)
            return NewTrial(waiting[0], is_proposed=False)
        proposal = self._proposer.propose(number)
        if proposal is NoProposal.EXHAUSTED:
            is_built_in = record.config.search.sampler_choice in SAMPLERS
            return NoTrial(
                "every configuration of the space was tried" if is_built_in else "the sampler has nothing left to try"
            )
        if proposal is NoProposal.WAIT:
            reason = "the sampler waits for results, and no trial runs that could give any"
            return NoTrial(reason, until_a_result=True)
        return NewTrial(dict(proposal))

    def exceeded(self, record: SweepRecord, now: float, epochs_reported: int = 0) -> bool:
        return self._budget.exceeded(record, now, epochs_reported) is not None

    def tell(self, record: SweepRecord, trial: TrialRecord) -> None:
        constraints = record.config.search.constraint_records
        self._proposer.tell(trial.number, outcome_of(trial, record.objectives, constraints))


class FinalistSource(TrialSource):
    """Every finalist once with a new seed, then every one again, until each was trained with `seeds` seeds."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds

    def owns(self, trial: TrialRecord) -> bool:
        return trial.retrains is not None

    def refusal(self, record: SweepRecord, now: float) -> str | None:
        is_over = self._position(record) >= len(record.finalists or []) * self._seeds
        return "every finalist was trained with every seed" if is_over else None

    def next_trial(self, record: SweepRecord, now: float) -> NewTrial | NoTrial:
        reason = self.refusal(record, now)
        if reason is not None:
            return NoTrial(reason)
        finalists = record.finalists or []
        finalist = finalists[self._position(record) % len(finalists)]
        return NewTrial(dict(record.trials[finalist].values), finalist=finalist)

    def _position(self, record: SweepRecord) -> int:
        return sum(self.owns(trial) for trial in record.trials.values())


def proposer_of(record: SweepRecord) -> Proposer:
    """A new proposer for the sweep, without results yet."""
    from galaxy_exp.search.building import build_proposer
    from galaxy_exp.space.search_space import SearchSpace

    config = record.config
    space = SearchSpace.from_config(record.started.space)
    return build_proposer(config.search, space, epochs=config.training.epochs, evidence=record.started.evidence)


def trial_spec(
    record: SweepRecord, folder: SweepFolder, data: SplitFiles, trial: TrialRecord, attempt: int
) -> TrialSpec:
    """All that a worker needs for an attempt at a trial."""
    from galaxy_exp.hypermodel.loading import locate_hypermodel

    config, start = record.config, trial.reports[: trial.from_epoch]
    is_baseline = record.is_baseline(trial.number)  # always trained, since all trials are compared with it
    return TrialSpec(
        sweep_id=record.sweep_id,
        number=trial.number,
        values=trial.values,
        space=record.started.space,
        hypermodel=locate_hypermodel(config.hypermodel, folder.path),
        data=data,
        epochs=epochs_of(trial.values, config.training.epochs),
        seed=trial.seed,
        precision=record.precision or config.training.precision,
        deterministic=config.training.deterministic,
        jit_compile=config.training.jit_compile,
        objective=record.objective,
        constraints=() if is_baseline else config.search.constraint_records,
        folder=folder.attempt(trial.number, attempt),
        attempt=attempt,
        checkpoints=folder.checkpoints if config.execution.has_checkpoints else None,
        checkpoint_seconds=60 * config.execution.checkpoint_minutes,
        keeps_last=trial.retrains is None,
        resume_from=folder.checkpoint(checkpoint_after(start[-1])) if start else None,
        first_epoch=len(start),
        encoders=folder.encoders,
        agreement=config.data.votes.agreement,
    )


def epochs_known(record: SweepRecord, folder: SweepFolder, trial: TrialRecord) -> int:
    """How many epochs the best checkpoint has that the next attempt at a trial can begin with; 0 without one."""
    if not record.config.execution.has_checkpoints:
        return 0
    best = best_checkpoint(trial, folder.find_checkpoints())
    return 0 if best is None else best.epoch


def keep_files(folder: SweepFolder, result: TrialResult) -> None:
    """Makes the files of the attempt that ended those of its trial; deletes all of them if the trial has no model."""
    if result.state.has_model:
        folder.keep_attempt(result.number, result.attempt)
    else:
        folder.remove_trial(result.number)


def outcome_of(trial: TrialRecord, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> Outcome:
    """What the search learns of a trial.

    Raises:
        RuntimeError: the trial is still running.
    """
    if trial.result is None:
        raise RuntimeError(f"trial {trial.number} is still running")
    return Outcome(
        state=trial.state,
        curve=tuple(trial.curve(objectives[0].name)),
        values=trial.objective_values(objectives),
        violations=violations(trial.result, constraints),
        epoch_seconds=trial.epoch_seconds,
    )


@dataclass(frozen=True, slots=True)
class LongerTraining:
    """The trials that trained all the epochs there were before."""

    numbers: tuple[int, ...]
    """Those that continue, the best first."""
    others: Mapping[str, int]
    """Of the others how many, by the reason why they do not continue."""
    anew: Mapping[str, list[int]]
    """The paused and interrupted trials that cannot continue, by the reason."""

    def describe(self, epochs: int) -> list[str]:
        """One line about the trials that continue, and one for each reason why others do not or begin anew.

        Args:
            epochs: of a trial from now on.
        """
        named = ", ".join(map(str, self.numbers))
        lines = [f"trials that continue to epoch {epochs}, the best first: {named}"] if named else []
        lines += [f"completed trials that do not continue: {n} ({why})" for why, n in self.others.items()]
        anew = self.anew.items()
        return lines + [f"trials that begin anew since {why}: {', '.join(map(str, numbers))}" for why, numbers in anew]


def find_longer_training(record: SweepRecord, folder: SweepFolder) -> LongerTraining:
    """Which completed trials of the search have epochs left since `training.epochs` was raised.

    Paused trials are not among them: whether they continue is decided as before. Stopped trials have ended. Nothing is
    found unless `training.epochs` was raised.

    Args:
        folder: with the checkpoints of the sweep.
    """
    found = folder.find_checkpoints()
    former = {change.then for event in record.changed for change in event.changes if change.key == EPOCHS}
    complete = [
        trial
        for trial in record.leaderboard()
        if trial.state is TrialState.COMPLETED and trial.epochs in former - {record.config.training.epochs}
    ]
    obstacles = {trial.number: _obstacle(trial, folder, found) for trial in complete}
    return LongerTraining(
        tuple(number for number, why in obstacles.items() if why is None),
        Counter(why for why in obstacles.values() if why is not None),
        _find_anew(record, folder, found) if former else {},
    )


def _find_anew(record: SweepRecord, folder: SweepFolder, found: Collection[CheckpointName]) -> dict[str, list[int]]:
    anew: dict[str, list[int]] = {}
    for trial in record.searched:
        best = best_checkpoint(trial, found) if trial.is_paused or trial.result is None else None
        if best is None:
            continue
        try:
            known = read_identity(folder.checkpoint(best))
        except CheckpointError:  # found out, and told, when it continues
            continue
        if known.epochs != record.config.training.epochs and why_not_longer(known) is not None:
            why = f"their {known.values.get('schedule', 'own')} schedules end with epoch {known.epochs}"
            anew.setdefault(why, []).append(trial.number)
    return anew


def _obstacle(trial: TrialRecord, folder: SweepFolder, found: Collection[CheckpointName]) -> str | None:
    best = best_checkpoint(trial, found)
    if best is None or best.epoch < trial.epochs:
        return "no checkpoint of their last epoch"
    try:
        return why_not_longer(read_identity(folder.checkpoint(best)))
    except CheckpointError:
        return "a checkpoint that cannot be read"
