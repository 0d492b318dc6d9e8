"""How batches reach Keras's `fit` and `predict`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

__all__ = ["feed"]

AHEAD = 2
"""Batches that wait ready while one is computed with."""


def feed(batches: keras.utils.PyDataset) -> Any:
    """What to give to `fit` or `predict` in place of `batches`; the batches are the same, in the same order.

    On TensorFlow it is a `tf.data.Dataset` without autotuning. Keras makes one from batches by itself, but with
    autotuning, and then the iterator of an epoch takes up to two thirds of the epoch's time to be deleted: its tuning
    thread sleeps for longer and longer and is waited for (docs/performance.md). Other backends take them as they are.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    def epoch() -> Iterator[tuple[Any, ...]]:
        batches.on_epoch_begin()
        for index in range(len(batches)):
            yield batches[index]

    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batches[0])
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(AHEAD).with_options(options)
