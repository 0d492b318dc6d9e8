"""Dropout that draws as few random bits as it needs."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["FastDropout"]


@keras.saving.register_keras_serializable("galaxy_exp")
class FastDropout(keras.layers.Dropout):  # type: ignore[misc]
    """`keras.layers.Dropout`, several times faster on TensorFlow; an exported model has Keras's own in its place.

    Keras draws a number in 0..1 for each element and compares it with the rate. Here each element gets 8 random bits
    if the rate is a multiple of 1/256, else 16, which meet any rate within 1/131,072; a fourth or half of the work of
    the generator, which takes most of the time.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Inputs of any shape to the same shape and dtype."""
        if not training or self.rate == 0 or self.noise_shape is not None or not _is_tensorflow():
            return super().call(inputs, training=training)
        import tensorflow as tf

        bits = tf.uint8 if (self.rate * 256).is_integer() else tf.uint16
        levels = 256**bits.size
        dropped = min(max(round(self.rate * levels), 1), levels - 1)
        n_elements = tf.size(inputs)
        words = tf.random.stateless_uniform(
            (-(-n_elements // (4 // bits.size)),),
            seed=self.seed_generator.next(),
            minval=None,
            maxval=None,
            dtype=tf.int32,
        )
        drawn = tf.reshape(tf.bitcast(words, bits), (-1,))[:n_elements]
        is_kept = tf.reshape(drawn >= tf.constant(dropped, bits), tf.shape(inputs))
        return inputs * (tf.cast(is_kept, inputs.dtype) * tf.cast(levels / (levels - dropped), inputs.dtype))


def _is_tensorflow() -> bool:
    return bool(keras.backend.backend() == "tensorflow")
