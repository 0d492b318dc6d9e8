import keras
import numpy as np
import pytest

from galaxy_exp.training.predictions import OutputError, are_probabilities, as_probabilities, predict_outputs


def test_probabilities_are_left_alone():
    outputs = np.array([[0.2, 0.803], [1.0, 0.0]], np.float32)
    assert are_probabilities(outputs)
    assert as_probabilities(outputs) is outputs


@pytest.mark.parametrize("outputs", [[[2.0, -1.0]], [[0.6, 0.6]], [[500.0, -500.0]]])
def test_logits_get_a_softmax(outputs):
    outputs = np.array(outputs, np.float32)
    probabilities = as_probabilities(outputs)
    assert probabilities.dtype == np.float32
    assert probabilities.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(probabilities, keras.ops.softmax(outputs), atol=1e-6)


def test_nan_stays_nan():
    assert np.isnan(as_probabilities(np.full((1, 2), np.nan, np.float32))).all()


def test_all_images_are_predicted_in_their_order():
    model = keras.Sequential([keras.Input((2, 2, 1), dtype="uint8"), keras.layers.Flatten()])
    images = np.arange(600, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    outputs = predict_outputs(model, images, 4)
    assert outputs.dtype == np.float32
    assert np.array_equal(outputs[:, 0], np.arange(600) % 256)


def test_outputs_that_do_not_fit_the_classes_are_refused():
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
    with pytest.raises(OutputError, match=r"has shape \(3, 4\); expected \(images, 10\), one per class"):
        predict_outputs(model, np.zeros((3, 2, 2, 1), np.uint8), 10)
