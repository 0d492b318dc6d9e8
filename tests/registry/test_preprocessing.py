"""A packaged model does to raw images what training did before it cached them."""

import json

import numpy as np
import pytest

from galaxy_exp.data.image_arrays import Preprocessing
from galaxy_exp.registry.pyfunc_model import GalaxyModel


class Context:
    def __init__(self, **artifacts):
        self.artifacts = artifacts


@pytest.fixture
def load(model_file, tmp_path):
    def make(preprocessing):
        classes = tmp_path / "classes.json"
        content = {"class_names": ["r", "g", "b"], "image_size": [24, 24]}
        content |= {"preprocessing": preprocessing} if preprocessing is not None else {}
        classes.write_text(json.dumps(content))
        model = GalaxyModel()
        model.load_context(Context(model=str(model_file), classes=str(classes)))
        return model

    return make


@pytest.mark.parametrize(
    "steps", [Preprocessing(), Preprocessing(greyscale=True), Preprocessing(crop=30), Preprocessing(48, 24, True)]
)
def test_raw_images_become_what_training_saw(load, steps):
    raw = np.random.default_rng(0).integers(0, 256, (3, 60, 61, 3), dtype=np.uint8)
    seen = np.stack([steps.apply(image, "x") for image in raw])
    model = load(steps.to_dict())
    ours = model.fit_to_size(raw).astype(int)
    expected = load(None).fit_to_size(seen)  # what was not resized in training is brought to size here
    assert np.abs(ours - expected).max() <= 1  # Pillow and Keras round differently
    if steps.greyscale:
        assert (ours[..., 0] == ours[..., 2]).all()


def test_images_that_are_cut_already_are_not_cut_again(load):
    image = np.random.default_rng(1).integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(load({"crop": 30, "greyscale": False}).fit_to_size(image), image)


def test_images_that_training_enlarged_are_not_refused(load):
    model = load({"resize": 24, "raw_side": 10, "greyscale": False})
    assert model.refusal(np.zeros((10, 10, 3), np.uint8)) is None
    assert "has 4 x 9 pixels; expected at least 5 x 5" in model.refusal(np.zeros((4, 9, 3), np.uint8))


def test_a_package_of_an_earlier_release_has_no_preprocessing(load):
    model = load(None)
    assert (model.centre, model.greyscale, model.fits) == (None, False, None)
