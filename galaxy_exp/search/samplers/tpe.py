"""The tree-structured Parzen estimator."""

from __future__ import annotations

import warnings

from optuna.samplers import BaseSampler, TPESampler

from galaxy_exp.search.history import History
from galaxy_exp.search.samplers.optuna_study import StudySampler, Violations
from galaxy_exp.search.space import SearchSpace
from galaxy_exp.seeding import derive_seed

__all__ = ["build_tpe"]


def build_tpe(space: SearchSpace, history: History, seed: int) -> StudySampler:
    """Optuna's estimator (Bergstra et al. 2011, NeurIPS), joint over hyperparameters that are active together.

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
