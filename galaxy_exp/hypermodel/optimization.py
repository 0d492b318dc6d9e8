"""Optimizers and learning-rate schedules of GalaxyCNN."""

from __future__ import annotations

import keras

from galaxy_exp.hypermodel.fused import FusedAdam, FusedAdamW, FusedSGD
from galaxy_exp.hypermodel.space import NetworkValues

__all__ = ["SGD_RATE_FACTOR", "WARM_UP_SHARE", "build_optimizer", "cosine_schedule"]

SGD_RATE_FACTOR = 10.0
"""SGD takes ten times the stated learning rate: with Nesterov momentum 0.9 its useful rates lie about that much
above Adam's, so one `learning_rate` axis serves all optimizers."""

WARM_UP_SHARE = 0.05
"""Share of all steps over which the cosine schedule rises from 0 to the stated rate."""


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
    warm_up = min(max(round(WARM_UP_SHARE * steps), 1), max(steps - 1, 0))
    return keras.optimizers.schedules.CosineDecay(
        # from peak / warm_up rather than 0, or the first step of all would be lost
        peak / max(warm_up, 1),
        decay_steps=max(steps - warm_up, 1),
        warmup_target=peak if warm_up else None,
        warmup_steps=warm_up,
    )
