"""What is kept of a network answers as the network does."""

import contextlib

import keras
import keras_tuner
import numpy as np
import pytest
from user_hypermodels import SIDE, functional_augmenting, network, subclassed_augmenting

from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.outputs import OutputKind
from galaxy_exp.training import trial_network as networks
from galaxy_exp.training.fitting import SplitArrays, fit_model
from galaxy_exp.training.label_forms import LabelForm, LossError
from galaxy_exp.training.predictions import OutputError
from galaxy_exp.training.trial_files import load_network, save_network
from galaxy_exp.training.trial_network import CannotBeKeptError, prepare_network, rehearse_keeping

IMAGES = np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)


def prepared(model):
    hp = keras_tuner.HyperParameters()
    return prepare_network("m:M", keras_tuner.HyperModel(), hp, model, IMAGES, 3, jit_compile=False)


@pytest.mark.parametrize("build", [functional_augmenting, subclassed_augmenting])
def test_a_network_that_augments_answers_alike_before_and_after_it_is_kept(build, tmp_path):
    model = prepared(build(keras_tuner.HyperParameters(), 3)).model
    expected = model.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), expected)
    save_network(model, OutputKind.PROBABILITIES, tmp_path, (SIDE, SIDE, 3))
    kept = load_network(tmp_path)
    for _ in range(2):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(kept(IMAGES)), expected, atol=1e-5)


def test_a_network_that_answers_otherwise_once_kept_is_refused(monkeypatch):
    network = prepared(functional_augmenting(keras_tuner.HyperParameters(), 3))
    monkeypatch.setattr(networks, "load_network", lambda _: lambda images: np.eye(3)[[0] * len(images)])
    with pytest.raises(CannotBeKeptError, match="loaded, it gives probabilities that differ by"):
        rehearse_keeping(network, IMAGES)


@pytest.mark.parametrize("shapes", [[(SIDE, SIDE, 1)], [(28, 28, 3)], [(SIDE, SIDE, 3), (4,)]])
def test_inputs_that_do_not_fit_are_named_before_anything_is_saved(shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    flat = [keras.layers.Flatten()(each) for each in inputs]
    model = keras.Model(inputs, keras.layers.Dense(3)(flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)))
    with pytest.raises(OutputError, match=r"cannot be called with images, float32 \(None, 16, 16, 3\): its input is"):
        prepared(model)


@pytest.mark.parametrize(("arguments", "found"), [(None, "not compiled"), (("adam",), "compiled without a loss")])
def test_a_network_without_a_loss_is_refused_unless_something_else_trains_it(arguments, found):
    model = network(3)
    if arguments:
        model.compile(*arguments)
    with pytest.raises(LossError, match=f"returned a network that is {found}; expected model.compile"):
        prepared(model)


def small_values():
    hp = keras_tuner.HyperParameters()
    hp.values = {"filters_1": 2, "filters_2": 2, "dense_width": 0}
    return hp


class Recompiled(GalaxyCNN):
    def compile_network(self, hp, model, optimizer):
        model.compile(optimizer, keras.losses.CategoricalFocalCrossentropy(), metrics=["accuracy"])


class Rebuilt(GalaxyCNN):
    def build(self, hp):
        model = super().build(hp)
        model.compile("adam", "mse", metrics=["accuracy"])
        return model


@pytest.mark.parametrize("kind", [Recompiled, Rebuilt])
def test_a_galaxy_cnn_with_a_loss_of_the_user_s_own_gets_its_form_of_labels(kind):
    hypermodel, hp = kind((SIDE, SIDE, 3), 3), small_values()
    model = hypermodel.build(hp)
    network = prepare_network("m:M", hypermodel, hp, model, IMAGES, 3, jit_compile=False)
    assert network.labels is LabelForm.ONE_HOT
    rehearse_keeping(network, IMAGES)
    labels = np.arange(12) % 3
    fit_model(network, SplitArrays(IMAGES, labels, IMAGES, labels), epochs=1, callbacks=[], seed=0)


def test_a_galaxy_cnn_of_the_user_s_own_that_gives_no_class_is_refused():
    class Wide(GalaxyCNN):
        def build(self, hp):
            model = GalaxyCNN(self.image_shape, 5).build(hp)
            self.compile_network(hp, model, keras.optimizers.Adam())
            return model

    hypermodel, hp = Wide((SIDE, SIDE, 3), 3), small_values()
    with pytest.raises(OutputError, match="5"):
        prepare_network("m:M", hypermodel, hp, hypermodel.build(hp), IMAGES, 3, jit_compile=False)


def test_a_network_may_train_itself():
    class Trains(keras.Sequential):
        epochs = 0

        def fit(self, *_, epochs, **__):
            self.epochs = epochs

    model = Trains([keras.Input((SIDE, SIDE, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    labels = np.arange(12) % 3
    fit_model(prepared(model), SplitArrays(IMAGES, labels, IMAGES, labels), epochs=4, callbacks=[], seed=0)
    assert model.epochs == 4


def test_a_single_output_by_name_is_refused():
    images = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(images, {"class": network(3)(images)})
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(OutputError, match="the network gives a dict instead of one tensor"):
        prepared(model)


class WithTensorFlowsVariable(keras.Model):
    """Changes in training what `get_weights` does not know."""

    def __init__(self, kind):
        super().__init__()
        self.inner = network(3)
        self.scales = [keras.Variable(1.0)] if kind is None else {"one": kind(1.0)}

    def call(self, images):
        return self.inner(images)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a variable of TensorFlow")
@pytest.mark.parametrize("is_foreign", [True, False])
def test_a_variable_that_keras_does_not_keep_is_refused(is_foreign):
    import tensorflow as tf

    model = WithTensorFlowsVariable(tf.Variable if is_foreign else None)
    model.compile("adam", "sparse_categorical_crossentropy")
    refused = pytest.raises(CannotBeKeptError, match=r"scales of WithTensorFlowsVariable is a tf.Variable, which")
    with refused if is_foreign else contextlib.nullcontext():
        rehearse_keeping(prepared(model), IMAGES)
