"""One MLflow store and one tiny network for all registry tests: creating a database takes seconds."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from galaxy_exp.folders import graph_of
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.export import ONNX_PACKAGES
from galaxy_exp.registry.packaging import ModelPackage, ModelVersionRef, log_and_register

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ONNX_PACKAGES), reason="the extra onnx is not installed"
)

CLASS_NAMES = ("red", "green", "blue, cigar shaped")
IMAGE_SIZE = (24, 24)


@dataclass(frozen=True)
class Store:
    """An MLflow store on disk."""

    uri: str
    client: MlflowClient
    experiment_id: str

    def finished_run(self) -> str:
        run_id = str(self.client.create_run(self.experiment_id).info.run_id)
        self.client.set_terminated(run_id)
        return run_id


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's folder, for the ledger of test openings."""
    monkeypatch.setenv("GALAXY_EXP_HOME", str(tmp_path / ".galaxy_exp"))


@pytest.fixture(scope="session")
def store(new_store: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder, uri = tmp_path_factory.mktemp("store"), new_store()
    client = MlflowClient(uri)
    experiment_id = client.create_experiment("registry-tests", artifact_location=(folder / "artifacts").as_uri())
    return Store(uri, client, experiment_id)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose class is the brightest colour channel."""
    import keras

    network = keras.Sequential(
        [
            keras.Input((*IMAGE_SIZE, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax", name="head"),
        ]
    )
    network.get_layer("head").set_weights([10 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    path = tmp_path_factory.mktemp("model") / "best.keras"
    network.save(path)
    return path


@pytest.fixture(scope="session")
def upper_half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose class is the brightest colour channel of an image's upper half."""
    import keras

    network = keras.Sequential(
        [
            keras.Input((*IMAGE_SIZE, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Cropping2D(((0, IMAGE_SIZE[0] // 2), (0, 0))),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax", name="head"),
        ]
    )
    network.get_layer("head").set_weights([10 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    path = tmp_path_factory.mktemp("upper") / "upper.keras"
    network.save(path)
    return path


@pytest.fixture(scope="session")
def graph_file(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network with its graph beside it, and a file that cannot be loaded, for want of the user's code."""
    import keras

    path = tmp_path_factory.mktemp("graph") / "best.keras"
    path.write_text("of no use without the user's code")
    images = keras.InputSpec(shape=(None, *IMAGE_SIZE, 3), dtype="uint8")
    keras.saving.load_model(model_file).export(graph_of(path), verbose=False, input_signature=[images])
    return path


@pytest.fixture(scope="session")
def register(store: Store, model_file: Path) -> Callable[..., ModelVersionRef]:
    """Registers the tiny network; each call is another sweep unless `sweep_id` is given."""
    numbers = count()

    def call(
        name: str,
        sweep_id: str | None = None,
        run_id: str | None = None,
        preprocessing: dict[str, Any] | None = None,
        file: Path = model_file,
        tta: bool = False,
        temperature: float | None = None,
        **tags: str,
    ) -> ModelVersionRef:
        return log_and_register(
            ModelPackage(
                model_file=file,
                class_names=CLASS_NAMES,
                image_shape=(*IMAGE_SIZE, 3),
                input_example=np.zeros((2, *IMAGE_SIZE, 3), np.uint8),
                metadata={
                    "sweep_id": sweep_id or f"sweep-{next(numbers)}",
                    "objective": "val_macro_f1",
                    "temperature": temperature,
                },
                preprocessing=preprocessing or {},
                tta=tta,
            ),
            run_id=run_id or store.finished_run(),
            registered_name=name,
            tags={version_tags.SIMULATED: "false", **tags},
            description="A tiny network for tests.",
            tracking_uri=store.uri,
        )

    return call


@pytest.fixture(scope="session")
def registered(register: Callable[..., ModelVersionRef], store: Store) -> ModelVersionRef:
    """Version 1 of "galaxy10-cnn", champion."""
    ref = register("galaxy10-cnn", **{version_tags.DATA_SOURCE: "galaxy10-sdss", "galaxy_exp.test.macro_f1": "0.8125"})
    store.client.set_registered_model_alias(ref.name, version_tags.CHAMPION, str(ref.version))
    return ref


def coloured(channel: int, height: int = 24, width: int = 24) -> np.ndarray:
    """uint8 (height, width, 3), bright in one channel."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[..., channel] = 220
    return image
