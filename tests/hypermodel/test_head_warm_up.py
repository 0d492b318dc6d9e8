"""The head of a network that starts from an encoder is trained alone first, where its hyperparameters say so."""

from pathlib import Path

import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel import GalaxyCNN, discover_space, head_warm_up
from galaxy_exp.hypermodel.batches import Batches
from galaxy_exp.hypermodel.discovery import to_kerastuner
from galaxy_exp.hypermodel.encoders import ENCODER_LAYER, write_encoder
from galaxy_exp.hypermodel.equivariant import leaf_layers
from galaxy_exp.hypermodel.head_warm_up import warm_up_head
from galaxy_exp.questions import Question, Questions
from galaxy_exp.space.overrides import build_space
from galaxy_exp.space.search_space import SearchSpace

SHAPE = (12, 12, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Two encoders: of a map and of features, with the brightness of the three colours in their channels."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(1)
    body = [
        keras.Input(SHAPE),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv_1"),
        keras.layers.BatchNormalization(name="norm_1"),
        keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv_2"),
        keras.layers.BatchNormalization(name="norm_2"),
    ]
    write_encoder(keras.Sequential(body), tmp_path / "map.keras", {})
    pooled = keras.Sequential([*body, keras.layers.GlobalAveragePooling2D()])
    write_encoder(pooled, tmp_path / "features.keras", {})


def bright_in_one_colour(n=60):
    """Images whose class is the brighter colour."""
    labels = np.arange(n) % 3
    images = np.random.default_rng(0).integers(0, 100, (n, *SHAPE), dtype=np.uint8)
    images[np.arange(n), :, :, labels] += np.uint8(120)
    return images, labels


def hyperparameters(hypermodel, **values):
    values = {"dense_width": 0, "dropout_1": 0.0, "dropout_2": 0.0, "head": "gap", **values}
    if values["start"] == "features.keras":
        del values["head"]
    return to_kerastuner(build_space(hypermodel, values, discover_space(hypermodel)))


def copy_weights(layer):
    return [np.array(weight) for weight in layer.get_weights()]


def is_equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("start", "weighting", "most"),
    [("map.keras", "none", 8192), ("map.keras", "sqrt", 30), ("features.keras", "sampling", 30)],
)
def test_the_head_learns_and_the_body_stays(start, weighting, most, monkeypatch):
    monkeypatch.setattr(head_warm_up, "MAX_IMAGES", most)
    hypermodel = GalaxyCNN(SHAPE, 3, [start])
    hp = hyperparameters(hypermodel, start=start, class_weighting=weighting, dense_width=64)
    model = hypermodel.build(hp)
    images, labels = bright_in_one_colour()
    body, optimizer = copy_weights(model.get_layer(ENCODER_LAYER)), model.optimizer
    warm_up_head(hypermodel, hp, model, Batches(images, labels, 16, seed=1), seed=1)
    assert (model.predict(images, verbose=0).argmax(axis=1) == labels).mean() > 0.95
    assert is_equal(copy_weights(model.get_layer(ENCODER_LAYER)), body)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 0


def test_an_encoder_that_computes_much_sees_fewer_images(monkeypatch):
    seen = []
    monkeypatch.setattr(head_warm_up, "fit_batches", lambda head, batches, **_: seen.append(len(batches.images)))
    monkeypatch.setattr(head_warm_up, "MIN_IMAGES", 5)
    hypermodel = GalaxyCNN(SHAPE, 3, ["map.keras"])
    hp = hyperparameters(hypermodel, start="map.keras")
    for most in (1e5, 1e7, 1e12):  # the encoder takes some 250,000 operations an image
        monkeypatch.setattr(head_warm_up, "MAX_FLOPS", most)
        warm_up_head(hypermodel, hp, hypermodel.build(hp), Batches(*bright_in_one_colour(), 16, seed=1), seed=1)
    assert seen[0] == 5 < seen[1] < seen[2] == 60


def test_a_head_for_votes_learns():
    questions = Questions((Question("colour", ("red", "green", "blue")),))
    hypermodel = GalaxyCNN(SHAPE, 3, ["map.keras"], questions)
    hp = hyperparameters(hypermodel, start="map.keras")
    model = hypermodel.build(hp)
    images, labels = bright_in_one_colour()
    votes = np.eye(3, dtype=np.float32)[labels]
    warm_up_head(hypermodel, hp, model, Batches(images, votes, 16, seed=1, classes=labels), seed=1)
    assert (model.predict(images, verbose=0).argmax(axis=1) == labels).mean() > 0.95


def trained_head(initial_epoch=0, **values):
    """The head's kernel before and after a training whose rate is too small to change it."""
    hypermodel = GalaxyCNN(SHAPE, 3, ["map.keras"])
    hp = hyperparameters(hypermodel, start="map.keras", learning_rate=1e-8, **values)
    keras.utils.set_random_seed(1)
    model = hypermodel.build(hp)
    before = model.get_layer("probabilities").get_weights()[0]
    images, labels = bright_in_one_colour()
    more = {"initial_epoch": initial_epoch} if initial_epoch else {}
    hypermodel.fit(hp, model, images, labels, epochs=initial_epoch + 1, seed=1, **more)
    return before, model.get_layer("probabilities").get_weights()[0]


def test_a_training_begins_with_the_head():
    before, after = trained_head()
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_array_equal(trained_head()[1], after)


@pytest.mark.parametrize(
    "values",
    [{"head_warm_up": False}, {"body_rate": 0.0}, {"head": "flatten"}, {"initial_epoch": 2}],
    ids=["not wanted", "frozen", "all pixels", "continued"],
)
def test_a_training_does_not(values):
    before, after = trained_head(**values)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_subclass_may_have_other_layers():
    class Own(GalaxyCNN):
        def build(self, hp):
            model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
            self.compile_network(hp, model, keras.optimizers.Adam())
            return model

    hypermodel = Own(SHAPE, 3, ["map.keras"])
    hp = hyperparameters(hypermodel, start="map.keras")
    images, labels = bright_in_one_colour()
    assert len(hypermodel.fit(hp, hypermodel.build(hp), images, labels, epochs=2, seed=1).history["loss"]) == 2


@pytest.mark.parametrize("start", ["map.keras", "nested.keras"])
def test_the_first_layers_of_a_body_stay_as_they_are(start):
    body = keras.saving.load_model("map.keras")
    write_encoder(keras.Sequential([keras.Input(SHAPE), body]), Path("nested.keras"), {})
    hypermodel = GalaxyCNN(SHAPE, 3, [start])
    hp = hyperparameters(hypermodel, start=start, frozen_share=0.5, head_warm_up=False)
    model = hypermodel.build(hp)
    layers = leaf_layers(model.get_layer(ENCODER_LAYER))
    before = {layer.name: copy_weights(layer) for layer in layers}
    hypermodel.fit(hp, model, *bright_in_one_colour(), epochs=1, seed=1)
    changed = {layer.name for layer in layers if not is_equal(copy_weights(layer), before[layer.name])}
    assert changed == {"conv_2", "norm_2"}


def test_the_stored_space_of_an_earlier_sweep_stays_as_it_was():
    hypermodel = GalaxyCNN(SHAPE, 3, ["map.keras"])
    new = ("head_warm_up", "frozen_share")
    space = build_space(hypermodel, {"start": "map.keras"}, discover_space(hypermodel))
    assert set(new) <= set(space.names)
    stored = space.get_config()
    earlier = SearchSpace.from_config(
        {**stored, "space": [entry for entry in stored["space"] if entry["config"]["name"] not in new]}
    )
    hp = to_kerastuner(earlier)
    values = hypermodel.read(hp)
    assert (values.head_warm_up, values.frozen_share) == (None, None)
    assert not set(new) & {entry.name for entry in hp.space}
