"""The samplers that a sweep can name."""

from __future__ import annotations

from galaxy_exp.search.samplers.base import Sampler, SamplerFactory
from galaxy_exp.search.samplers.chance import RandomSampler
from galaxy_exp.search.samplers.tpe import build_tpe

__all__ = ["SAMPLERS", "RandomSampler", "Sampler", "SamplerFactory"]

SAMPLERS: dict[str, SamplerFactory] = {"tpe": build_tpe, "random": RandomSampler}
"""A new sampler is one file beside this one, and one line in this table."""
