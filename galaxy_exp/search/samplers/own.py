"""An Optuna sampler of the user's choice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from optuna.samplers import BaseSampler

from galaxy_exp.errors import SweepFailedError, first_line
from galaxy_exp.search.dotted import construct
from galaxy_exp.search.history import History
from galaxy_exp.search.samplers.base import SamplerFactory
from galaxy_exp.search.samplers.optuna_study import StudySampler, Violations
from galaxy_exp.search.space import SearchSpace, Values
from galaxy_exp.seeding import derive_seed

__all__ = ["own_sampler_factory"]


class OwnSampler(StudySampler):
    """As `StudySampler`; what the sampler raises becomes one line."""

    reference: str

    def sample(self, number: int, draw: int) -> Values:
        try:
            return super().sample(number, draw)
        except Exception as error:
            text = f"{type(error).__name__}: {first_line(error)}"
            raise SweepFailedError(f"search.sampler: {self.reference} raised {text}") from error


def own_sampler_factory(reference: str, sampler_class: type[BaseSampler], options: Mapping[str, Any]) -> SamplerFactory:
    """Makes a sampler out of a class of Optuna's interface.

    The class gets the sweep's seed and the trials' violations of constraints as `seed` and `constraints_func`, as far
    as it takes them. One instance serves the whole sweep, and a resumed sweep asks a fresh one all over again.

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

        sampler = OwnSampler(space, history, make, has_a_state=True)
        sampler.reference = reference
        return sampler

    return build
