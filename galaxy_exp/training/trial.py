"""One attempt at one trial: from a specification to a result."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import keras

from galaxy_exp.errors import DataError, is_disk_full, reason_of, storable, typed_reason
from galaxy_exp.hypermodel.flops import count_flops
from galaxy_exp.records import (
    CANNOT_CONTINUE,
    DATA_GONE,
    DISK_FULL,
    ENCODER_GONE,
    Decision,
    EpochReport,
    TrialResult,
    TrialSpec,
    TrialState,
)
from galaxy_exp.redaction import hide_password
from galaxy_exp.space.search_space import SearchSpace
from galaxy_exp.training.cached_features import use_cached_features
from galaxy_exp.training.checkpoints import Checkpoints
from galaxy_exp.training.continuation import CannotContinueError, Continuation
from galaxy_exp.training.fit_probe import LengthGuard, UntrainedGuard, WrongLengthError
from galaxy_exp.training.fitting import NO_EPOCH, SplitArrays, TrainingEnded, fit_model, open_split
from galaxy_exp.training.machine import resolve_precision
from galaxy_exp.training.recorder import DivergedError, EpochRecorder
from galaxy_exp.training.trial_files import save_history, save_network, save_probabilities
from galaxy_exp.training.trial_network import (
    TrialNetwork,
    apply_statistics,
    build_network,
    rehearse_keeping,
    trial_session,
)
from galaxy_exp.wording import shorten

__all__ = ["MAX_REASON", "failure_reason", "run_trial"]

MAX_REASON = 300
"""Number of characters; the traceback has the rest."""

_LOG = logging.getLogger(__name__)

_OUT_OF_MEMORY = ("ResourceExhausted", "OutOfMemory", "RESOURCE_EXHAUSTED")
"""In the type or text of errors of TensorFlow, Torch and JAX (XLA)."""


@dataclass(slots=True)
class _Progress:
    """The state of a running trial, for its result however it ends."""

    recorder: EpochRecorder | None = None
    parameters: int = 0
    flops: int = 0
    unsearched: tuple[str, ...] = ()
    """Hyperparameters that the hypermodel declared and the sweep's space lacks."""
    began_anew: str = ""
    """Why its checkpoint could not be used, if so."""
    no_checkpoint: str = ""
    """Why it was paused and left no checkpoint, if so."""


class InfeasibleError(Exception):
    """A constraint of the sweep is broken; names it and the value."""


def run_trial(spec: TrialSpec, report: Callable[[EpochReport], Decision]) -> TrialResult:
    """Trains one network, or trains it on from a checkpoint, and writes its best epoch to `spec.folder`.

    A checkpoint that cannot be used is reported in the worker's log and in the result's reason, and the trial begins
    with its first epoch.

    Args:
        report: called after each epoch; PAUSE and STOP end the training. What it raises passes through.

    Returns:
        COMPLETED after all epochs, or fewer if the hypermodel ends early; STOPPED by `report`; FAILED by any exception,
        sys.exit or a loss that is not finite, with a one-line reason and the traceback; INFEASIBLE if a constraint is
        broken: before training if the network alone shows it. In the first two states the folder has `model.keras`,
        `validation_probabilities.npy` and `history.csv`. All but `seconds` counts the epochs before the checkpoint too.
    """
    started = time.perf_counter()
    spec = replace(spec, precision=resolve_precision(spec.precision))
    progress = _Progress()
    failure: BaseException | None = None
    try:
        if why := _train(spec, report, progress):
            _LOG.warning("trial %d begins anew: %s", spec.number, why)
            spec, progress = replace(spec, resume_from=None, first_epoch=0), _Progress(began_anew=why)
            _train(spec, report, progress)
    except (Exception, SystemExit) as error:  # a user's code may call sys.exit
        if progress.recorder is not None and error is progress.recorder.report_error:
            raise
        failure = error
    return _result(spec, progress, failure, time.perf_counter() - started)


def _train(spec: TrialSpec, report: Callable[[EpochReport], Decision], progress: _Progress) -> str | None:
    """Why the trial must begin anew, if so."""
    try:
        with trial_session(spec):
            _train_in_session(spec, report, progress)
    except CannotContinueError as error:
        return str(error)
    return None


def _train_in_session(spec: TrialSpec, report: Callable[[EpochReport], Decision], progress: _Progress) -> None:
    data = open_split(spec.data)
    network = build_network(spec, data.train_images)
    model = network.model
    progress.parameters, progress.flops = model.count_params(), count_flops(model)
    _check_constraints(spec, {"parameters": progress.parameters, "flops": progress.flops})
    rehearse_keeping(network, data.train_images)
    image_shape = data.train_images.shape[1:]
    cached = use_cached_features(spec, network, data)
    if cached is not None:
        network, data = cached.network, cached.data
    progress.recorder = recorder = EpochRecorder(spec, network.model, data, report)
    checkpoints = Checkpoints(spec, network, recorder)
    continuation = Continuation(spec, network, recorder) if spec.resume_from is not None else None
    with closing(checkpoints):
        _fit(spec, network, data, recorder, continuation, checkpoints)
        if cached is not None:
            recorder.seconds_per_image += cached.seconds_per_image
        _finish(spec, network, model, image_shape, recorder, progress)
    progress.no_checkpoint = checkpoints.missing or ""


def _fit(
    spec: TrialSpec,
    network: TrialNetwork,
    data: SplitArrays,
    recorder: EpochRecorder,
    continuation: Continuation | None,
    checkpoints: Checkpoints,
) -> None:
    guard = LengthGuard(spec.epochs, network.hp, spec.first_epoch)
    guards = [guard, UntrainedGuard(network.model)]
    callbacks = [*([continuation] if continuation is not None else []), *guards, recorder, checkpoints]
    try:
        if continuation is not None and spec.first_epoch >= spec.epochs:
            continuation.restore(with_optimizer=False)
            return
        with suppress(TrainingEnded):
            fit_model(
                network, data, epochs=spec.epochs, callbacks=callbacks, seed=spec.seed, first_epoch=spec.first_epoch
            )
        if not recorder.stopped:
            guard.check_end()
    except (CannotContinueError, DataError):
        raise
    except Exception as error:
        if is_disk_full(error) or _is_out_of_memory(error):
            raise
        # before an epoch began: a user-defined fit does not expect a later one, or the state could not be put back
        if continuation is not None and (isinstance(error, WrongLengthError) or not continuation.has_begun):
            raise CannotContinueError(f"its training cannot begin with a later epoch: {reason_of(error)}") from error
        raise


def _finish(
    spec: TrialSpec,
    network: TrialNetwork,
    model: keras.Model,
    image_shape: Sequence[int],
    recorder: EpochRecorder,
    progress: _Progress,
) -> None:
    """Keeps the best epoch in `model`, the whole network: that of `network` may be its head alone."""
    searched = SearchSpace.from_config(spec.space).names
    progress.unsearched = tuple(dict.fromkeys(entry.name for entry in network.hp.space if entry.name not in searched))
    if recorder.best is None:
        raise RuntimeError(NO_EPOCH)
    seconds = recorder.seconds_per_image
    _check_constraints(spec, {"parameters": progress.parameters, "flops": progress.flops, "seconds_per_image": seconds})
    network.model.set_weights(recorder.best.weights)
    apply_statistics(network.model)
    save_network(model, recorder.best.kind, spec.folder, image_shape)
    save_probabilities(recorder.best.probabilities, spec.folder)
    save_history(recorder.reports, spec.folder)


def _check_constraints(spec: TrialSpec, costs: Mapping[str, float]) -> None:
    broken = [c for c in spec.constraints if c.name in costs and c.violation(costs[c.name]) > 0]
    if broken:
        found = "; ".join(f"{c.name} is {costs[c.name]:g}, the constraint is {c}" for c in broken)
        raise InfeasibleError(found)


def _result(spec: TrialSpec, progress: _Progress, failure: BaseException | None, seconds: float) -> TrialResult:
    recorder = progress.recorder
    best = recorder.best if recorder is not None and failure is None else None
    state, reason = _ending(spec, recorder, failure)
    lines = traceback.format_exception(failure) if state is TrialState.FAILED and failure else []
    if progress.unsearched and failure is None:
        reason += f"; not searched, always its default: {', '.join(progress.unsearched)} (see hp.conditional_scope)"
    if progress.began_anew and failure is None:
        reason += f"; began anew: {progress.began_anew}"
    if progress.no_checkpoint and failure is None:
        reason += f"{CANNOT_CONTINUE}{progress.no_checkpoint}"
    return TrialResult(
        number=spec.number,
        attempt=spec.attempt,
        state=state,
        reason=storable(reason),
        best_epoch=best.epoch if best else 0,
        metrics=best.metrics if best else {},
        epochs=len(recorder.reports) if recorder else 0,
        seconds=seconds,
        training_seconds=recorder.training_seconds if recorder else 0.0,
        parameters=progress.parameters,
        flops=progress.flops,
        seconds_per_image=recorder.seconds_per_image if recorder else 0.0,
        precision=spec.precision,
        backend=keras.backend.backend(),
        traceback=storable(hide_password("".join(lines))),
    )


def _ending(spec: TrialSpec, recorder: EpochRecorder | None, failure: BaseException | None) -> tuple[TrialState, str]:
    if isinstance(failure, InfeasibleError):
        return TrialState.INFEASIBLE, str(failure)
    if failure is not None or recorder is None:
        return TrialState.FAILED, failure_reason(failure or RuntimeError("ended before training"))
    epochs = len(recorder.reports)
    if recorder.stopped:
        what = "paused" if recorder.decision is Decision.PAUSE else "stopped"
        return TrialState.STOPPED, f"{what} after epoch {epochs} of {spec.epochs}"
    if epochs < spec.epochs:
        return TrialState.COMPLETED, f"ended itself after epoch {epochs} of {spec.epochs}"
    return TrialState.COMPLETED, f"all {spec.epochs} epochs"


def failure_reason(error: BaseException) -> str:
    """One line: what diverged, `DISK_FULL`, `DATA_GONE` or `ENCODER_GONE` and why, "out of memory", or the reason."""
    if isinstance(error, DivergedError):
        return str(error)
    if isinstance(error, DataError) and str(error).startswith((DATA_GONE, ENCODER_GONE)):
        return shorten(str(error), MAX_REASON)
    if is_disk_full(error):
        return DISK_FULL
    if _is_out_of_memory(error):
        return "out of memory"
    return shorten(hide_password(typed_reason(error)), MAX_REASON)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    return any(word in type(error).__name__ or word in str(error) for word in _OUT_OF_MEMORY)
