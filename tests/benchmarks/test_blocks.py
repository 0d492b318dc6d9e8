"""The benchmark of modern blocks: its networks, and a small run."""

import json
import re

import keras
import numpy as np
import pytest

from benchmarks import blocks
from benchmarks.blocks import CONTENDERS, Recipe
from benchmarks.networks import MeanWeights, MixedBatches, build_network
from galaxy_exp.hypermodel.augmentation import symmetry_table
from galaxy_exp.hypermodel.discovery import discover_space, to_kerastuner
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.space.overrides import build_space

SHAPE = (13, 13, 3)


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (4, *SHAPE), dtype=np.uint8)


def test_the_plain_network_is_that_of_galaxy_cnn(images):
    hypermodel = GalaxyCNN(SHAPE, 5)
    values = {**blocks.TRAINING, "n_blocks": 2, "filters_1": 4, "filters_2": 6, "batch_norm": True}
    theirs = hypermodel.build(to_kerastuner(build_space(hypermodel, values, discover_space(hypermodel))))
    ours = build_network(Recipe(widths=(4, 6)), SHAPE, 5)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours.predict(images, verbose=0), theirs.predict(images, verbose=0), atol=1e-6)


def test_equivariant_networks_know_no_orientation(images):
    keras.utils.set_random_seed(1)  # with some weights no unit of a layer answers to any image
    network = build_network(Recipe(widths=(8, 16, 8), pool="centred", equivariant=True), SHAPE, 5)
    table = symmetry_table(13, 13, transpose=True)
    turned = images.reshape(4, 169, 3)[:, table].swapaxes(0, 1).reshape(-1, *SHAPE)
    outputs = network.predict(turned, verbose=0).reshape(8, 4, 5)
    assert np.ptp(outputs[0], axis=0).max() > 1e-3
    np.testing.assert_allclose(outputs, np.broadcast_to(outputs[0], outputs.shape), atol=1e-5)


@pytest.mark.parametrize("name", CONTENDERS)
def test_contenders_have_the_parameters_that_their_names_say(name):
    plain = build_network(Recipe(), (69, 69, 3), 5).count_params()
    found = build_network(CONTENDERS[name].recipe, (69, 69, 3), 5).count_params()
    stated = re.search(r"(\d)/(\d) parameters", name)
    expected = int(stated[1]) / int(stated[2]) if stated else 1
    assert found / plain == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("is_within", [False, True])
def test_mixed_labels_are_as_much_as_the_images_are(is_within):
    images = np.array([0, 0, 0, 200, 200], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    batches = MixedBatches(images, np.array([0, 0, 0, 1, 1]), 5, seed=1, n_classes=3, is_within=is_within)
    mixed, targets = batches[0]
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(mixed[:, 0, 0, 0] / 200, targets[:, 1], atol=0.01)
    assert np.isin(targets, [0, 1]).all() == is_within


def test_mean_weights_are_those_of_keras():
    def train(**kwargs):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.1, **kwargs), "mse")
        means = MeanWeights([0.9])
        x = np.random.default_rng(1).normal(size=(32, 3))
        model.fit(x, x[:, :2], batch_size=8, epochs=2, verbose=0, callbacks=[means])
        return model, means

    theirs, _ = train(use_ema=True, ema_momentum=0.9)
    ours, means = train()
    means.put(0.9)
    np.testing.assert_allclose(ours.get_weights()[0], theirs.get_weights()[0], rtol=1e-5)


@pytest.mark.slow
def test_a_small_run_keeps_its_outputs(tmp_path, capsys):
    rng = np.random.default_rng(1)
    labels = np.tile([0, 1], 30)
    images = rng.integers(0, 100, (60, 24, 24, 3), dtype=np.uint8) + 100 * labels[:, None, None, None].astype(np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    file, kept = tmp_path / "blocks.json", tmp_path / "kept"
    command = ["--data", str(tmp_path / "set.npz"), "--seeds", "2", "--epochs", "1", "--only", "tta", "mixup"]
    command += ["--kept", str(kept), "--json", str(file)]
    blocks.main(command)
    first, written = json.loads(file.read_text()), {each: each.stat().st_mtime_ns for each in kept.iterdir()}
    assert len(written) == 6
    rows = {row["name"]: row for row in first[0]["rows"]}
    assert list(rows) == ["plain", "tta", "mixup"]
    assert rows["plain"]["difference"]["macro_f1"] == [0.0, 0.0, 0.0]
    assert rows["plain"]["seconds"] == rows["tta"]["seconds"]
    blocks.main(command)
    assert json.loads(file.read_text()) == first
    assert {each: each.stat().st_mtime_ns for each in kept.iterdir()} == written
    assert "macro_f1 - plain" in capsys.readouterr().out
