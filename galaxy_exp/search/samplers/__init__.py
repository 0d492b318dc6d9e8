"""The samplers that a sweep can name."""

from __future__ import annotations

from galaxy_exp.search.samplers.base import Sampler, SamplerFactory
from galaxy_exp.search.samplers.bayesian import GaussianProcessSampler
from galaxy_exp.search.samplers.chance import RandomSampler
from galaxy_exp.search.samplers.cma_es import CmaEsSampler
from galaxy_exp.search.samplers.grid import GridSampler
from galaxy_exp.search.samplers.quasi_random import SobolSampler
from galaxy_exp.search.samplers.tpe import build_tpe

__all__ = ["SAMPLERS", "SINGLE_OBJECTIVE", "RandomSampler", "Sampler", "SamplerFactory"]

SAMPLERS: dict[str, SamplerFactory] = {
    "tpe": build_tpe,
    "random": RandomSampler,
    "grid": GridSampler,
    "qmc": SobolSampler,
    "gp": GaussianProcessSampler,
    "cmaes": CmaEsSampler,
}
"""A new sampler is one file beside this one, one line in this table and its name in `config.sweep.SAMPLERS`."""

SINGLE_OBJECTIVE = frozenset({"gp", "cmaes"})
"""Those that can learn from one objective only; of the others, some learn from none."""
