"""A whole sweep with KERAS_BACKEND=jax, and what comes of it elsewhere."""

import importlib.util

import keras
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("with_store"),
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed"),
]

SETTINGS = ("hypermodel=galaxy-cnn", "search.max_trials=2", "search.sampler=random", "training.epochs=2")
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
SMALL = (
    "n_blocks=1", "filters_1=2", "filters_2=4", "dense_width=8", "class_weighting=sqrt", "augmentation=flips+rotations"
)  # fmt: skip


def test_a_sweep_on_jax_can_be_repeated_there_and_its_model_used_on_tensorflow(project, monkeypatch):
    import galaxy_exp

    project.environment |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST_COMPILATION}
    chosen = [*SETTINGS, *(f"space.{each}" for each in SMALL), "registry.tta=true"]
    project.run("sweep", "sweep.yaml", *(word for each in chosen for word in ("--set", each)))
    record = project.record()
    assert {trial.result.backend for trial in record.trials.values()} == {"jax"}
    assert record.registered is not None
    assert "bit for bit" in project.run("reproduce", "1").stderr

    of_jax = np.load(project.sweep_folders()[-1] / "trials" / f"{record.winner:04d}" / "test_probabilities.npy")
    images = np.load(next((project.path / ".galaxy_exp" / "data").glob("*/sealed/test_images.npy")))
    monkeypatch.chdir(project.path)  # where mlflow.db lies
    assert keras.backend.backend() == "tensorflow"
    classifier = galaxy_exp.load_model("tiny-model")
    np.testing.assert_allclose(classifier.predict(images).probabilities, of_jax, atol=1e-5)
