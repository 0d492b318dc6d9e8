"""The network of a trial, built and ready to be trained, and a rehearsal of keeping it."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.errors import is_disk_full, reason_of
from galaxy_exp.hypermodel.discovery import to_kerastuner
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.loading import load_hypermodel
from galaxy_exp.hypermodel.outputs import find_output_kind, to_probabilities
from galaxy_exp.hypermodel.saving import is_portable
from galaxy_exp.records import TrialSpec
from galaxy_exp.space.search_space import SearchSpace
from galaxy_exp.training.artifacts import load_network, save_network
from galaxy_exp.training.labels import LabelForm, find_label_form
from galaxy_exp.training.predictions import OutputError, check_outputs

__all__ = ["CannotBeKeptError", "TrialNetwork", "build_network", "prepare_network", "rehearse_keeping"]

_SAMPLES = 4
"""Images that a network is tried with before it is trained."""

_MOST_DIFFERENCE = 0.1
"""Between a probability before and after keeping, in float32; large logits make much of rounding."""

_rehearsed: set[tuple[str, frozenset[type]]] = set()
"""The hypermodels and kinds of layers of which this process has kept a network; only such without the user's parts."""


class CannotBeKeptError(ValueError):
    """A network cannot be saved so that it can be loaded again."""


@dataclass(frozen=True, slots=True)
class TrialNetwork:
    """A built network with all that is needed to train it."""

    reference: str
    """The hypermodel's, as in the sweep file."""
    hypermodel: keras_tuner.HyperModel
    hp: keras_tuner.HyperParameters
    model: keras.Model
    labels: LabelForm
    """What the network's loss takes."""
    n_classes: int


def build_network(spec: TrialSpec, images: NDArray[np.uint8]) -> TrialNetwork:
    """Builds the network of a trial, its weights included, and finds out which labels its loss takes.

    Args:
        images: of training, (n, height, width, channels).

    Raises:
        OutputError, LossError: see `prepare_network`.
        Exception: whatever the hypermodel raises.
    """
    n_classes = len(spec.data.class_names)
    hypermodel = load_hypermodel(spec.hypermodel, images.shape[1:], n_classes)
    hp = to_kerastuner(SearchSpace.from_config(spec.space), spec.values)
    model = hypermodel.build(hp)
    return prepare_network(spec.hypermodel, hypermodel, hp, model, images, n_classes, jit_compile=spec.jit_compile)


def prepare_network(
    reference: str,
    hypermodel: keras_tuner.HyperModel,
    hp: keras_tuner.HyperParameters,
    model: Any,
    images: NDArray[np.uint8],
    n_classes: int,
    *,
    jit_compile: bool,
) -> TrialNetwork:
    """Makes what `build` returned ready to be trained.

    Args:
        images: any, (n, height, width, channels).

    Raises:
        OutputError: the model does not give one number per class for such images, or is none.
        LossError: the loss does not fit the outputs.
    """
    if not isinstance(model, keras.Model):
        raise OutputError(f"the hypermodel's build returned a {type(model).__name__}; expected a keras.Model")
    # JAX without compilation computes operation by operation
    model.jit_compile = jit_compile or keras.backend.backend() == "jax"
    if isinstance(hypermodel, GalaxyCNN):
        labels = LabelForm.CLASSES
    else:
        outputs = _try_outputs(model, images[:_SAMPLES])
        check_outputs(outputs, n_classes)
        _infer_in_inference(model)
        labels = find_label_form(model, outputs.shape[1], images, n_classes)
    return TrialNetwork(reference, hypermodel, hp, model, labels, n_classes)


def _try_outputs(model: keras.Model, images: NDArray[np.uint8]) -> Any:
    """The outputs; a subclassed model, and any other that was not given an input shape, gets its weights by this.

    One that takes no uint8 gets the images as float32 from here on, as Keras does for a Functional one.
    """
    if symbolic := getattr(model, "outputs", None):
        expected = [tuple(each.shape) for each in model.inputs]
        shape = (None, *images.shape[1:])
        if len(expected) != 1 or not _fits(shape, expected[0]):
            raise OutputError(
                f"the network cannot be called with images, float32 {shape}: "
                f"its input is {' and '.join(map(str, expected))}"
            )
        return symbolic[0] if len(symbolic) == 1 else symbolic
    try:
        return model(images, training=False)
    except Exception:  # noqa: BLE001 - a `call` can raise anything
        model.call = _with_floats(model.call)
    try:
        return model(images, training=False)
    except Exception as error:
        shape = (None, *images.shape[1:])
        raise OutputError(f"the network cannot be called with images, float32 {shape}: {reason_of(error)}") from error


def _fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        there is None or here is None or here == there for here, there in zip(shape, expected, strict=True)
    )


def _infer_in_inference(model: keras.Model) -> None:
    """Lets `predict` and validation of a `call` without `training` say that they do not train, as for any other.

    Keras says nothing then, and layers of augmentation augment by default.
    """
    if model._call_has_training_arg:
        return

    def telling(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def told(*arguments: Any, **keywords: Any) -> Any:
            model._call_has_training_arg = True
            try:
                return step(*arguments, **keywords)
            finally:
                model._call_has_training_arg = False

        return told

    model.predict_step, model.test_step = telling(model.predict_step), telling(model.test_step)


def _with_floats(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_with_floats(images: Any, *arguments: Any, **keywords: Any) -> Any:
        return call(keras.ops.cast(images, "float32"), *arguments, **keywords)

    return call_with_floats


def rehearse_keeping(network: TrialNetwork, images: NDArray[np.uint8]) -> None:
    """Saves the untrained network as the trained one will be saved, and loads it, so that no training is for nothing.

    Networks of Keras's own layers are tried once for each hypermodel and set of layers in a process; those with parts
    of the user's own each time. What random numbers the training gets is not changed.

    Raises:
        CannotBeKeptError: in one line, why.
    """
    if isinstance(network.hypermodel, GalaxyCNN):
        return
    key = (network.reference, frozenset(map(type, network.model._flatten_layers())))
    if key in _rehearsed:
        return
    with _random_state_kept(), tempfile.TemporaryDirectory(prefix="galaxy_exp_rehearsal_") as folder:
        try:
            _keep(network, Path(folder), np.asarray(images[:_SAMPLES]))
        except MemoryError:
            raise
        except Exception as error:
            if is_disk_full(error):
                raise
            raise CannotBeKeptError(
                f"not trained, since it could not be kept: the untrained network cannot be saved and loaded again: "
                f"{reason_of(error)}"
            ) from error
    if is_portable(network.model):
        _rehearsed.add(key)


def _keep(network: TrialNetwork, folder: Path, images: NDArray[np.uint8]) -> None:
    """A network that is random by intent, as one that calls dropout with `training=True`, is not compared by value."""
    expected, again = (np.asarray(network.model.predict(images, verbose=0), np.float32) for _ in range(2))
    kind = find_output_kind(network.model, expected)
    save_network(network.model, kind, folder, images.shape[1:])
    outputs = keras.ops.convert_to_numpy(load_network(folder)(images))
    if outputs.shape != (len(images), network.n_classes):
        raise OutputError(f"loaded, it gives {outputs.shape}; expected {(len(images), network.n_classes)}")
    is_float32 = all(layer.compute_dtype == "float32" for layer in network.model._flatten_layers())
    if is_float32 and not is_portable(network.model) and np.array_equal(expected, again):
        difference = np.abs(outputs - to_probabilities(expected, kind)).max()
        if difference > _MOST_DIFFERENCE:
            raise OutputError(f"loaded, it gives probabilities that differ by {difference:.2g} from those before")


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Layers that are made draw their seeds from Python's generator."""
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
