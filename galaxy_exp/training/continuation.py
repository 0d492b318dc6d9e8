"""The state of a training after an epoch: taken from Keras for a checkpoint, put back for a trial that continues."""

from __future__ import annotations

import importlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random import seed_generator
from numpy.typing import NDArray

from galaxy_exp.checkpoint_file import (
    Checkpoint,
    CheckpointError,
    CheckpointIdentity,
    read_checkpoint,
    why_not_longer,
)
from galaxy_exp.hypermodel.outputs import OutputKind
from galaxy_exp.records import EpochReport, TrialSpec
from galaxy_exp.training.fitting import takes_initial_epoch
from galaxy_exp.training.recorder import BestEpoch, EpochRecorder
from galaxy_exp.training.trial_network import TrialNetwork, apply_statistics

__all__ = [
    "IN_PARTS",
    "NO_INITIAL_EPOCH",
    "NO_MODEL_FIT",
    "OTHER_MODEL",
    "CannotContinueError",
    "Continuation",
    "Snapshot",
    "why_not_continuable",
]

_IGNORED = "tuner/"
"""Prefix of KerasTuner's own values: its Hyperband continues one trial as another, which differs in them."""


NO_INITIAL_EPOCH = "its fit takes no initial_epoch"
NO_MODEL_FIT = "its fit does not train through model.fit"
OTHER_MODEL = "its fit trains another model than the one that was built"
IN_PARTS = "its fit does not train all epochs in one call of model.fit"


class CannotContinueError(Exception):
    """A trial cannot continue from its checkpoint and begins anew; one line."""


def why_not_continuable(hypermodel: keras_tuner.HyperModel, model: keras.Model) -> str | None:
    """Why a trial of this network cannot continue from a checkpoint, as far as it is known before its training."""
    if not takes_initial_epoch(hypermodel):
        return NO_INITIAL_EPOCH
    if not isinstance(getattr(model, "optimizer", None), keras.optimizers.Optimizer):
        return "its model has no Keras optimizer"
    if len(_optimizers(vars(model))) > 1:
        return "its model has more than one optimizer"
    return None


def _optimizers(value: Any) -> set[int]:
    """The identities of the optimizers in a value, in containers too; one that scales the loss is the one within it."""
    if isinstance(value, keras.optimizers.Optimizer):
        return {id(getattr(value, "inner_optimizer", value))}
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return set()
    return set().union(*map(_optimizers, value))


class Snapshot:
    """Copies of a training's arrays, into memory that is used again for the next copy."""

    def __init__(self, network: TrialNetwork) -> None:
        self._model = network.model
        self._memory: dict[str, NDArray[Any]] = {}

    def take(self, spec: TrialSpec, recorder: EpochRecorder) -> Checkpoint:
        """The state after the epoch that was reported last. The next call overwrites its arrays."""
        model, best = self._model, recorder.best
        if best is None:
            raise RuntimeError("there is no epoch yet")
        arrays = {
            f"{part}/{index}": self._copy(f"{part}/{index}", variable)
            for part, variables in (("model", model.variables), ("optimizer", model.optimizer.variables))
            for index, variable in enumerate(variables)
        }
        arrays["best_probabilities"] = best.probabilities
        if best.epoch < len(recorder.reports):
            arrays |= {f"best/{index}": weights for index, weights in enumerate(best.weights)}
        shared = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
        if shared is not None:
            arrays["seed_generator"] = np.array(shared.state)
        identity = CheckpointIdentity(
            epoch=len(recorder.reports),
            epochs=spec.epochs,
            schedule=_has_schedule(model.optimizer),
            values=_values(spec),
            seed=spec.seed,
            precision=spec.precision,
            versions=_versions(),
            model=_describe(model.variables),
            optimizer=_describe(model.optimizer.variables),
        )
        return Checkpoint(identity, _plain_state(recorder, best), arrays)

    def _copy(self, name: str, variable: Any) -> NDArray[Any]:
        value = np.asarray(variable)
        if name not in self._memory or self._memory[name].dtype != value.dtype:
            self._memory[name] = np.empty_like(value)
        np.copyto(self._memory[name], value)
        return self._memory[name]


class Continuation(keras.callbacks.Callback):  # type: ignore[misc]
    """Puts the state of `spec.resume_from` back when the training begins, after Keras and `fit` have prepared it.

    Precedes the recorder in the list of callbacks, so that a training that does not continue reports no epoch.
    `has_begun` tells whether an epoch has begun since.

    Raises:
        CannotContinueError: by the constructor and by each method, if the checkpoint cannot be used.
    """

    def __init__(self, spec: TrialSpec, network: TrialNetwork, recorder: EpochRecorder) -> None:
        super().__init__()
        self._checkpoint: Checkpoint | None = _open(spec)
        self._first_epoch = spec.first_epoch
        self._network = network
        self._recorder = recorder
        self.has_begun = False
        has_epochs_left = spec.first_epoch < spec.epochs
        if has_epochs_left and not takes_initial_epoch(network.hypermodel):
            raise CannotContinueError(NO_INITIAL_EPOCH)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Puts everything back, once."""
        if self._checkpoint is None:
            return
        model = self._network.model
        if self.model is not model:
            raise CannotContinueError(OTHER_MODEL)
        if obstacle := why_not_continuable(self._network.hypermodel, model):
            raise CannotContinueError(obstacle)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self.restore(with_optimizer=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Refuses a training that does not continue where the checkpoint ended."""
        self._check(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The same, for a training loop that calls only this."""
        self._check(epoch)

    def _check(self, epoch: int) -> None:
        if self._checkpoint is not None:
            raise CannotContinueError(NO_MODEL_FIT)
        if not self.has_begun and epoch != self._first_epoch:
            raise CannotContinueError(f"its fit ignores initial_epoch: it begins with epoch {epoch + 1}")
        self.has_begun = True

    def restore(self, *, with_optimizer: bool) -> None:
        """Puts everything back; without the optimizer for a trial that has no epoch left."""
        if self._checkpoint is None:
            raise RuntimeError("restored before")
        found, self._checkpoint, model = self._checkpoint, None, self._network.model
        parts = [("model", model.variables, found.identity.model)]
        if with_optimizer:
            parts.append(("optimizer", model.optimizer.variables, found.identity.optimizer))
        for part, variables, known in parts:
            if _describe(variables) != known:
                raise CannotContinueError(f"its {part} is another: {_difference(known, _describe(variables))}")
        for part, variables, _ in parts:
            for index, variable in enumerate(variables):
                variable.assign(_typed(found.arrays[f"{part}/{index}"], variable.dtype))
        apply_statistics(model)
        _restore_recorder(self._recorder, model, found)
        if (shared := found.arrays.get("seed_generator")) is not None:
            seed_generator.global_seed_generator().state.assign(shared)
        _restore_random_state(found.state)


def _open(spec: TrialSpec) -> Checkpoint:
    """The checkpoint that a trial is to continue from.

    The seed is not compared: it decides the order of the images, and KerasTuner's Hyperband continues a trial as
    another one with another seed.
    """
    if spec.resume_from is None:
        raise ValueError("there is no checkpoint to continue from")
    try:
        found = read_checkpoint(spec.resume_from)
    except CheckpointError as error:
        raise CannotContinueError(f"checkpoint {error}") from error
    known, name = found.identity, spec.resume_from.name
    expected = {
        "versions": (known.versions, _versions()),
        "precision": (known.precision, spec.precision),
        "epoch": (known.epoch, spec.first_epoch),
        "values": (known.values, _values(spec)),
    }
    for what, (there, here) in expected.items():
        if there != here:
            raise CannotContinueError(f"checkpoint {name} is of other {what}: {_difference(there, here)}")
    if known.epochs != spec.epochs and (obstacle := why_not_longer(known)):
        raise CannotContinueError(f"{obstacle}, not {spec.epochs}")
    return found


def _restore_recorder(recorder: EpochRecorder, model: keras.Model, found: Checkpoint) -> None:
    state, best = found.state, found.state["best"]
    if best["epoch"] == found.identity.epoch:
        weights = model.get_weights()
    else:
        weights = [_typed(found.arrays[f"best/{i}"], weight.dtype) for i, weight in enumerate(model.weights)]
    probabilities, kind = found.arrays["best_probabilities"], OutputKind[best["kind"]]
    recorder.restore(
        [EpochReport(**report) for report in state["reports"]],
        BestEpoch(best["epoch"], best["metrics"], weights, probabilities, kind),
        state["training_seconds"],
        state["seconds_per_image"],
    )


def _restore_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python_random"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy_random"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))


def _plain_state(recorder: EpochRecorder, best: BestEpoch) -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "reports": [asdict(report) for report in recorder.reports],
        "best": {"epoch": best.epoch, "metrics": best.metrics, "kind": best.kind.name},
        "training_seconds": recorder.training_seconds,
        "seconds_per_image": recorder.seconds_per_image,
        "python_random": random.getstate(),
        "numpy_random": [name, np.asarray(keys).tolist(), *rest],
    }


def _describe(variables: Sequence[Any]) -> list[list[Any]]:
    # not the path, which tells where an optimizer was built
    return [[each.name, list(each.shape), each.dtype] for each in variables]


def _typed(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """An array in the type of its variable; NumPy reads bfloat16 and its like as integers."""
    expected = np.dtype(dtype)
    return array.view(expected) if expected.kind == "V" else array


def _has_schedule(optimizer: keras.optimizers.Optimizer) -> bool:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return isinstance(inner._learning_rate, keras.optimizers.schedules.LearningRateSchedule)


def _values(spec: TrialSpec) -> dict[str, Any]:
    return {name: value for name, value in spec.values.items() if not name.startswith(_IGNORED)}


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}


def _difference(there: Any, here: Any) -> str:
    """The first difference between two values, mappings or lists."""
    if isinstance(there, dict) and isinstance(here, dict):
        name = next(name for name in {**there, **here} if there.get(name) != here.get(name))
        return f"{name} {there.get(name)}, here {here.get(name)}"
    if isinstance(there, list) and isinstance(here, list):
        if len(there) != len(here):
            return f"{len(there)} variables, here {len(here)}"
        return next(f"{one}, here {other}" for one, other in zip(there, here, strict=True) if one != other)
    return f"{there}, here {here}"
