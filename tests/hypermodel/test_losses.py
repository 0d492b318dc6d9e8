import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel.scoring import SmoothedCrossentropy, build_loss

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], np.float32)
LABELS = np.array([0, 2])


def test_without_smoothing_it_is_keras_own_loss():
    assert type(build_loss(0.0)) is keras.losses.SparseCategoricalCrossentropy


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_smoothing_mixes_the_label_with_the_uniform_distribution(shape):
    target = 0.9 * np.eye(3)[LABELS] + 0.1 / 3
    expected = -(target * np.log(PROBABILITIES)).sum(axis=1).mean()
    assert float(build_loss(0.1)(LABELS.reshape(shape), PROBABILITIES)) == pytest.approx(expected, rel=1e-5)


def test_survives_serialization():
    again = keras.losses.deserialize(keras.losses.serialize(SmoothedCrossentropy(0.1)))
    assert again.label_smoothing == 0.1
