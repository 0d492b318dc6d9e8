import keras
import keras_tuner
import numpy as np
import pytest

from galaxy_exp.hypermodel import GalaxyCNN, discover_space
from galaxy_exp.hypermodel.equivariant import EquivariantConv2D
from galaxy_exp.hypermodel.galaxy_cnn import class_weights
from galaxy_exp.hypermodel.galaxy_network import convolution_widths
from galaxy_exp.hypermodel.galaxy_space import declare_hyperparameters, declared_space

from .conftest import IMAGE_SHAPE, N_CLASSES


def _hp(**values):
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp


def test_the_defaults_are_the_seed_tutorials_network():
    model = GalaxyCNN((69, 69, 3), 10).build(_hp())
    kinds = [type(layer).__name__ for layer in model.layers]
    assert model.count_params() == 8_409_418
    assert kinds == [
        "Rescaling", "Conv2D", "Activation", "Conv2D", "MaxPooling2D", "Activation", "FastDropout", "Flatten", "Dense",
        "FastDropout", "Dense",
    ]  # fmt: skip
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.25, 0.5]
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)


def test_the_space_is_known_without_keras_tuner():
    assert declared_space().hyperparameters == discover_space(GalaxyCNN((24, 24, 3), 3)).hyperparameters


def test_the_space_contains_the_four_block_network_with_global_pooling():
    hp = _hp(n_blocks=4, batch_norm=True, head="gap", dense_width=0)
    model = GalaxyCNN((69, 69, 3), 10).build(hp)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128, 256]
    assert not any(layer.use_bias for layer in convolutions)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers) == 4
    assert any(isinstance(layer, keras.layers.GlobalAveragePooling2D) for layer in model.layers)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"n_blocks": 1}, [[32, 64]]),
        ({"n_blocks": 2}, [[32], [64]]),
        ({"n_blocks": 3, "convs_per_block": 2}, [[32, 64], [128, 128], [256, 256]]),
        ({"n_blocks": 3, "width_growth": 1.5, "filters_2": 24}, [[32], [24], [40]]),
        ({"n_blocks": 5, "filters_2": 128}, [[32], [128], [256], [512], [512]]),
        ({"n_blocks": 3, "width_growth": 1.0}, [[32], [64], [64]]),
        ({"n_blocks": 3, "equivariant": True, "filters_1": 2, "filters_2": 21}, [[8], [24], [40]]),
        ({"n_blocks": 2, "equivariant": True, "filters_1": 12, "filters_2": 20}, [[16], [24]]),
    ],
)
def test_widths_of_the_convolutions(values, expected):
    assert convolution_widths(declare_hyperparameters(_hp(**values))) == expected


def test_conditional_hyperparameters_are_none_when_inactive():
    values = declare_hyperparameters(_hp())
    conditional = ("convs_per_block", "width_growth", "weight_decay", "residual", "equivariant")
    assert [getattr(values, name) for name in conditional] == [None] * 5
    active = declare_hyperparameters(_hp(n_blocks=2, optimizer="adamw"))
    assert [getattr(active, name) for name in conditional] == [1, 2.0, 4e-3, False, False]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_residual_unit_adds_to_the_map_of_its_block(batch_norm):
    hp = _hp(n_blocks=2, residual=True, batch_norm=batch_norm, filters_1=4, filters_2=6, head="gap")
    model = GalaxyCNN((17, 20, 3), 3).build(hp)
    units = [layer for layer in model.layers if layer.name.startswith("residual_")]
    assert [unit.output_shape for unit in units] == [(None, 8, 10, 4), (None, 4, 5, 6)]
    maps = np.random.default_rng(1).uniform(size=(2, 8, 10, 4)).astype(np.float32)
    changed = units[0].predict(maps, verbose=0)
    assert np.abs(changed - maps).max() > 1e-3
    units[0].set_weights([np.zeros_like(each) for each in units[0].get_weights()])
    np.testing.assert_array_equal(units[0].predict(maps, verbose=0), maps)


@pytest.mark.parametrize("name", ["residual", "equivariant"])
def test_a_stored_space_without_a_newer_hyperparameter_stays_as_it_was(name):
    hp = _hp(n_blocks=2)
    declare_hyperparameters(hp)
    config = hp.get_config()
    config["space"] = [entry for entry in config["space"] if entry["config"]["name"] != name]
    del config["values"][name]
    stored = keras_tuner.HyperParameters.from_config(config)
    assert getattr(declare_hyperparameters(stored), name) is None
    assert name not in {entry.name for entry in stored.space}
    model = GalaxyCNN((24, 24, 3), 3).build(stored)
    assert not any(isinstance(layer, keras.Model | EquivariantConv2D) for layer in model.layers)


def test_pooling_is_left_out_where_the_map_is_too_small():
    model = GalaxyCNN((8, 8, 3), 3).build(_hp(n_blocks=5, filters_1=2, filters_2=2))
    assert sum(isinstance(layer, keras.layers.MaxPooling2D) for layer in model.layers) == 3


def test_outputs_are_float32_probabilities_in_mixed_precision(small_values, images):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = GalaxyCNN(IMAGE_SHAPE, N_CLASSES).build(small_values())
    finally:
        keras.config.set_dtype_policy(before)
    outputs = model.predict(images, verbose=0)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs.sum(axis=1), 1.0, atol=1e-5)
    assert model.get_layer("rescaling").compute_dtype == "float32"
    assert model.get_layer("conv_1_1").compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("name", "kind", "rate"),
    [
        ("adam", keras.optimizers.Adam, 1e-3),
        ("adamw", keras.optimizers.AdamW, 1e-3),
        ("sgd", keras.optimizers.SGD, 1e-2),
    ],
)
def test_optimizers(hypermodel, small_values, name, kind, rate):
    optimizer = hypermodel.build(small_values(optimizer=name, weight_decay=0.02)).optimizer
    assert isinstance(optimizer, kind)
    assert float(optimizer.learning_rate) == pytest.approx(rate)
    assert (optimizer.weight_decay == 0.02) is (name == "adamw")
    assert name != "sgd" or (optimizer.momentum, optimizer.nesterov) == (0.9, True)


def test_fit_uses_batch_size_schedule_weights_and_seed(hypermodel, small_values, images, labels):
    values = {"schedule": "cosine", "class_weighting": "balanced", "label_smoothing": 0.1, "batch_size": 16}

    def losses():
        keras.utils.set_random_seed(5)
        hp = small_values(augmentation="flips+rotations+shift+zoom", optimizer="adamw", **values)
        model = hypermodel.build(hp)
        history = hypermodel.fit(hp, model, images, labels, epochs=2, callbacks=[], seed=3)
        return model, history.history["loss"]

    model, first = losses()
    assert int(model.optimizer.iterations) == 2 * 4
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-8)
    assert first == pytest.approx(losses()[1], rel=1e-4)


def test_works_in_an_ordinary_keras_tuner_search(hypermodel, images, labels, tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Fixed("filters_1", 2)
    hp.Fixed("filters_2", 2)
    hp.Fixed("n_blocks", 2)
    tuner = keras_tuner.RandomSearch(
        hypermodel, objective="val_accuracy", max_trials=2, seed=1, directory=tmp_path, hyperparameters=hp
    )
    stopping = keras.callbacks.EarlyStopping("val_macro_f1", mode="max")
    tuner.search(images, labels, validation_data=(images, labels), epochs=1, callbacks=[stopping], verbose=0)
    trial = tuner.oracle.get_best_trials(1)[0]
    assert 0 <= trial.score <= 1
    assert trial.hyperparameters.get("filters_1") == 2
    assert tuner.get_best_models(1)[0].predict(images[:2], verbose=0).shape == (2, N_CLASSES)


def test_class_weights():
    labels = np.repeat([0, 1, 2], [16, 4, 0])
    assert class_weights(labels, 3, "none") is None
    balanced, root = class_weights(labels, 3, "balanced"), class_weights(labels, 3, "sqrt")
    np.testing.assert_allclose(balanced, [20 / 32, 20 / 8, 0.0])
    assert root[1] / root[0] == pytest.approx(2.0)
    assert root[labels].mean() == pytest.approx(1.0)
