"""A KerasTuner oracle whose proposals come from one of our samplers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine import trial as trial_module

from galaxy_exp.errors import ConfigError
from galaxy_exp.records import HyperparameterValue, Objective, Outcome, TrialState
from galaxy_exp.search.building import sampler_factory
from galaxy_exp.search.proposer import NoProposal, SamplerProposer
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace

__all__ = ["Oracle"]

_STATES = {
    trial_module.TrialStatus.COMPLETED: TrialState.COMPLETED,
    trial_module.TrialStatus.STOPPED: TrialState.STOPPED,
}


class Oracle(keras_tuner.Oracle):  # type: ignore[misc]
    """Proposes hyperparameters with a named sampler; usable in any `keras_tuner.Tuner`.

    Differences from KerasTuner's own oracles: the proposal of a trial depends only on the seed, the
    trial's number and the evidence so far, so it can be replayed; no configuration is proposed twice;
    inactive hyperparameters are neither sampled nor recorded; a failed or diverged trial counts as
    evidence as bad as the worst seen; trials may end as "STOPPED", and then count with what they reached.

    Args:
        objective: the metric to optimise and its direction, a `keras_tuner.Objective`; or several, of which the first
            is the score of a trial.
        max_trials: how many trials there will be.
        seed: every proposal follows from it.
        sampler: a name in `galaxy_exp.search_methods.SAMPLERS`.
        baseline: the values of trial 0, if any; they may be outside the space.
        **kwargs: as for `keras_tuner.Oracle`, `hyperparameters` above all.

    Raises:
        ConfigError: if there is no sampler of that name, or an objective has no direction.
    """

    def __init__(
        self,
        objective: Objective | keras_tuner.Objective | Sequence[Objective | keras_tuner.Objective],
        max_trials: int,
        seed: int = 1,
        sampler: str = "tpe",
        baseline: Mapping[str, HyperparameterValue] | None = None,
        **kwargs: Any,
    ) -> None:
        several = objective if isinstance(objective, list | tuple) else [objective]
        self._objectives = tuple(_as_record(each) for each in several)
        self._make_sampler = sampler_factory(sampler)
        self._sampler_seed = seed
        self._baseline = dict(baseline) if baseline is not None else None
        self._proposer: SamplerProposer | None = None
        self._space_size = -1
        kwargs.setdefault("max_consecutive_failed_trials", max_trials + 1)
        super().__init__(
            objective=keras_tuner.Objective(self._objectives[0].name, self._objectives[0].direction),
            max_trials=max_trials,
            seed=derive_seed(seed, "oracle"),
            **kwargs,
        )
        self.verbose = 0

    # KerasTuner's interface

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of a new trial, or "STOPPED" once every configuration of a finite space was tried."""
        number = int(trial_id)
        if number == 0 and self._baseline is not None:
            self._current_proposer().adopt(number, self._baseline, proposed=False)
            return {"status": trial_module.TrialStatus.RUNNING, "values": dict(self._baseline)}
        values = self._current_proposer().propose(number)
        if isinstance(values, NoProposal):
            return {"status": trial_module.TrialStatus.STOPPED}
        return {"status": trial_module.TrialStatus.RUNNING, "values": dict(values)}

    def end_trial(self, trial: Any) -> None:
        """As in KerasTuner; a trial ended as "STOPPED" is scored like a completed one."""
        if trial.status == trial_module.TrialStatus.STOPPED:
            self.score_trial(self.trials[trial.trial_id])
        super().end_trial(trial)
        if self._proposer is not None and trial.trial_id in self.end_order:  # else it is to be tried again
            self._proposer.tell(int(trial.trial_id), self._outcome(self.trials[trial.trial_id]))

    def score_trial(self, trial: Any) -> None:
        """The best value of the first objective over the trial's epochs."""
        history = self._history(trial, self._objectives[0])
        values = [(step, value) for step, value in history.items() if not math.isnan(value)]
        if not values:
            trial.score, trial.best_step = math.nan, 0
            return
        trial.best_step, trial.score = min(values, key=lambda entry: (self._objectives[0].sort_key(entry[1]), entry[0]))

    def save(self, *args: Any) -> None:
        """Saves in the folder of a `keras_tuner.Tuner`, if any."""
        if self._is_in_a_tuner:
            super().save(*args)

    def _save_trial(self, trial: Any) -> None:
        if self._is_in_a_tuner:
            super()._save_trial(trial)

    @property
    def _is_in_a_tuner(self) -> bool:
        """A `keras_tuner.Tuner` sets the folder of its oracle."""
        return getattr(self, "_directory", None) is not None

    def reload(self) -> None:
        """Restores the state that `save` wrote."""
        super().reload()
        self._proposer = None

    # the sampler's side

    def _current_proposer(self) -> SamplerProposer:
        """Made again, from the trials, when the space has grown: a hypermodel may declare more in any build."""
        size = len(self.hyperparameters.space)
        if self._proposer is None or size != self._space_size:
            space = SearchSpace.of(self.hyperparameters)
            seed = self._sampler_seed
            self._proposer = SamplerProposer(space, self._objectives, self._make_sampler, seed, epochs=1)
            self._space_size = size
            for trial_id in self.start_order:
                self._proposer.adopt(int(trial_id), self.trials[trial_id].hyperparameters.values, proposed=True)
            for trial_id in self.end_order:
                self._proposer.tell(int(trial_id), self._outcome(self.trials[trial_id]))
        return self._proposer

    def _outcome(self, trial: Any) -> Outcome:
        histories = [self._history(trial, objective) for objective in self._objectives]
        values = tuple(history.get(trial.best_step, math.nan) for history in histories)
        return Outcome(_STATES.get(trial.status, TrialState.FAILED), tuple(histories[0].values()), values)

    def _history(self, trial: Any, objective: Objective) -> dict[int, float]:
        if not trial.metrics.exists(objective.name):
            return {}
        return {entry.step: float(entry.mean()) for entry in trial.metrics.get_history(objective.name)}


def _as_record(objective: Objective | keras_tuner.Objective) -> Objective:
    if getattr(objective, "direction", None) not in ("max", "min"):
        raise ConfigError(
            f'objective: found {objective!r}; expected keras_tuner.Objective("val_accuracy", "max"), with its direction'
        )
    return Objective(objective.name, objective.direction)
