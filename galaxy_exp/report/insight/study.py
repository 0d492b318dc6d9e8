"""Trials of a sweep as an Optuna study, for Optuna's own analyses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from galaxy_exp.records import HyperparameterValue
from galaxy_exp.report.insight.axes import Axis, score_of

if TYPE_CHECKING:
    import optuna

    from galaxy_exp.journal.record import SweepRecord, TrialRecord

__all__ = ["build_study"]


def build_study(record: SweepRecord, trials: Sequence[TrialRecord], axes: Sequence[Axis]) -> optuna.Study:
    """A study in memory with these trials as complete ones, in their order, on the first objective.

    Args:
        trials: comparable ones; those that were stopped early count with what they reached.
        axes: the hyperparameters to take; a conditional one is there only where it is active.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if record.objective.direction == "max" else "minimize")
    for trial in trials:
        active = [axis for axis in axes if axis.name in trial.values]
        study.add_trial(
            optuna.trial.create_trial(
                value=score_of(record, trial),
                params={axis.name: _parameter(axis, trial.values[axis.name]) for axis in active},
                distributions={axis.name: _distribution(axis) for axis in active},
            )
        )
    return study


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.is_reversed:
        return FloatDistribution(0.0, 1.0)
    if axis.is_whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.is_log)
    return FloatDistribution(axis.low, axis.high, log=axis.is_log)


def _parameter(axis: Axis, value: HyperparameterValue) -> Any:
    """Optuna knows no reverse logarithmic scale, so a value there is its place on the axis."""
    return axis.position(value) if axis.is_reversed else value
