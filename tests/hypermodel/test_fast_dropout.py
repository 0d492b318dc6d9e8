import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel.galaxy_network import FastDropout
from galaxy_exp.hypermodel.saving import to_inference_model

ONES = np.ones((64, 7, 7, 31), np.float32)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.3, 0.001, 0.999])
def test_the_share_that_is_dropped_is_the_rate_and_the_mean_stays(rate):
    dropped = np.asarray(FastDropout(rate, seed=1)(ONES, training=True))
    error = 5 * (rate * (1 - rate) / ONES.size) ** 0.5
    assert np.mean(dropped == 0) == pytest.approx(rate, abs=error)
    assert dropped.mean() == pytest.approx(1, abs=error / (1 - rate))
    assert len(np.unique(dropped)) == 2


def test_each_call_draws_anew_and_a_seed_draws_the_same():
    first, second = FastDropout(0.5, seed=3), FastDropout(0.5, seed=3)
    draws = [np.asarray(first(ONES, training=True)) for _ in range(2)]
    assert (draws[0] != draws[1]).any()
    assert (draws[0] == np.asarray(second(ONES, training=True))).all()


def test_neighbours_are_independent():
    kept = np.asarray(FastDropout(0.3, seed=1)(ONES, training=True)).reshape(-1) != 0
    for lag in (1, 2, 4, 31):
        assert abs(np.corrcoef(kept[:-lag], kept[lag:])[0, 1]) < 5 / kept.size**0.5


@pytest.mark.parametrize("options", [{"rate": 0.0}, {"rate": 0.5, "training": False}])
def test_nothing_is_dropped(options):
    training = options.pop("training", True)
    assert (np.asarray(FastDropout(**options)(ONES, training=training)) == 1).all()


def test_the_dtype_stays_and_the_gradient_is_that_of_what_was_kept():
    layer = FastDropout(0.25, seed=1, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(ONES, training=True).dtype) == "bfloat16"
    model = keras.Sequential([keras.Input((4,)), FastDropout(0.5, seed=1), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, outputs: outputs)
    before = model.get_weights()[0]
    model.fit(np.ones((1, 4), np.float32), np.ones((1, 1), np.float32), verbose=0)
    assert set((before - model.get_weights()[0]).reshape(-1).round(4).tolist()) <= {0.0, 2.0}


def test_an_exported_model_has_keras_s_own():
    model = keras.Sequential([keras.Input((4,)), FastDropout(0.5, name="drop"), keras.layers.Dense(2)])
    exported = to_inference_model(model)
    assert type(exported.get_layer("drop")) is keras.layers.Dropout
    assert exported.get_layer("drop").rate == 0.5
