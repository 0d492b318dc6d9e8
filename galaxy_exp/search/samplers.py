"""The samplers a sweep can name, each made afresh for every proposal from its own seed.

A sampler that is seeded by (sweep seed, trial number) and holds no other state proposes the same
hyperparameters in a resumed sweep as in an uninterrupted one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from galaxy_exp.config.problems import did_you_mean
from galaxy_exp.errors import ConfigError

__all__ = ["SAMPLERS", "build_sampler"]


def _build_tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), joint over parameters that are active together.

    `constant_liar` keeps trials that run at the same time apart; with one worker it changes nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _build_random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": _build_tpe, "random": _build_random}
"""A new sampler is one function here and one line in this table."""


def build_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler called `name`.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in SAMPLERS:
        raise ConfigError(f'search.sampler: unknown sampler "{name}"; {did_you_mean(name, list(SAMPLERS))}')
    return SAMPLERS[name](seed)
