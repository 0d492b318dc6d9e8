import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel import GalaxyCNN, to_inference_model
from galaxy_exp.hypermodel.saving import forget_unsavable_loss, is_portable, make_savable

from .conftest import IMAGE_SHAPE, N_CLASSES

LOAD_ALONE = """
import sys
sys.modules["galaxy_exp"] = None
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
assert not any(name.startswith("galaxy_exp.") for name in sys.modules)
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def _trained(hypermodel, hp, images, labels):
    model = hypermodel.build(hp)
    hypermodel.fit(hp, model, images, labels, epochs=1, callbacks=[])
    return model


@pytest.mark.parametrize("augmentation", ["none", "flips", "flips+rotations", "flips+rotations+shift+zoom"])
@pytest.mark.parametrize("equivariant", [False, True])
def test_predicts_as_the_trained_model(hypermodel, small_values, images, labels, augmentation, equivariant):
    blocks = {"n_blocks": 2, "residual": True, "equivariant": equivariant, "batch_norm": True}
    hp = small_values(augmentation=augmentation, label_smoothing=0.1, **blocks)
    model = _trained(hypermodel, hp, images, labels)
    exported = to_inference_model(model)
    np.testing.assert_allclose(exported.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
    assert all(type(layer).__module__.startswith("keras.") for layer in exported.layers)
    assert exported.inputs[0].dtype == "uint8"


@pytest.mark.parametrize("blocks", [{}, {"residual": True}, {"residual": True, "equivariant": True}])
def test_is_float32_throughout_after_mixed_precision(small_values, images, mixed_precision, blocks):
    hypermodel, hp = GalaxyCNN(IMAGE_SHAPE, N_CLASSES), small_values(n_blocks=2, batch_norm=True, **blocks)
    model = hypermodel.build(hp)
    exported = to_inference_model(model)
    leaves = [leaf for layer in exported.layers for leaf in getattr(layer, "layers", [layer])]
    computing = [leaf for leaf in leaves if not isinstance(leaf, keras.layers.InputLayer)]
    assert {leaf.compute_dtype for leaf in computing} == {"float32"}
    outputs = exported.predict(images, verbose=0)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=0.02)
    keras.config.set_dtype_policy("float32")
    in_float32 = hypermodel.build(hp)
    in_float32.set_weights(model.get_weights())
    np.testing.assert_allclose(outputs, in_float32.predict(images, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_loads_in_safe_mode_where_galaxy_exp_is_not_installed(hypermodel, small_values, images, labels, tmp_path):
    blocks = {"n_blocks": 2, "residual": True, "equivariant": True, "batch_norm": True}
    hp = small_values(augmentation="flips+rotations+shift+zoom", label_smoothing=0.1, **blocks)
    exported = to_inference_model(_trained(hypermodel, hp, images, labels))
    exported.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", images)
    subprocess.run(
        [sys.executable, "-c", LOAD_ALONE, *(str(tmp_path / name) for name in ("model.keras", "x.npy", "out.npy"))],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), exported.predict(images, verbose=0), atol=1e-5)


def test_nested_layers_become_float32_too(images, mixed_precision):
    trunk = keras.Sequential([keras.Input((24, 24, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    model = keras.Sequential([keras.Input((24, 24, 3)), trunk, keras.layers.Dense(4, dtype="float32")])
    exported = to_inference_model(model)
    assert exported.layers[0].layers[0].compute_dtype == "float32"
    np.testing.assert_allclose(exported.predict(images, verbose=0), model.predict(images, verbose=0), rtol=0.05, atol=2)


class _Shifted(keras.Model):
    """A user's model with a weight of its own beside those of its layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)
        self.shift = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return self.dense(inputs) + self.shift

    def get_config(self):
        return {"name": self.name}


def test_users_models_within_a_model_are_copied_without_what_trained_them(images):
    def user_loss(truth, outputs):
        return keras.ops.mean(keras.ops.abs(truth - outputs))

    trunk = keras.Sequential([keras.Input((24, 24, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
    trunk.compile("adam", loss=user_loss)
    model = keras.Sequential([keras.Input((24, 24, 3)), trunk, _Shifted()])
    model.layers[1].shift.assign(3.0)
    exported = to_inference_model(model)
    assert exported is not model
    assert not exported.layers[0].compiled
    np.testing.assert_allclose(exported.predict(images, verbose=0), model.predict(images, verbose=0), rtol=1e-5)


def test_a_users_other_models_are_returned_as_they_are():
    inputs = keras.Input((2,))
    functional = keras.Model(inputs, keras.layers.Dense(2)(inputs))

    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    sequential = keras.Sequential([keras.Input((2,)), Own()])
    assert to_inference_model(functional) is functional
    assert to_inference_model(sequential) is sequential
    with_lambda = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda values: values + 1)])
    assert to_inference_model(with_lambda) is with_lambda


class _Half(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2


class _Subclass(keras.Model):
    def call(self, inputs):
        return inputs


class _WithArguments(keras.layers.Layer):
    """Keras has no configuration of it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


def _own(values):
    return values


def _with(*layers):
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(2, "softmax")])


@pytest.mark.parametrize(
    "model",
    [
        _with(_Half()),
        _with(keras.Sequential([_Half()])),
        _with(keras.layers.Lambda(lambda values: values)),
        _with(keras.layers.Dense(2, activation=_own)),
        _with(keras.layers.Dense(2, activation=lambda values: values)),
        _with(_WithArguments(keras.layers.Dense(2))),
        _Subclass(),
    ],
)
def test_parts_of_the_user_s_own_are_not_portable(model):
    assert not is_portable(model)


def test_a_loss_of_the_user_s_own_does_not_matter(hypermodel, small_values):
    inputs = keras.Input((3,))
    functional = keras.Model(inputs, keras.layers.Concatenate()([inputs, keras.layers.Dense(2)(inputs)]))
    functional.compile("adam", _own)
    assert is_portable(functional)
    assert is_portable(to_inference_model(hypermodel.build(small_values(augmentation="flips"))))


def test_a_loss_that_keras_cannot_describe_does_not_keep_a_network_from_being_saved(tmp_path):
    inner = _with()
    for each in (inner, model := keras.Sequential([keras.Input((3,)), inner])):
        each.compile("sgd", functools.partial(keras.losses.categorical_crossentropy, label_smoothing=0.1))
    forget_unsavable_loss(model)
    assert is_portable(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(np.ones((1, 3))), model(np.ones((1, 3))))


def test_weights_are_saved_of_a_model_that_keras_cannot_describe(tmp_path):
    def make():
        return _with(_WithArguments(keras.layers.Dense(2)))

    model, other = make(), make()
    make_savable(model)
    model.save(tmp_path / "model.keras")
    other.load_weights(tmp_path / "model.keras")
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
