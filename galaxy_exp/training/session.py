"""The global state of Keras during one trial."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import keras

__all__ = ["fresh_session"]


@contextmanager
def fresh_session(seed: int, precision: str, deterministic: bool) -> Iterator[None]:
    """Clears what the last trial left, seeds every generator, and sets the dtype policy until the end.

    Args:
        seed: of Python, NumPy and the backend (taken modulo 2**32).
        precision: the name of a Keras dtype policy.
        deterministic: refuse operations whose result depends on thread timing. On TensorFlow this cannot be undone
            within the process; other backends have no such switch that works after start.
    """
    if gc.get_freeze_count() == 0:
        # or every collection walks the million objects of the imported libraries: 0.25 s instead of 0.02 s a trial
        gc.freeze()
    keras.backend.clear_session()  # collects garbage, too
    keras.utils.set_random_seed(seed % 2**32)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
