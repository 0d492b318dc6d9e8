"""What the search asks of a sampler."""

from __future__ import annotations

from typing import Protocol

from galaxy_exp.search.history import History
from galaxy_exp.search.space import SearchSpace, Values

__all__ = ["Sampler", "SamplerFactory"]


class Sampler(Protocol):
    """Chooses configurations. One that looks at the history only goes on in a resumed sweep as if never interrupted."""

    draws: int
    """How often it is worth asking again when a configuration was tried before; then chance decides."""
    has_a_state: bool
    """Whether its choices depend on more than the history, so that a resumed sweep has to ask it all over again."""

    def sample(self, number: int, draw: int) -> Values | None:
        """The active hyperparameters of trial `number`, given what ended so far; None if there is nothing left.

        Args:
            draw: counts from 0; higher if what came before was tried already.
        """
        ...


class SamplerFactory(Protocol):
    """Makes a sampler over a space and a history, which grows while the sampler lives."""

    def __call__(self, space: SearchSpace, history: History, seed: int) -> Sampler: ...
