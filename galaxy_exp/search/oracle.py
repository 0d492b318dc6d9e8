"""A KerasTuner oracle whose proposals come from an Optuna sampler."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import keras_tuner
import optuna
from keras_tuner.engine import trial as trial_module
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as StudyState

from galaxy_exp.records import HyperparameterValue, Objective
from galaxy_exp.search.distributions import decode_value, distribution_of, encode_value, is_tunable, parameter_names
from galaxy_exp.search.samplers import build_sampler
from galaxy_exp.seeding import derive_seed

__all__ = ["Oracle"]

_ATTEMPTS_AT_A_NEW_CONFIGURATION = 50


class Oracle(keras_tuner.Oracle):  # type: ignore[misc]
    """Proposes hyperparameters with a named sampler; usable in any `keras_tuner.Tuner`.

    Differences from KerasTuner's own oracles: the proposal of a trial depends only on the seed, the
    trial's number and the evidence so far, so it can be replayed; no configuration is proposed twice;
    inactive hyperparameters are neither sampled nor recorded; a failed or diverged trial counts as
    evidence as bad as the worst seen; trials may end as "STOPPED", and then count with what they reached.

    Args:
        objective: the metric to optimise and its direction.
        max_trials: how many trials there will be.
        seed: from 1 up; every proposal follows from it.
        sampler: a name in `galaxy_exp.search.samplers.SAMPLERS`.
        baseline: if given, the values of trial 0; they may lie outside the space.
        **kwargs: as for `keras_tuner.Oracle`, `hyperparameters` above all.
    """

    def __init__(
        self,
        objective: Objective,
        max_trials: int,
        seed: int,
        sampler: str = "tpe",
        baseline: Mapping[str, HyperparameterValue] | None = None,
        **kwargs: Any,
    ) -> None:
        build_sampler(sampler, 1)  # a wrong name is an error now, not at the first proposal
        kwargs.setdefault("max_consecutive_failed_trials", max_trials + 1)
        super().__init__(
            objective=keras_tuner.Objective(objective.name, objective.direction),
            max_trials=max_trials,
            seed=derive_seed(seed, "oracle"),
            **kwargs,
        )
        self._objective_record = objective
        self._sampler_name = sampler
        self._sampler_seed = seed
        self._baseline = dict(baseline) if baseline is not None else None
        self._restored: dict[str, HyperparameterValue] | None = None
        self._study: optuna.Study | None = None
        self._study_ids: dict[str, int] = {}
        self.verbose = 0

    # KerasTuner's interface

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of a new trial, or "STOPPED" once every configuration of a finite space was tried."""
        number = int(trial_id)
        if self._restored is not None:
            return {"status": trial_module.TrialStatus.RUNNING, "values": self._restored}
        if number == 0 and self._baseline is not None:
            return {"status": trial_module.TrialStatus.RUNNING, "values": dict(self._baseline)}
        values = self._propose(number)
        if values is None:
            return {"status": trial_module.TrialStatus.STOPPED}
        return {"status": trial_module.TrialStatus.RUNNING, "values": values}

    def create_trial(self, tuner_id: str) -> Any:
        """As in KerasTuner; the proposal enters the sampler's evidence as running."""
        trial = super().create_trial(tuner_id)
        if trial.status == trial_module.TrialStatus.RUNNING:
            self._enter(trial)
        return trial

    def restore_trial(self, values: Mapping[str, HyperparameterValue]) -> Any:
        """Takes up the next trial from a record instead of proposing it; returns it, running."""
        self._restored = dict(values)
        try:
            return self.create_trial(f"restored-{len(self.trials)}")
        finally:
            self._restored = None

    def end_trial(self, trial: Any) -> None:
        """As in KerasTuner; a trial ended as "STOPPED" is scored like a completed one."""
        stopped = trial.status == trial_module.TrialStatus.STOPPED
        if stopped:
            self.score_trial(self.trials[trial.trial_id])
        super().end_trial(trial)
        self._tell(self.trials[trial.trial_id])

    def score_trial(self, trial: Any) -> None:
        """The best value of the objective over the trial's epochs."""
        values = [
            (observation.step, value)
            for observation in trial.metrics.get_history(self.objective.name)
            if not math.isnan(value := observation.mean())
        ]
        if not values:
            trial.score, trial.best_step = math.nan, 0
            return
        trial.best_step, trial.score = min(
            values, key=lambda entry: (self._objective_record.sort_key(entry[1]), entry[0])
        )

    def save(self, *args: Any) -> None:
        """Saves where a `keras_tuner.Tuner` said; driven by a sweep there is nothing to save, the journal is it."""
        if self._is_in_a_tuner:
            super().save(*args)

    def _save_trial(self, trial: Any) -> None:
        if self._is_in_a_tuner:
            super()._save_trial(trial)

    @property
    def _is_in_a_tuner(self) -> bool:
        """A `keras_tuner.Tuner` gives its oracle a folder; a sweep does not."""
        return getattr(self, "_directory", None) is not None

    def reload(self) -> None:
        """Takes up the state that `save` left; the sampler's evidence is rebuilt from the trials."""
        super().reload()
        self._study, self._study_ids = None, {}

    # the sampler's side

    def _propose(self, number: int) -> dict[str, HyperparameterValue] | None:
        tried = {_fingerprint(trial.hyperparameters.values) for trial in self.trials.values()}
        for attempt in range(_ATTEMPTS_AT_A_NEW_CONFIGURATION):
            values = self._sample(number, attempt)
            if _fingerprint(values) not in tried:
                return values
        return self._first_untried(tried)

    def _sample(self, number: int, attempt: int) -> dict[str, HyperparameterValue]:
        """One draw; from the second attempt on at random, as a sure sampler would only repeat itself."""
        study = self._current_study()
        name = self._sampler_name if attempt == 0 else "random"
        study.sampler = build_sampler(name, derive_seed(self._sampler_seed, "proposal", number, attempt))
        draft = study.ask()
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = {}
        for parameter, hyperparameter in zip(
            parameter_names(hyperparameters.space), hyperparameters.space, strict=True
        ):
            if not hyperparameters.is_active(hyperparameter):
                continue
            hyperparameters.values[hyperparameter.name] = _suggest(draft, parameter, hyperparameter)
        study.tell(draft, state=StudyState.FAIL)  # a draft is not evidence; `_enter` adds the accepted one
        return dict(hyperparameters.values)

    def _first_untried(self, tried: set[tuple[Any, ...]]) -> dict[str, HyperparameterValue] | None:
        """Goes through a small finite space in order; None if all of it was tried."""
        for values in _enumerate(self.hyperparameters.copy(), limit=10_000):
            if _fingerprint(values) not in tried:
                return values
        return None

    def _current_study(self) -> optuna.Study:
        if self._study is None:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            direction: Literal["maximize", "minimize"] = (
                "maximize" if self._objective_record.direction == "max" else "minimize"
            )
            self._study = optuna.create_study(direction=direction)
            for trial_id in self.start_order:
                self._enter(self.trials[trial_id])
            for trial_id in self.end_order:
                self._tell(self.trials[trial_id])
        return self._study

    def _enter(self, trial: Any) -> None:
        """Adds a trial to the evidence as running; values outside the space (a baseline's) are left out."""
        if trial.trial_id in self._study_ids:
            return
        study = self._current_study()
        if trial.trial_id in self._study_ids:  # building the study entered it already
            return
        params, distributions = self._evidence(trial.hyperparameters.values)
        frozen = optuna.trial.create_trial(
            state=StudyState.RUNNING, params=params, distributions=distributions, user_attrs={"trial": trial.trial_id}
        )
        study.add_trial(frozen)
        self._study_ids[trial.trial_id] = len(study.get_trials(deepcopy=False)) - 1

    def _evidence(self, values: Mapping[str, HyperparameterValue]) -> tuple[dict[str, Any], dict[str, Any]]:
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = dict(values)
        params: dict[str, Any] = {}
        distributions: dict[str, Any] = {}
        for parameter, hyperparameter in zip(
            parameter_names(hyperparameters.space), hyperparameters.space, strict=True
        ):
            if not is_tunable(hyperparameter) or not hyperparameters.is_active(hyperparameter):
                continue
            value = values.get(hyperparameter.name)
            encoded = None if value is None else encode_value(hyperparameter, value)
            distribution = distribution_of(hyperparameter)
            if encoded is not None and _is_within(encoded, distribution):
                params[parameter], distributions[parameter] = encoded, distribution
        return params, distributions

    def _tell(self, trial: Any) -> None:
        if trial.status == trial_module.TrialStatus.RUNNING or trial.trial_id not in self._study_ids:
            return
        study = self._current_study()
        score = trial.score if trial.status != trial_module.TrialStatus.FAILED else None
        if score is None or not math.isfinite(score):
            score = self._worst_seen(study)
        if score is None:  # nothing to be worse than yet
            _tell(study, self._study_ids[trial.trial_id], None, StudyState.FAIL)
        else:
            _tell(study, self._study_ids[trial.trial_id], score, StudyState.COMPLETE)

    def _worst_seen(self, study: optuna.Study) -> float | None:
        values = [trial.value for trial in study.get_trials(deepcopy=False, states=(StudyState.COMPLETE,))]
        return max((v for v in values if v is not None), key=self._objective_record.sort_key, default=None)


def _is_within(value: Any, distribution: BaseDistribution) -> bool:
    try:
        optuna.trial.create_trial(state=StudyState.RUNNING, params={"x": value}, distributions={"x": distribution})
    except ValueError:
        return False
    return True


def _tell(study: optuna.Study, number: int, value: float | None, state: StudyState) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.tell(number, value, state=state)


def _suggest(draft: optuna.Trial, parameter: str, hyperparameter: Any) -> HyperparameterValue:
    if not is_tunable(hyperparameter):
        value: HyperparameterValue = hyperparameter.default
        return value
    match distribution_of(hyperparameter):
        case CategoricalDistribution(choices=choices):
            sampled: Any = draft.suggest_categorical(parameter, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            sampled = draft.suggest_int(parameter, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=float_step, log=log):
            sampled = draft.suggest_float(parameter, low, high, step=float_step, log=log)
    return decode_value(hyperparameter, sampled)


def _fingerprint(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((name, repr(value)) for name, value in values.items()))


def _enumerate(space: Any, limit: int) -> list[dict[str, HyperparameterValue]]:
    """All configurations of a space without continuous hyperparameters, or nothing if there are over `limit`."""
    partial: list[dict[str, HyperparameterValue]] = [{}]
    for hyperparameter in space.space:
        extended: list[dict[str, HyperparameterValue]] = []
        for values in partial:
            space.values = values
            if not space.is_active(hyperparameter):
                extended.append(values)
                continue
            choices = _finite_values(hyperparameter)
            if choices is None or len(choices) * len(partial) > limit:
                return []
            extended += [{**values, hyperparameter.name: choice} for choice in choices]
        partial = extended
    return partial


def _finite_values(hyperparameter: Any) -> list[HyperparameterValue] | None:
    if not is_tunable(hyperparameter):
        return [hyperparameter.default]
    if getattr(hyperparameter, "step", 1) is None:
        return None
    return list(hyperparameter.values)
