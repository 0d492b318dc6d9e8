"""Fused optimizers give what Keras's own give."""

from typing import Any

import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel.optimizers import FusedAdam, FusedAdamW, FusedSGD

PAIRS: dict[str, Any] = {
    "adam": (FusedAdam, keras.optimizers.Adam, {"beta_1": 0.8}),
    "adam with a schedule": (
        FusedAdam,
        keras.optimizers.Adam,
        {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 5)},
    ),
    "adamw": (FusedAdamW, keras.optimizers.AdamW, {"learning_rate": 0.1, "weight_decay": 0.3}),
    "sgd": (FusedSGD, keras.optimizers.SGD, {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd without nesterov": (FusedSGD, keras.optimizers.SGD, {"learning_rate": 0.1, "momentum": 0.9}),
    "sgd without momentum": (FusedSGD, keras.optimizers.SGD, {"learning_rate": 0.1}),
    "amsgrad": (FusedAdam, keras.optimizers.Adam, {"learning_rate": 0.1, "amsgrad": True}),
}


def _trained(optimizer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)])
    model.compile(optimizer, "mse")
    rng = np.random.default_rng(1)
    model.fit(rng.normal(size=(32, 6)), rng.normal(size=(32, 3)), batch_size=8, epochs=3, shuffle=False, verbose=0)
    return np.concatenate([weights.reshape(-1) for weights in model.get_weights()])


@pytest.mark.parametrize("name", PAIRS)
def test_the_weights_after_some_steps_are_those_of_keras(name):
    fused, plain, options = PAIRS[name]
    np.testing.assert_allclose(_trained(fused(**options)), _trained(plain(**options)), rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_saved_and_loaded(name):
    fused, _, options = PAIRS[name]
    optimizer = fused(name="fused", **options)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(loaded) is fused
    assert loaded.get_config() == optimizer.get_config()
