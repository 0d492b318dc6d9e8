"""Optuna's samplers, ours and the user's, asked about a study that follows the history."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as StudyState

from galaxy_exp.search.history import History
from galaxy_exp.search.samplers import Sampler, SamplerFactory
from galaxy_exp.search.user_classes import calling, construct
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.domains import Domain, Range, Steps, ValueList
from galaxy_exp.space.search_space import Hyperparameter, SearchSpace, Values

__all__ = ["StudySampler", "build_tpe", "distribution_of", "from_optuna", "to_optuna", "user_sampler_factory"]

Violations = Callable[[FrozenTrial], tuple[float, ...]]
"""Optuna's `constraints_func`: above 0 where a constraint is broken."""

_LONGEST_GRID = 10**6
"""Values of a float range with a step beyond which Optuna cannot tell them apart."""


def build_tpe(space: SearchSpace, history: History, seed: int) -> StudySampler:
    """The tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS), joint over what is active together.

    It takes several objectives and constraints. `constant_liar` keeps trials that run at the same time apart; with one
    worker it changes nothing.
    """

    def make(number: int, draw: int, violations: Violations) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group` is experimental, `constraints_func` about to be renamed
            return TPESampler(
                seed=derive_seed(seed, "proposal", number, draw),
                multivariate=True,
                group=True,
                constant_liar=True,
                constraints_func=violations,
            )

    return StudySampler(space, history, make)


def user_sampler_factory(
    reference: str, sampler_class: type[BaseSampler], options: Mapping[str, Any]
) -> SamplerFactory:
    """Makes samplers of a class of Optuna's interface that the sweep file names.

    The class gets the sweep's seed and the trials' violations of constraints as `seed` and `constraints_func`, if its
    constructor has these arguments. One instance serves the whole sweep, and a resumed sweep asks a new one all over
    again.

    Raises:
        ConfigError: when called, if the class cannot be constructed so.
    """

    def build(space: SearchSpace, history: History, seed: int) -> StudySampler:
        instances: list[BaseSampler] = []

        def make(number: int, draw: int, violations: Violations) -> BaseSampler:
            if not instances:
                known = {"seed": derive_seed(seed, "sampler"), "constraints_func": violations}
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # experimental and renamed arguments
                    instances.append(construct("search.sampler", reference, sampler_class, known, options))
            return instances[0]

        return StudySampler(space, history, make, reference)

    return build


class StudySampler(Sampler):
    """Asks an Optuna sampler.

    Args:
        make: the Optuna sampler for trial `number` and draw `draw`: made afresh for each from these two and the
            violations alone, or always the same one.
        reference: the user's class, if it is the same one. Then a trial of the study is the one that was asked for,
            with the attributes that the sampler stored in it; and what the sampler raises becomes one line.
    """

    draws = 5
    prior_trials = 10.0

    def __init__(
        self,
        space: SearchSpace,
        history: History,
        make: Callable[[int, int, Violations], BaseSampler],
        reference: str = "",
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._history = history
        self._make = make
        self._reference = reference
        self.has_a_state = bool(reference)
        self._study = optuna.create_study(directions=["minimize"] * len(history.objectives))
        self._study.sampler = make(0, 0, self._violations)
        self._study_numbers: list[int] = []
        self._positions: dict[int, int] = {}
        self._draft: tuple[int, Values] | None = None

    def sample(self, number: int, draw: int) -> Values:
        with calling(f"search.sampler: {self._reference}") if self._reference else nullcontext():
            self._follow()
            self._study.sampler = self._make(number, draw, self._violations)
            draft = self._study.ask()
            values = self._space.fill(lambda hyperparameter: _suggest(draft, hyperparameter))
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
        """Adds to the study what the history has learnt since."""
        for observation in self._history.observations[len(self._study_numbers) :]:
            self._add(observation.values)
        self._drop_draft()
        trials = self._study.get_trials(deepcopy=False)
        for position, losses in zip(self._history.ended, self._history.losses(), strict=True):
            frozen = trials[self._study_numbers[position]]
            if losses is None:
                continue
            if frozen.state is StudyState.RUNNING:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._study.tell(frozen.number, list(losses))
            elif frozen.state is StudyState.COMPLETE:
                frozen.values = list(losses)  # what a bad trial counts as is the worst seen until now

    def _add(self, values: Values) -> None:
        if self._draft is not None and self._draft[1] == values:
            study_number, self._draft = self._draft[0], None
        else:  # it was chosen elsewhere
            found = self._space.find(values)
            domains = {each.key: each.domain for each in self._space.tunable if each.key in found}
            trial = optuna.trial.create_trial(
                state=StudyState.RUNNING,
                params={key: to_optuna(domain, found[key]) for key, domain in domains.items()},
                distributions={key: distribution_of(domain) for key, domain in domains.items()},
            )
            self._study.add_trial(trial)
            study_number = len(self._study.get_trials(deepcopy=False)) - 1
        self._positions[study_number] = len(self._study_numbers)
        self._study_numbers.append(study_number)

    def _violations(self, frozen: FrozenTrial) -> tuple[float, ...]:
        if frozen.number not in self._positions:
            return ()
        outcome = self._history.observations[self._positions[frozen.number]].outcome
        return outcome.violations if outcome else ()


def distribution_of(domain: Domain) -> BaseDistribution:
    """Optuna's distribution of a domain.

    An ordered list is known to Optuna by the places of its values, so that it knows which are neighbours; a domain
    that Optuna cannot express, by its quantiles.
    """
    if isinstance(domain, ValueList):
        places = IntDistribution(0, domain.n_choices - 1) if domain.is_ordered else None
        return places or CategoricalDistribution(domain.listed)
    if _is_by_quantile(domain):
        return FloatDistribution(0.0, 1.0)
    numbers: Any = domain
    kind: Any = IntDistribution if isinstance(numbers.low, int) else FloatDistribution
    if isinstance(domain, Steps):
        return kind(domain.low, domain.high, step=domain.step)  # type: ignore[no-any-return]
    return kind(numbers.low, numbers.high, log=numbers.scale == "log")  # type: ignore[no-any-return]


def to_optuna(domain: Domain, value: Any) -> Any:
    """A value of the domain as a sample of `distribution_of(domain)`."""
    if isinstance(domain, ValueList):
        return domain.listed.index(value) if domain.is_ordered else value
    return domain.to_unit(value) if _is_by_quantile(domain) else value


def from_optuna(domain: Domain, sampled: Any) -> Any:
    """The inverse of `to_optuna`."""
    if isinstance(domain, ValueList):
        return domain.listed[sampled] if domain.is_ordered else sampled
    if _is_by_quantile(domain):
        return domain.from_unit(sampled)
    return domain.nearest(sampled) if isinstance(domain, Steps) else sampled


def _is_by_quantile(domain: Domain) -> bool:
    """Whether Optuna has no such distribution, or not an exact one."""
    if not isinstance(domain, Steps):
        return isinstance(domain, Range) and domain.scale == "reverse_log"
    # Optuna asks for ends that are a whole number of steps apart as written in decimals
    low, high, step = (Decimal(repr(each)) for each in (domain.low, domain.high, domain.step))
    return not isinstance(domain.low, int) and (domain.n_choices > _LONGEST_GRID or (high - low) % step != 0)


def _suggest(draft: optuna.Trial, hyperparameter: Hyperparameter) -> Any:
    key, domain = hyperparameter.key, hyperparameter.domain
    match distribution_of(domain):
        case CategoricalDistribution(choices=choices):
            sampled: Any = draft.suggest_categorical(key, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            sampled = draft.suggest_int(key, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=float_step, log=log):
            sampled = draft.suggest_float(key, low, high, step=float_step, log=log)
        case other:
            raise TypeError(f"{key} has no distribution: {other}")
    return from_optuna(domain, sampled)
