"""Small images and networks for the tests of the hypermodel."""

import keras_tuner
import numpy as np
import pytest

from galaxy_exp.hypermodel import GalaxyCNN

IMAGE_SHAPE = (24, 24, 3)
N_CLASSES = 4


@pytest.fixture(scope="session")
def hypermodel():
    return GalaxyCNN(IMAGE_SHAPE, N_CLASSES)


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(0).integers(0, 256, (60, *IMAGE_SHAPE), dtype=np.uint8)


@pytest.fixture(scope="session")
def labels():
    return np.random.default_rng(1).integers(0, N_CLASSES, 60)


@pytest.fixture
def small_values():
    """A network of two filters that trains in no time; the rest at its defaults."""

    def make(**values):
        hp = keras_tuner.HyperParameters()
        hp.values = {"filters_1": 2, "filters_2": 2, "dense_width": 0, **values}
        return hp

    return make
