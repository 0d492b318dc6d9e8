"""GalaxyCNN on JAX: images on the device against images from the host, and files that go between backends."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from galaxy_exp.hypermodel import GalaxyCNN, to_inference_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed"),
]

SCRIPT = Path(__file__).with_name("jax_training.py")
SHAPE, N_CLASSES = (24, 24, 3), 4
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jax")
    to_inference_model(GalaxyCNN(SHAPE, N_CLASSES).build(_small())).save(folder / "tensorflow.keras")
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST_COMPILATION}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (folder / "found.json").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return json.loads((folder / "found.json").read_text())


def _small():
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.values = {"filters_1": 2, "filters_2": 4, "dense_width": 8}
    return hp


@pytest.mark.parametrize(("case", "tolerance"), [("everything", 1e-4), ("drawn evenly, mixed", 1e-2), ("votes", 1e-4)])
def test_images_on_the_device_train_as_those_from_the_host(found, case, tolerance):
    differences = found[case]
    assert differences["names"] == ["accuracy", "loss", "macro_f1"]
    assert differences["weights"] < tolerance
    assert differences["history"] < tolerance


def test_images_go_to_the_device_once_and_then_only_the_order_of_each_epoch(found):
    assert found["transfers"].count([[52, *SHAPE], "uint8"]) == 1  # of two trainings
    assert found["transfers"].count([[52], "int32"]) == 4
    assert {kind for _, kind in found["transfers"]} == {"uint8", "int32", "int64", "float32"}  # labels and weights


def test_a_callback_for_batches_sees_every_step(found):
    assert found["steps"] == 8


def test_a_callback_for_batches_is_recognised_however_it_has_its_hook(found):
    without = {"none": 2, "a list of none": 0}
    assert {way: n for way, n in found["hooks"].items() if way in without} == without
    assert {n for way, n in found["hooks"].items() if way not in without} == {8}


def test_the_orders_are_those_of_the_epochs(found):
    assert found["epochs"] == [0, 1]


def test_images_that_are_too_large_stay_on_the_host_which_is_said(found):
    assert len(found["log"]) == 1
    assert "stays on the host" in found["log"][0]


def test_a_processor_is_given_no_bfloat16(found):
    assert found["precision"] == "float32"


def test_equivariant_layers_are_restored_from_saved_ones(found):
    assert found["restored"] < 1e-4


@pytest.mark.parametrize("fraction", ["0.0", "0.25"])
def test_a_head_is_trained_alone_first(found, fraction):
    warm_up = found["warm up"][fraction]
    assert warm_up["body"] == 0
    assert warm_up["head"] > 0.01
    assert warm_up["accuracy"] > 0.4  # chance: 0.25


def test_models_go_from_one_backend_to_the_other(folder):
    images = np.load(folder / "images.npy")
    of_jax = keras.saving.load_model(folder / "jax.keras", compile=False, safe_mode=True)
    of_tensorflow = keras.saving.load_model(folder / "tensorflow.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(of_jax.predict(images, verbose=0), np.load(folder / "jax.npy"), atol=1e-5)
    expected = np.load(folder / "tensorflow_in_jax.npy")
    np.testing.assert_allclose(of_tensorflow.predict(images, verbose=0), expected, atol=1e-5)
