"""Each trial begins with weights of its own: what an earlier trial of the same process trained is refused.

Layers that a user's module makes outside `build`, or that `build` caches, would begin with what the trial before has
learned: the results would depend on the order of trials and on the worker. KerasTuner does not notice it. Random layers
that are shared likewise, as for augmentation, begin with the trial's seed.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from galaxy_exp.seeding import derive_seed

__all__ = ["SharedWeightsError", "made_generators", "refuse_shared_weights", "restart_others"]

_seen: dict[int, tuple[weakref.ref[Any], int]] = {}
"""The weights of networks of this process that still exist, by identity, with a checksum of their values as built."""


class SharedWeightsError(ValueError):
    """A network has weights of an earlier trial's network that are trained."""


def refuse_shared_weights(model: keras.Model) -> None:
    """Remembers the weights of a new network, and compares them with those of the networks before.

    Frozen weights that no trial has changed may be shared.

    Args:
        model: built, not trained.

    Raises:
        SharedWeightsError: names the first weights that are trained here, or were in an earlier trial.
    """
    for key in [key for key, (known, _) in _seen.items() if known() is None]:
        del _seen[key]
    new = {}
    for variable in model.variables:
        values = keras.ops.convert_to_numpy(variable)
        if values.dtype.kind in "iu":  # the state of a random layer
            continue
        checksum = zlib.crc32(np.ascontiguousarray(values).tobytes())
        if id(variable) in _seen and (variable.trainable or _seen[id(variable)][1] != checksum):
            raise SharedWeightsError(
                f"the weights {variable.path} are those of an earlier trial's network, and this one would begin with "
                "what it learned; expected a build that makes its layers anew"
            )
        new[id(variable)] = (weakref.ref(variable), checksum)
    _seen.update(new)


@contextmanager
def made_generators() -> Iterator[list[keras.random.SeedGenerator]]:
    """Gives the generators of random layers that are made within the context."""
    original = keras.random.SeedGenerator.__init__
    made: list[keras.random.SeedGenerator] = []

    def note(self: keras.random.SeedGenerator, *arguments: Any, **keywords: Any) -> None:
        made.append(self)
        original(self, *arguments, **keywords)

    keras.random.SeedGenerator.__init__ = note
    try:
        yield made
    finally:
        keras.random.SeedGenerator.__init__ = original


def restart_others(model: keras.Model, made: Collection[keras.random.SeedGenerator], seed: int) -> None:
    """Seeds the generators of a network's layers but those that were `made` for it, whatever was drawn from them."""
    new = set(map(id, made))
    known = {id(each): each for layer in model._flatten_layers() for each in layer._seed_generators}
    for position, key in enumerate(key for key in known if key not in new):
        known[key].state.assign(np.array([derive_seed(seed, "generator", position), 0], known[key].state.dtype))
