from __future__ import annotations

import re

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from galaxy_exp.registry import pyfunc_model
from galaxy_exp.registry.packaging import ModelVersionRef

from .conftest import CLASS_NAMES, Store, coloured


@pytest.fixture(scope="module")
def served(registered: ModelVersionRef, store: Store) -> PyFuncModel:
    """The package as MLflow loads it, signature enforced."""
    return mlflow.pyfunc.load_model(
        store.client.get_model_version_download_uri(registered.name, str(registered.version))
    )


@pytest.fixture(scope="module")
def model(served: PyFuncModel) -> pyfunc_model.GalaxyModel:
    return served.unwrap_python_model()


def test_table_of_a_batch(served: PyFuncModel) -> None:
    table: pd.DataFrame = served.predict(np.stack([coloured(1), coloured(2)]))
    assert list(table) == ["label", "class_name", "probability", *(f"p_{name}" for name in CLASS_NAMES)]
    assert table["label"].dtype == np.int64
    assert table["label"].tolist() == [1, 2]
    assert table["class_name"].tolist() == ["green", "blue, cigar shaped"]
    assert table["probability"].tolist() == table[["p_red", "p_green", "p_blue, cigar shaped"]].max(axis=1).tolist()
    assert np.allclose(table.filter(like="p_").sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("wrong", [np.zeros((1, 24, 24, 3), np.float64), np.zeros((1, 24, 24, 2), np.uint8)])
def test_signature_refuses_other_types_and_channels(served: PyFuncModel, wrong: np.ndarray) -> None:
    with pytest.raises(MlflowException, match="Failed to enforce schema"):
        served.predict(wrong)


def test_images_that_a_server_cut_to_0_and_1_are_refused(model: pyfunc_model.GalaxyModel) -> None:
    """MLflow's server makes uint8 of JSON's floats without rounding."""
    scaled = (np.stack([coloured(0), coloured(1)]) / 255).astype(np.uint8)
    with pytest.raises(MlflowException, match="all pixels are 0 or 1; expected whole numbers from 0 to 255"):
        model.predict(None, scaled)


def test_a_single_image_and_no_image(model: pyfunc_model.GalaxyModel) -> None:
    assert model.predict(None, coloured(0))["class_name"].tolist() == ["red"]
    assert model.predict(None, np.zeros((0, 24, 24, 3), np.uint8)).shape == (0, 6)
    assert model.predict(None, []).shape == (0, 6)


def test_images_of_different_sizes(model: pyfunc_model.GalaxyModel) -> None:
    images = [coloured(0, 24, 24), coloured(1, 100, 60), coloured(2, 12, 13), coloured(0, 25, 300)]
    assert model.predict(None, images)["label"].tolist() == [0, 1, 2, 0]


def test_what_lies_outside_the_centre_square_is_not_seen(model: pyfunc_model.GalaxyModel) -> None:
    image = np.concatenate([coloured(0, 48, 40), coloured(1, 48, 48), coloured(0, 48, 40)], axis=1)
    seen = model.predict_probabilities(image)
    assert np.allclose(seen, model.predict_probabilities(coloured(1)), atol=1e-6)


def test_batches_do_not_change_the_result(model: pyfunc_model.GalaxyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, 30, 30, 3), dtype=np.uint8)
    at_once = model.predict_probabilities(images)
    monkeypatch.setitem(type(model).predict_probabilities.__globals__, "images_per_batch", lambda height, width: 4)
    monkeypatch.setitem(type(model).predict_probabilities.__globals__, "RESIZE_PIXELS", 2000)
    assert np.allclose(model.predict_probabilities(images), at_once, atol=1e-6)
    assert np.allclose(model.predict_probabilities(list(images)), at_once, atol=1e-6)


def test_large_images_go_in_small_batches(model: pyfunc_model.GalaxyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(model, "image_size", (256, 256))
    module = model.predict_probabilities.__globals__  # of the copy in the package
    monkeypatch.setitem(module, "predict_batch", lambda _, images, tta: sizes.append(len(images)) or np.eye(3))
    model.predict_probabilities(np.zeros((20, 256, 256, 3), np.uint8))
    assert sizes == [8, 8, 4]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([coloured(0), coloured(0, 11, 80)], "image 1 has 11 x 80 pixels; expected at least 12 x 12, half of what"),
        ([np.zeros((24, 24, 3))], "image 0 has type float64; expected uint8 values from 0 to 255"),
        ([np.zeros((24, 24), np.uint8)], "image 0 has shape (24, 24); expected (height, width, 3)"),
        (np.zeros((2, 24, 24, 4), np.uint8), "image 0 has shape (24, 24, 4); expected (height, width, 3)"),
        (np.zeros((24, 24), np.uint8), "images have shape (24, 24); expected (n, height, width, 3)"),
        ("galaxy.png", "images are of type str; expected uint8 arrays (n, height, width, 3)"),
    ],
)
def test_refusals_name_index_and_rule(model: pyfunc_model.GalaxyModel, images: object, message: str) -> None:
    with pytest.raises(MlflowException, match=re.escape(message)):
        model.predict_probabilities(images)


@pytest.mark.parametrize(
    ("size", "target", "crop"),
    [
        ((69, 69), (69, 69), (69, 69)),
        ((100, 60), (69, 69), (60, 60)),
        ((100, 60), (40, 20), (100, 50)),
        ((1000, 300), (200, 100), (600, 300)),
        ((7, 3), (5, 3), (5, 3)),
    ],
)
def test_crop_keeps_the_aspect_ratio_of_the_model(
    size: tuple[int, int], target: tuple[int, int], crop: tuple[int, int]
) -> None:
    assert pyfunc_model.crop_size(size, target) == crop


@pytest.mark.parametrize("size", [(24, 24), (31, 17), (69, 50), (150, 90), (200, 7)])
def test_resize_is_that_of_keras_but_for_rounding(size: tuple[int, int]) -> None:
    import keras

    images = np.random.default_rng(3).integers(0, 256, (2, 69, 50, 3), dtype=np.uint8)
    expected = keras.ops.image.resize(
        images.astype(np.float32), size, interpolation="bilinear", antialias=True, data_format="channels_last"
    )
    difference = pyfunc_model.resize(images, size) - np.asarray(expected)
    assert np.abs(difference).max() <= 0.501


def test_resize_averages_what_it_shrinks() -> None:
    checks = np.indices((96, 96)).sum(axis=0) % 2 * np.uint8(200)
    image = np.repeat(checks[None, :, :, None], 3, axis=3).astype(np.uint8)
    resized = pyfunc_model.resize(image, (24, 24))
    assert resized.dtype == np.uint8
    assert np.all(np.abs(resized.astype(int) - 100) <= 3)
    assert pyfunc_model.resize(image, (96, 96)) is image
