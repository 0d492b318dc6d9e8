"""Optuna's samplers, asked about a study that follows the history."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as StudyState

from galaxy_exp.records import TrialState
from galaxy_exp.search.history import History, Losses
from galaxy_exp.search.space import Dimension, SearchSpace, Values

__all__ = ["StudySampler", "Violations"]

Violations = Callable[[FrozenTrial], tuple[float, ...]]
"""Optuna's `constraints_func`: above 0 where a constraint is broken."""


class StudySampler:
    """Asks an Optuna sampler.

    Args:
        make: the Optuna sampler for trial `number` and draw `draw`: made afresh for each from these two and the
            violations alone, or always the same one.
        has_a_state: whether it is the same one. Then a trial of the study is the one that was asked for, with the
            notes that the sampler left in it.
    """

    draws = 5

    def __init__(
        self,
        space: SearchSpace,
        history: History,
        make: Callable[[int, int, Violations], BaseSampler],
        *,
        has_a_state: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._history = history
        self._make = make
        self.has_a_state = has_a_state
        self._study = optuna.create_study(directions=["minimize"] * len(history.objectives))
        self._study.sampler = make(0, 0, self._violations)
        self._study_numbers: list[int] = []
        self._positions: dict[int, int] = {}
        self._draft: tuple[int, Values] | None = None

    def sample(self, number: int, draw: int) -> Values:
        self._follow()
        self._study.sampler = self._make(number, draw, self._violations)
        draft = self._study.ask()
        values = self._space.fill(lambda dimension: _suggest(draft, dimension))
        self._draft = (draft.number, values)
        if not self.has_a_state:
            self._drop_draft()
        return values

    def _drop_draft(self) -> None:
        """A draft that is not accepted is no evidence."""
        if self._draft is not None:
            self._study.tell(self._draft[0], state=StudyState.FAIL)
        self._draft = None

    def _follow(self) -> None:
        """Brings the study to where the history stands."""
        for observation in self._history.observations[len(self._study_numbers) :]:
            self._add(observation.values)
        self._drop_draft()
        trials = self._study.get_trials(deepcopy=False)
        for position, losses in zip(self._history.ended, self._history.losses(), strict=True):
            frozen = trials[self._study_numbers[position]]
            if frozen.state is StudyState.RUNNING:
                self._tell(position, frozen, losses)
            elif frozen.state is StudyState.COMPLETE and losses is not None:
                frozen.values = list(losses)  # what a bad trial counts as is the worst seen until now

    def _add(self, values: Values) -> None:
        if self._draft is not None and self._draft[1] == values:
            study_number, self._draft = self._draft[0], None
        else:
            study_number = self._add_elsewhere_chosen(values)
        self._positions[study_number] = len(self._study_numbers)
        self._study_numbers.append(study_number)

    def _add_elsewhere_chosen(self, values: Values) -> int:
        encoded = self._space.encode(values)
        known = [dimension for dimension in self._space.tunable if dimension.parameter in encoded]
        params = {each.parameter: _to_optuna(each, encoded[each.parameter]) for each in known}
        distributions = {each.parameter: each.domain.distribution for each in known}
        trial = optuna.trial.create_trial(state=StudyState.RUNNING, params=params, distributions=distributions)
        self._study.add_trial(trial)
        return len(self._study.get_trials(deepcopy=False)) - 1

    def _tell(self, position: int, frozen: FrozenTrial, losses: Losses | None) -> None:
        outcome = self._history.observations[position].outcome
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._is_behind_all_complete(position) and len(self._history.objectives) == 1:
                # Optuna ranks pruned trials by their last step, then by their value there, and last those without
                if losses is not None and outcome is not None and outcome.state.has_model:
                    frozen.intermediate_values = {len(outcome.curve): losses[0]}
                self._study.tell(frozen.number, state=StudyState.PRUNED)
            elif losses is not None:
                self._study.tell(frozen.number, list(losses))

    def _is_behind_all_complete(self, position: int) -> bool:
        outcome = self._history.observations[position].outcome
        return self._history.stopped == "last" and outcome is not None and outcome.state is not TrialState.COMPLETED

    def _violations(self, frozen: FrozenTrial) -> tuple[float, ...]:
        if frozen.number not in self._positions:
            return ()
        outcome = self._history.observations[self._positions[frozen.number]].outcome
        return outcome.violations if outcome else ()


def _suggest(draft: optuna.Trial, dimension: Dimension) -> Any:
    match dimension.domain.distribution:
        case CategoricalDistribution(choices=choices):
            return draft.suggest_categorical(dimension.parameter, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return draft.suggest_int(dimension.parameter, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=float_step, log=log):
            found = draft.suggest_float(dimension.parameter, low, high, step=float_step, log=log)
            return dimension.from_unit(found) if dimension.domain.by_quantile else found
    raise TypeError(f"{dimension.parameter} has no distribution")


def _to_optuna(dimension: Dimension, encoded: Any) -> Any:
    return dimension.to_unit(encoded) if dimension.domain.by_quantile else encoded
