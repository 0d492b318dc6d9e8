"""Whatever a network gives becomes probabilities, in arrays and in the exported network alike."""

import functools

import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel.outputs import OutputKind, add_probabilities, find_output_kind, to_probabilities
from galaxy_exp.hypermodel.saving import is_portable

PROBABILITIES, LOGITS, SCORES, PROBABILITY, LOGIT, VOTES = OutputKind
LOSSES = keras.losses


def network(units, activation):
    layers = [keras.Input((2, 2, 3), dtype="uint8"), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(units, activation)])


class Subclassed(keras.Model):
    """Its inside is not known; demands `training`, as a `call` may."""

    def __init__(self, units, activation):
        super().__init__()
        self.network = network(units, activation)

    def call(self, images, training):
        return self.network(images, training=training)


def images(n=12):
    return np.random.default_rng(0).integers(0, 256, (n, 2, 2, 3), dtype=np.uint8)


def plain_loss(labels, outputs):
    return keras.ops.mean(labels - outputs)


@pytest.mark.parametrize("kind_of_model", [network, Subclassed])
@pytest.mark.parametrize(
    ("units", "activation", "loss", "kind"),
    [
        (3, "softmax", "sparse_categorical_crossentropy", PROBABILITIES),
        (3, "softmax", None, PROBABILITIES),
        (3, "softmax", plain_loss, PROBABILITIES),
        (3, None, LOSSES.SparseCategoricalCrossentropy(from_logits=True), LOGITS),
        (3, None, [LOSSES.CategoricalCrossentropy(from_logits=True)], LOGITS),
        (3, None, None, LOGITS),
        (3, "sigmoid", "binary_crossentropy", SCORES),
        (3, "sigmoid", LOSSES.BinaryFocalCrossentropy(), SCORES),
        (3, None, LOSSES.BinaryCrossentropy(from_logits=True), LOGITS),
        (1, "sigmoid", "binary_crossentropy", PROBABILITY),
        (1, "sigmoid", None, PROBABILITY),
        (1, None, LOSSES.BinaryCrossentropy(from_logits=True), LOGIT),
    ],
)
def test_outputs_become_probabilities(kind_of_model, units, activation, loss, kind):
    model = kind_of_model(units, activation)
    model.compile("sgd", loss)
    outputs = np.asarray(model(images(), training=False))
    assert find_output_kind(model, outputs) is kind
    probabilities = to_probabilities(outputs, kind)
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (12, max(units, 2)))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    exported = add_probabilities(model, kind, (2, 2, 3))
    np.testing.assert_allclose(exported.predict(images(), verbose=0), probabilities, atol=1e-5)
    assert is_portable(exported) is (kind_of_model is network)


def test_a_partial_says_whether_it_takes_logits():
    model = network(1, None)
    model.compile("sgd", functools.partial(LOSSES.binary_crossentropy, from_logits=True))
    assert find_output_kind(model, np.array([[0.3], [0.4]])) is LOGIT


def test_a_single_number_beyond_one_is_a_logit():
    model = network(1, "sigmoid")
    assert find_output_kind(model, np.array([[0.3], [1.2]])) is LOGIT
    linear = network(1, None)
    assert find_output_kind(linear, np.array([[0.3], [0.4]])) is LOGIT


@pytest.mark.parametrize("outputs", [[[2.0, -1.0]], [[0.6, 0.6]], [[500.0, -500.0]]])
def test_logits_get_a_softmax(outputs):
    outputs = np.array(outputs, np.float32)
    probabilities = to_probabilities(outputs, LOGITS)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, keras.ops.softmax(outputs), atol=1e-6)


def test_probabilities_are_left_alone():
    outputs = np.array([[0.2, 0.803], [1.0, 0.0]], np.float32)
    assert find_output_kind(network(2, None), outputs) is PROBABILITIES
    assert to_probabilities(outputs, PROBABILITIES) is outputs


@pytest.mark.parametrize("kind", [LOGITS, SCORES, LOGIT])
def test_nan_stays_nan(kind):
    outputs = np.full((1, 1 if kind is LOGIT else 2), np.nan, np.float32)
    assert find_output_kind(network(2, None), outputs) in (LOGITS, LOGIT)
    assert np.isnan(to_probabilities(outputs, kind)).all()


def test_extreme_logits_do_not_overflow():
    with np.errstate(all="raise"):
        found = to_probabilities(np.array([[-1000.0], [1000.0]], np.float32), LOGIT)
    np.testing.assert_array_equal(found, [[1, 0], [0, 1]])
