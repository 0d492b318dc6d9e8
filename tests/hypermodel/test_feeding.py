"""What Keras is given in place of batches, and that nothing changes by it."""

import warnings

import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel.batches import Batches, ImageBatches, feed
from galaxy_exp.hypermodel.on_device import fit_batches

IMAGES = np.random.default_rng(1).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(40) % 3
WEIGHTS = np.array([1.0, 2.0, 0.5], np.float32)


class Watched(Batches):
    """Notes which images were read in which epoch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = {}

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        self.seen.setdefault(self._epoch, {})[index] = batch[0]
        return batch


class Counting(keras.layers.Layer):
    """Counts its calls in Python: while a step is traced, not while it is computed."""

    calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs


def _network(*further):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((6, 6, 3), dtype="uint8"), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), *further]
    model = keras.Sequential([*layers, keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def _trained(data):
    model = _network()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(data, epochs=3, verbose=0, shuffle=False)
    return model.get_weights(), history.history["loss"]


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_training_is_that_of_the_batches_themselves(class_weights):
    plain, fed = (Watched(IMAGES, LABELS, 16, seed=3, class_weights=class_weights) for _ in range(2))
    weights, losses = _trained(plain)
    for own, other in zip(weights, _trained(feed(fed))[0], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6, atol=1e-7)
    assert losses[0] > losses[-1]
    for epoch in range(3):
        assert set(fed.seen[epoch]) == {0, 1, 2}
        assert all((fed.seen[epoch][index] == plain.seen[epoch][index]).all() for index in range(3))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces a step twice")
@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_a_step_is_traced_once_and_trains_as_without_that(class_weights):
    batches = Batches(IMAGES, LABELS, 16, seed=3, class_weights=class_weights)
    weights, losses = _trained(feed(batches))
    counting = Counting()
    model = _network(counting)
    built = counting.calls
    batches.rewind(0)
    history = fit_batches(model, batches, epochs=3, callbacks=[])
    assert counting.calls == built + 1
    assert history.history["loss"] == losses
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), weights, strict=True))


def test_a_metric_of_one_s_own_gets_tensors():
    def seen(y_true, y_pred):
        assert keras.ops.is_tensor(y_true)
        assert keras.ops.is_tensor(y_pred)
        return keras.ops.mean(y_pred)

    model = _network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[seen])
    history = fit_batches(model, Batches(IMAGES, LABELS, 16, seed=3), epochs=1, callbacks=[])
    assert history.history["seen"] == pytest.approx([1 / 3], rel=1e-5)


def test_predictions_are_those_of_the_batches_themselves():
    model = _network()
    expected = model.predict(ImageBatches(IMAGES, 7), verbose=0)
    predicted = model.predict(feed(ImageBatches(IMAGES, 7)), verbose=0)
    assert predicted.shape == (40, 3)
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow makes a data set of batches")
def test_nothing_is_tuned_meanwhile():
    data = feed(Batches(IMAGES, LABELS, 16, seed=3))
    assert data.options().autotune.enabled is False
    assert int(data.cardinality()) == 3
