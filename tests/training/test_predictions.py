import keras
import numpy as np
import pytest

from galaxy_exp.training import predictions
from galaxy_exp.training.predictions import OutputError, check_outputs, predict_outputs


@pytest.mark.parametrize("at_once", [7, 2400])
def test_all_features_are_predicted_in_their_order(at_once, monkeypatch):
    monkeypatch.setattr(predictions, "FEATURES_PER_BATCH", at_once)
    model = keras.Sequential([keras.Input((1, 2)), keras.layers.Flatten()])
    features = np.arange(1200, dtype=np.float32).reshape(600, 1, 2)
    np.testing.assert_array_equal(predict_outputs(model, features, 2), features[:, 0])


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


@pytest.mark.parametrize("n_classes", [1, 3])
def test_one_number_for_an_image_does_for_two_classes_only(n_classes):
    with pytest.raises(OutputError, match=r"shape \(None, 2\)|one number per image does for two classes only"):
        check_outputs(keras.Input((1 if n_classes == 3 else 2,)), n_classes)
    check_outputs(keras.Input((1,)), 2)


def test_several_outputs_are_refused():
    with pytest.raises(OutputError, match="the network gives a dict instead of one tensor; expected"):
        check_outputs({"a": keras.Input((3,))}, 3)
