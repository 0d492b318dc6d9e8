"""The comparison of two orders of layers."""

import keras
import numpy as np
import pytest

from benchmarks.block_order import NETWORK, main
from benchmarks.networks import NormFirstCNN
from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.simulated import simulate_galaxies
from galaxy_exp.hypermodel.discovery import discover_space, to_kerastuner
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.space.overrides import build_space


def kinds(hypermodel):
    space = build_space(hypermodel, NETWORK | {"n_blocks": 2}, discover_space(hypermodel))
    model = hypermodel.build(to_kerastuner(space))
    shown = (keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.BatchNormalization, keras.layers.Activation)
    return [type(layer).__name__ for layer in model.layers if isinstance(layer, shown)]


def test_the_networks_differ_in_the_order_alone():
    ours = ["Conv2D", "MaxPooling2D", "BatchNormalization", "Activation"]
    textbook = ["Conv2D", "BatchNormalization", "Activation", "MaxPooling2D"]
    assert kinds(GalaxyCNN((24, 24, 3), 4)) == 2 * ours
    assert kinds(NormFirstCNN((24, 24, 3), 4)) == 2 * textbook


@pytest.mark.slow
def test_it_trains_both_and_prints_their_scores(tmp_path, capsys):
    file = tmp_path / "set.npz"
    write_set(file)
    main(["--data", str(file), "--seeds", "1", "--epochs", "1"])
    out = capsys.readouterr().out
    assert "pool, norm, relu" in out
    assert "norm, relu, pool" in out


def write_set(file):
    images, labels = simulate_galaxies(SimulatedConfig(n_images=80, image_size=24, class_proportions="equal"))
    np.savez(file, images=images, labels=labels)
