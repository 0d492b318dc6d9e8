"""The network of a trial, ready to be trained, and a test that it can be saved and loaded."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from numpy.typing import NDArray

from galaxy_exp.encoder_file import find_encoder, is_identity
from galaxy_exp.errors import ConfigError, DataError, is_disk_full, reason_of
from galaxy_exp.hypermodel.discovery import to_kerastuner
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.loading import import_hypermodel, load_hypermodel
from galaxy_exp.hypermodel.on_device import overrides
from galaxy_exp.hypermodel.outputs import OutputKind, find_output_kind, to_probabilities
from galaxy_exp.hypermodel.saving import is_portable
from galaxy_exp.questions import Questions
from galaxy_exp.records import ENCODER_GONE, TrialSpec
from galaxy_exp.space.search_space import SearchSpace
from galaxy_exp.training.fresh_weights import made_generators, refuse_shared_weights, restart_others
from galaxy_exp.training.label_forms import LabelForm, LossError, find_label_form
from galaxy_exp.training.machine import fresh_session, resolve_precision
from galaxy_exp.training.predictions import OutputError, check_outputs
from galaxy_exp.training.trial_files import load_network, save_network

__all__ = [
    "CannotBeKeptError",
    "TrialNetwork",
    "apply_statistics",
    "build_network",
    "defines_fit",
    "prepare_network",
    "rehearse_keeping",
    "trial_session",
]

DEFAULT_BATCH_SIZE = 32
"""Of a network without a hyperparameter `batch_size`; Keras's own default."""

_SAMPLES = 4
"""Number of images that a network is called with before it is trained."""

_MOST_DIFFERENCE = 0.1
"""Of a probability before saving and after loading, in float32; large logits amplify rounding."""

_rehearsed: set[tuple[str, frozenset[type]]] = set()
"""Hypermodels, with the types of layers, that this process has saved and loaded; only those of Keras's own layers."""


class CannotBeKeptError(ValueError):
    """A network cannot be saved so that it can be loaded again."""


@dataclass(frozen=True, slots=True)
class TrialNetwork:
    """A built network with all that training needs."""

    reference: str
    """The hypermodel's name in the sweep file."""
    hypermodel: keras_tuner.HyperModel
    hp: keras_tuner.HyperParameters
    model: keras.Model
    labels: LabelForm
    """The form of labels that its loss accepts."""
    n_classes: int
    questions: Questions | None = None
    """What the votes that it is trained on answer, if any."""

    @property
    def n_outputs(self) -> int:
        """Number of columns of what the kept network gives."""
        return self.n_classes if self.questions is None else self.questions.n_answers

    @property
    def batch_size(self) -> int:
        return int(self.hp.values.get("batch_size", DEFAULT_BATCH_SIZE))


@contextmanager
def trial_session(spec: TrialSpec) -> Iterator[None]:
    """`fresh_session` for a trial. The user's modules are imported before: what they set in Keras holds in no trial.

    Raises:
        ConfigError: they cannot be imported.
    """
    import_hypermodel(spec.hypermodel)
    with fresh_session(spec.seed, resolve_precision(spec.precision), spec.deterministic):
        yield


def build_network(spec: TrialSpec, images: NDArray[np.uint8]) -> TrialNetwork:
    """Builds the network of a trial with its weights, and finds the form of labels that its loss accepts.

    Raises:
        OutputError, LossError: see `prepare_network`.
        SharedWeightsError: an earlier trial of this process trained some of its weights.
        DataError: it begins with ENCODER_GONE; the encoder that the network starts from is not there.
        ConfigError: the hypermodel cannot be loaded, or it changes the dtype policy.
        Exception: whatever the hypermodel raises.
    """
    n_classes, votes = len(spec.data.class_names), spec.data.votes
    questions = None if votes is None else votes.questions
    are_counts = votes is not None and votes.are_counts
    policy = keras.config.dtype_policy().name
    with made_generators() as made:
        hypermodel = load_hypermodel(spec.hypermodel, images.shape[1:], n_classes, questions, are_counts)
        hp = to_kerastuner(SearchSpace.from_config(spec.space), spec.values)
        if isinstance(hypermodel, GalaxyCNN):
            hypermodel.stored_encoders = spec.encoders
            if is_identity(identity := spec.values.get("encoder")):
                try:
                    find_encoder(str(spec.values["start"]), str(identity), spec.encoders)
                except ConfigError as error:
                    raise DataError(f"{ENCODER_GONE}: {error}") from error
        model = hypermodel.build(hp)
        network = prepare_network(
            spec.hypermodel, hypermodel, hp, model, images, n_classes, questions, jit_compile=spec.jit_compile
        )
    if (found := keras.config.dtype_policy().name) != policy:
        raise ConfigError(
            f"hypermodel: {spec.hypermodel} changes Keras's dtype policy from {policy} to {found} (set_global_policy "
            "or clear_session); expected a build that leaves it, and training.precision in the sweep file"
        )
    if type(hypermodel) is not GalaxyCNN:  # which makes its layers anew; all weights would be read for nothing
        refuse_shared_weights(model)
        restart_others(model, made, spec.seed)
    return network


def prepare_network(
    reference: str,
    hypermodel: keras_tuner.HyperModel,
    hp: keras_tuner.HyperParameters,
    model: Any,
    images: NDArray[np.uint8],
    n_classes: int,
    questions: Questions | None = None,
    *,
    jit_compile: bool,
) -> TrialNetwork:
    """Prepares what `build` returned for training; any images (n, height, width, channels) serve.

    Raises:
        OutputError: it is no model, or does not give one number per class, or per answer, for such images.
        LossError: the loss does not fit the outputs, or there is none.
    """
    if not isinstance(model, keras.Model):
        raise OutputError(f"the hypermodel's build returned a {type(model).__name__}; expected a keras.Model")
    # JAX without compilation computes operation by operation
    model.jit_compile = jit_compile or keras.backend.backend() == "jax"
    are_votes = questions is not None
    if isinstance(hypermodel, GalaxyCNN) and hypermodel.is_unchanged and hypermodel.questions == questions:
        labels = LabelForm.VOTES if are_votes else LabelForm.CLASSES
    else:
        outputs = _try_outputs(model, images[:_SAMPLES])
        check_outputs(outputs, n_classes, questions)
        _refuse_untrainable(hypermodel, model)
        _infer_in_inference(model)
        labels = find_label_form(model, outputs.shape[1], images, n_classes, are_votes=are_votes)
    return TrialNetwork(reference, hypermodel, hp, model, labels, n_classes, questions)


def defines_fit(hypermodel: keras_tuner.HyperModel) -> bool:
    """Whether the hypermodel's class overrides `fit`."""
    return type(hypermodel).fit is not keras_tuner.HyperModel.fit


def _refuse_untrainable(hypermodel: keras_tuner.HyperModel, model: keras.Model) -> None:
    """Refuses a model without a loss, unless it or its hypermodel has a training of its own."""
    if defines_fit(hypermodel) or overrides(model, "fit", "train_step", "compute_loss"):
        return
    if not model.compiled or (model.loss is None and not model.losses):
        found = "compiled without a loss" if model.compiled else "not compiled"
        raise LossError(
            f"the hypermodel's build returned a network that is {found}; expected model.compile(optimizer, loss), or a "
            "hypermodel with a fit of its own"
        )


def _try_outputs(model: keras.Model, images: NDArray[np.uint8]) -> Any:
    """The outputs for some images; builds the weights of a subclassed model, or one without an input shape.

    A model that does not accept uint8 gets all images as float32 from now on, as Keras does for a Functional model.
    """
    if symbolic := getattr(model, "outputs", None):
        expected = [tuple(each.shape) for each in model.inputs]
        shape = (None, *images.shape[1:])
        if len(expected) != 1 or not _fits(shape, expected[0]):
            raise OutputError(
                f"the network cannot be called with images, float32 {shape}: "
                f"its input is {' and '.join(map(str, expected))}"
            )
        structure = getattr(model, "_outputs_struct", symbolic)
        return symbolic[0] if len(symbolic) == 1 and not isinstance(structure, dict) else structure
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
    """Makes prediction and validation pass `training=False` also to a model whose `call` has no such parameter.

    Keras passes nothing then, and augmentation layers augment by default.
    """
    if model._call_has_training_arg:
        return

    def without_training(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def call(*arguments: Any, **keywords: Any) -> Any:
            model._call_has_training_arg = True
            try:
                return step(*arguments, **keywords)
            finally:
                model._call_has_training_arg = False

        return call

    model.predict_step = without_training(model.predict_step)
    model.test_step = without_training(model.test_step)


def _with_floats(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_with_floats(images: Any, *arguments: Any, **keywords: Any) -> Any:
        return call(keras.ops.cast(images, "float32"), *arguments, **keywords)

    return call_with_floats


def apply_statistics(model: keras.Model) -> None:
    """Makes each Normalization layer compute with its variables, of which it has copies, after these were assigned."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def rehearse_keeping(network: TrialNetwork, images: NDArray[np.uint8]) -> None:
    """Saves the untrained network as the trained one will be saved, and loads it, so that no training is in vain.

    Networks of Keras's own layers are tested once per process for each hypermodel and set of layers; those with
    user-defined parts each time. The random numbers of the training are not affected.

    Raises:
        CannotBeKeptError: it cannot be saved and loaded, or has a tf.Variable, which would be kept as it is after the
            last epoch instead of the best one; one line.
    """
    if isinstance(network.hypermodel, GalaxyCNN) and network.hypermodel.is_unchanged:
        return
    _refuse_foreign_variables(network.model)
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


def _refuse_foreign_variables(model: keras.Model) -> None:
    if keras.backend.backend() != "tensorflow":
        return
    known = {id(variable.value) for variable in model.variables}
    for layer in model._flatten_layers():
        for name, value in vars(layer).items():
            # those that begin with _self_ are TensorFlow's own lists of the others
            if not name.startswith("_self_") and not _tensorflow_variables(value) <= known:
                raise CannotBeKeptError(
                    f"not trained, since it could not be kept: {name} of {type(layer).__name__} is a tf.Variable, "
                    "which is not among the weights of a Keras network; expected keras.Variable or add_weight"
                )


def _tensorflow_variables(value: Any) -> set[int]:
    """The identities of the variables of TensorFlow in a value, in containers too."""
    import tensorflow as tf

    if isinstance(value, tf.Variable):
        return {id(value)}
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return set()
    return set().union(*map(_tensorflow_variables, value))


def _keep(network: TrialNetwork, folder: Path, images: NDArray[np.uint8]) -> None:
    """Does not compare probabilities if the network is random, such as one that calls dropout with `training=True`."""
    expected, again = (np.asarray(network.model.predict(images, verbose=0), np.float32) for _ in range(2))
    kind = find_output_kind(network.model, expected) if network.questions is None else OutputKind.VOTES
    save_network(network.model, kind, folder, images.shape[1:])
    outputs = keras.ops.convert_to_numpy(load_network(folder)(images))
    if outputs.shape != (len(images), network.n_outputs):
        raise OutputError(f"loaded, it gives {outputs.shape}; expected {(len(images), network.n_outputs)}")
    is_float32 = all(layer.compute_dtype == "float32" for layer in network.model._flatten_layers())
    if is_float32 and not is_portable(network.model) and np.array_equal(expected, again):
        difference = np.abs(outputs - to_probabilities(expected, kind)).max()
        if difference > _MOST_DIFFERENCE:
            raise OutputError(f"loaded, it gives probabilities that differ by {difference:.2g} from those before")


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """New layers draw their seeds from Python's generator."""
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
