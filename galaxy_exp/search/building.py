"""From the `search` section of a sweep file to what proposes its trials."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras_tuner
from optuna.samplers import BaseSampler

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.records import Evidence
from galaxy_exp.search.cma_es import adapted_hyperparameters
from galaxy_exp.search.optuna_samplers import user_sampler_factory
from galaxy_exp.search.oracle_proposer import OracleProposer
from galaxy_exp.search.proposer import Proposer, SamplerProposer
from galaxy_exp.search.samplers import SamplerFactory
from galaxy_exp.search.schedulers import build_scheduler
from galaxy_exp.search.user_classes import construct, load_class
from galaxy_exp.search_methods import SAMPLERS
from galaxy_exp.seeding import derive_seed
from galaxy_exp.space.search_space import SearchSpace
from galaxy_exp.wording import did_you_mean

__all__ = ["build_proposer", "check_names", "check_search", "sampler_factory"]


def check_names(search: SearchConfig, epochs: int) -> None:
    """Refuses a user-defined class that cannot be loaded, and what a sampler cannot do; needs no search space.

    Args:
        epochs: of a trial that is not stopped.

    Raises:
        ConfigError: one line that names the key, what was found and what is expected.
    """
    build_scheduler(search, epochs)
    user_class = _user_class(search)
    several = len(search.objectives) > 1
    if user_class is None and search.sampler_options:
        raise ConfigError(
            f"search.sampler_options: {search.sampler} takes none; they are for a class of your own "
            "(search.sampler: package.module:Class)"
        )
    takes_one = SAMPLERS[search.sampler_choice].single_objective if user_class is None else _is_oracle(user_class)
    if several and takes_one:
        able = [name for name, method in SAMPLERS.items() if not method.single_objective]
        raise ConfigError(
            f"search.objective: found {len(search.objectives)}, but {search.sampler} takes one; "
            f"expected a single objective, or one of the samplers {', '.join(able)}"
        )
    if search.cost == "seconds" and len(search.objectives) > 1:
        raise ConfigError(
            f"search.cost: found seconds with {len(search.objectives)} objectives, but only gp weighs them, "
            "and it takes one; expected epochs, or a single objective"
        )
    if search.cost == "seconds" and (user_class is not None or not SAMPLERS[search.sampler_choice].weighs_seconds):
        able = [name for name, method in SAMPLERS.items() if method.weighs_seconds]
        raise ConfigError(
            f"search.cost: found seconds, but {search.sampler_choice} does not weigh them; "
            f"expected epochs, or the sampler {', '.join(able)}"
        )
    if _is_oracle(user_class):
        _check_oracle_settings(search)


def check_search(search: SearchConfig, space: SearchSpace, epochs: int) -> None:
    """Refuses what cannot work before anything slow begins; `epochs` are those of a trial that is not stopped.

    Raises:
        ConfigError: one line for the first mistake.
    """
    check_names(search, epochs)
    user_class = _user_class(search)
    takes_priors = SAMPLERS[search.sampler_choice].takes_priors if user_class is None else not _is_oracle(user_class)
    if space.with_prior and not takes_priors:
        able = [name for name, method in SAMPLERS.items() if method.takes_priors]
        raise ConfigError(
            f"space.{space.with_prior[0].name}.prior: {search.sampler} cannot use a prior; "
            f"leave it out, or choose one of the samplers {', '.join(able)}"
        )
    continuous = space.first_continuous()
    if search.sampler == "grid" and continuous is not None:
        raise ConfigError(
            f"space.{continuous.name}: any number from {continuous.low:g} to {continuous.high:g}, which a grid "
            "cannot list; give it values or a step"
        )
    if search.sampler == "cmaes" and not adapted_hyperparameters(space):
        raise ConfigError(
            "search.sampler: cmaes searches numbers that are always active, and the space has none; "
            "expected another sampler, such as tpe"
        )
    if user_class is not None:
        build_proposer(search, space, epochs=epochs)


def build_proposer(
    search: SearchConfig,
    space: SearchSpace,
    *,
    epochs: int,
    evidence: Sequence[Evidence] = (),
) -> Proposer:
    """What proposes the trials of a sweep; `epochs` are those of a trial that is not stopped.

    Raises:
        ConfigError: as `check_names`.
    """
    user_class = _user_class(search)
    if user_class is not None and _is_oracle(user_class):
        oracle = _build_oracle(user_class, search, space, epochs)
        is_stated = "max_trials" in search.sampler_options or oracle.max_trials not in (None, search.max_trials)
        return OracleProposer(oracle, search.objective_record, has_own_limit=is_stated)
    if user_class is None:
        factory = sampler_factory(search.sampler_choice)
        if search.cost == "seconds":
            factory = partial(SAMPLERS[search.sampler_choice].load(), per_second=True)
    else:
        factory = user_sampler_factory(search.sampler, user_class, search.sampler_options)
    return SamplerProposer(
        space,
        search.objectives,
        factory,
        search.seed,
        executions=search.executions,
        epochs=epochs,
        evidence=evidence,
    )


def sampler_factory(name: str) -> SamplerFactory:
    """What makes the sampler called `name`.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in SAMPLERS:
        raise ConfigError(
            f'search.sampler: unknown sampler "{name}"; {did_you_mean(name, list(SAMPLERS))}, or package.module:Class'
        )
    factory: SamplerFactory = SAMPLERS[name].load()
    return factory


def _user_class(search: SearchConfig) -> type[Any] | None:
    """The class that `search.sampler` names, None for the name of one of our samplers."""
    if search.sampler_choice in SAMPLERS:
        return None
    found = load_class("search.sampler", search.sampler)
    if not issubclass(found, keras_tuner.Oracle | BaseSampler):
        raise ConfigError(
            f"search.sampler: {search.sampler} is of another kind; "
            "expected a subclass of keras_tuner.Oracle or of optuna.samplers.BaseSampler"
        )
    return found


def _is_oracle(user_class: type[Any] | None) -> bool:
    return user_class is not None and issubclass(user_class, keras_tuner.Oracle)


def _check_oracle_settings(search: SearchConfig) -> None:
    if search.warm_starts:
        raise ConfigError(
            f"search.warm_start: {search.sampler} cannot learn from earlier trials; "
            f"expected a sampler such as {', '.join(SAMPLERS)}"
        )
    if search.executions > 1:
        raise ConfigError(
            f"search.executions: found {search.executions}, but {search.sampler} decides itself what is tried again; "
            "expected 1"
        )


def _build_oracle(
    oracle_class: type[keras_tuner.Oracle], search: SearchConfig, space: SearchSpace, epochs: int
) -> keras_tuner.Oracle:
    """An oracle with those of the sweep's settings that its constructor has, and with `search.sampler_options`."""
    objective = search.objective_record
    known = {
        "objective": keras_tuner.Objective(objective.name, objective.direction),
        "max_trials": search.max_trials,
        "max_epochs": epochs,
        "seed": derive_seed(search.seed, "oracle"),
        "hyperparameters": keras_tuner.HyperParameters.from_config(space.get_config()),
    }
    return construct("search.sampler", search.sampler, oracle_class, known, search.sampler_options)
