"""Optimizers and learning-rate schedules of GalaxyCNN.

Adam, AdamW and SGD take a step in one pass over each variable on TensorFlow, which has an operation of its own for it,
with the same formula. Keras writes a step as a dozen operations, and without XLA nothing fuses them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from galaxy_exp.hypermodel.galaxy_space import NetworkValues

__all__ = ["FusedAdam", "FusedAdamW", "FusedSGD", "build_optimizer", "cosine_schedule"]

SGD_RATE_FACTOR = 10.0
"""SGD takes ten times the stated learning rate: with Nesterov momentum 0.9 its useful rates are about that much
above Adam's, so one `learning_rate` axis serves all optimizers."""

WARM_UP_FRACTION = 0.05
"""Fraction of all steps over which the cosine schedule rises from 0 to the stated rate."""


def build_optimizer(values: NetworkValues) -> keras.optimizers.Optimizer:
    """Adam, AdamW (decoupled weight decay) or SGD with Nesterov momentum 0.9 at `SGD_RATE_FACTOR` times the rate."""
    rate = values.learning_rate
    if values.optimizer == "adamw":
        return FusedAdamW(rate, weight_decay=values.weight_decay or 0.0)
    if values.optimizer == "sgd":
        return FusedSGD(rate * SGD_RATE_FACTOR, momentum=0.9, nesterov=True)
    return FusedAdam(rate)


def cosine_schedule(peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to `peak`, then half a cosine down to 0 at step `steps` (Loshchilov & Hutter, arXiv:1608.03983).

    It is a function of the optimizer's own step counter, so it costs no callback and works on any backend.
    """
    warm_up = min(max(round(WARM_UP_FRACTION * steps), 1), max(steps - 1, 0))
    return keras.optimizers.schedules.CosineDecay(
        # from peak / warm_up rather than 0, or the first step of all would be lost
        peak / max(warm_up, 1),
        decay_steps=max(steps - warm_up, 1),
        warmup_target=peak if warm_up else None,
        warmup_steps=warm_up,
    )


class _BodyRate:
    """Some variables of a network, those of its body, are trained at a rate of their own."""

    _body: frozenset[Any] = frozenset()
    _factor = 1.0

    def scale_rate(self, body: Iterable[keras.Variable], factor: float) -> None:
        """From now on, the rate for the variables of `body` is `factor` times the learning rate."""
        self._body = frozenset(map(self._var_key, body))  # type: ignore[attr-defined]
        self._factor = factor

    def _rate_of(self, variable: Any, learning_rate: Any) -> Any:
        is_scaled = self._body and self._var_key(variable) in self._body  # type: ignore[attr-defined]
        return learning_rate * self._factor if is_scaled else learning_rate


@keras.saving.register_keras_serializable("galaxy_exp")
class FusedAdam(_BodyRate, keras.optimizers.Adam):  # type: ignore[misc]
    """`keras.optimizers.Adam`."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable, from a gradient of its shape."""
        learning_rate = self._rate_of(variable, learning_rate)
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
class FusedAdamW(FusedAdam, keras.optimizers.AdamW):  # type: ignore[misc]
    """`keras.optimizers.AdamW`; the rate of a variable scales its weight decay too."""

    def _apply_weight_decay(self, variables: Iterable[Any]) -> None:
        if not self._body or self.weight_decay is None:
            super()._apply_weight_decay(variables)
            return
        for variable in filter(self._use_weight_decay, variables):
            rate = self._rate_of(variable, keras.ops.cast(self.learning_rate, variable.dtype))
            variable.assign(variable - variable * keras.ops.cast(self.weight_decay, variable.dtype) * rate)


@keras.saving.register_keras_serializable("galaxy_exp")
class FusedSGD(_BodyRate, keras.optimizers.SGD):  # type: ignore[misc]
    """`keras.optimizers.SGD`."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable, from a gradient of its shape."""
        learning_rate = self._rate_of(variable, learning_rate)
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
    """The handle of TensorFlow's variable, which may be wrapped in one of Keras's."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
