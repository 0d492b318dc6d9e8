"""Each trial begins with weights of its own: what an earlier trial of the same process trained is refused.

Layers that a user's module makes outside `build`, or that `build` caches, would begin with what the trial before has
learned: the results would depend on the order of trials and on the worker. KerasTuner does not notice it.
"""

from __future__ import annotations

import weakref
import zlib
from typing import Any

import keras
import numpy as np

__all__ = ["SharedWeightsError", "refuse_shared_weights"]

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
