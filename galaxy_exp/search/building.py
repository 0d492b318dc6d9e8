"""From the `search` section of a sweep file to what proposes its trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras_tuner

from galaxy_exp.config.sweep import SearchConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.search.history import StoppedTrials
from galaxy_exp.search.proposer import Evidence, Proposer
from galaxy_exp.search.pruners import build_pruner
from galaxy_exp.search.sampled import SamplerProposer
from galaxy_exp.search.samplers import SAMPLERS, SamplerFactory
from galaxy_exp.search.space import SearchSpace
from galaxy_exp.wording import did_you_mean

__all__ = ["build_proposer", "check_names", "check_search", "sampler_factory"]


def check_names(search: SearchConfig) -> None:
    """Refuses an unknown sampler or pruner; cheap, and needs no search space.

    Raises:
        ConfigError: one line that names the key, what was found and what is known.
    """
    build_pruner(search, epochs=1)
    sampler_factory(search.sampler)


def sampler_factory(name: str) -> SamplerFactory:
    """What makes the sampler called `name`.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in SAMPLERS:
        raise ConfigError(f'search.sampler: unknown sampler "{name}"; {did_you_mean(name, list(SAMPLERS))}')
    return SAMPLERS[name]


def check_search(search: SearchConfig, space: keras_tuner.HyperParameters, epochs: int) -> None:
    """Refuses what cannot work before anything slow begins.

    Raises:
        ConfigError: one line for the first mistake.
    """
    check_names(search)


def build_proposer(
    search: SearchConfig,
    space: keras_tuner.HyperParameters,
    *,
    epochs: int,
    folder: Path | None = None,
    evidence: Sequence[Evidence] = (),
    stopped: StoppedTrials = "reached",
) -> Proposer:
    """What proposes the trials of a sweep.

    Args:
        space: the effective search space.
        epochs: of a trial that is not stopped.
        folder: where a search may leave files of its own.
        evidence: finished trials of an earlier sweep.
        stopped: how trials stopped early are held against complete ones.

    Raises:
        ConfigError: as `check_search`.
    """
    check_search(search, space, epochs)
    return SamplerProposer(
        SearchSpace(space),
        search.objectives,
        sampler_factory(search.sampler),
        search.seed,
        executions=search.executions,
        stopped=stopped,
        evidence=evidence,
    )
