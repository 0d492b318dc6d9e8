"""Adam, AdamW and SGD whose step is one pass over each variable on TensorFlow.

Keras writes a step as a dozen operations, each of which reads and writes arrays of the variable's size; without XLA
nothing fuses them. The tutorial's dense layer has 8.4 million weights, so that a tenth of a training step went there.
TensorFlow has an operation of its own for the whole step, with the same formula. Other backends compile Keras's.
"""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["FusedAdam", "FusedAdamW", "FusedSGD"]


class _FusedAdamStep(keras.optimizers.Adam):  # type: ignore[misc]
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable, from a gradient of its shape."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(tf.convert_to_tensor(self.iterations) + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


@keras.saving.register_keras_serializable("galaxy_exp")
class FusedAdam(_FusedAdamStep):
    """`keras.optimizers.Adam`."""


@keras.saving.register_keras_serializable("galaxy_exp")
class FusedAdamW(_FusedAdamStep, keras.optimizers.AdamW):  # type: ignore[misc]
    """`keras.optimizers.AdamW`."""


@keras.saving.register_keras_serializable("galaxy_exp")
class FusedSGD(keras.optimizers.SGD):  # type: ignore[misc]
    """`keras.optimizers.SGD`."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable, from a gradient of its shape."""
        if keras.backend.backend() != "tensorflow" or self.momentum == 0:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        dtype = variable.dtype
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=_handle(variable),
            accum=_handle(self.momentums[self._get_variable_index(variable)]),
            lr=tf.cast(learning_rate, dtype),
            grad=tf.cast(gradient, dtype),
            momentum=tf.cast(self.momentum, dtype),
            use_nesterov=self.nesterov,
        )


def _handle(variable: Any) -> Any:
    """Of TensorFlow's variable, which Keras hands over by itself or in one of its own."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
