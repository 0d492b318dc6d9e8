from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.pyfunc import PythonModel
from PIL import Image

from galaxy_exp.cli.main import run_command
from galaxy_exp.errors import ModelError
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.classifier import GalaxyClassifier, load_model
from galaxy_exp.registry.packaging import ModelVersionRef

from .conftest import CLASS_NAMES, IMAGE_SIZE, Store, coloured


@pytest.fixture(scope="module")
def classifier(registered: ModelVersionRef, store: Store) -> GalaxyClassifier:
    return load_model(tracking_uri=store.uri)


def test_the_champion_knows_itself(classifier: GalaxyClassifier) -> None:
    assert classifier.uri == "models:/galaxy10-cnn/1"
    assert (classifier.name, classifier.version) == ("galaxy10-cnn", 1)
    assert classifier.class_names == CLASS_NAMES
    assert classifier.image_size == IMAGE_SIZE
    assert classifier.tags[version_tags.DATA_SOURCE] == "galaxy10-sdss"
    assert classifier.metadata["objective"] == "val_macro_f1"
    assert repr(classifier) == "GalaxyClassifier('models:/galaxy10-cnn/1', 3 classes, image_size=(24, 24))"


def test_predictions_of_images_of_different_sizes(classifier: GalaxyClassifier) -> None:
    predictions = classifier.predict([coloured(2), coloured(0, 60, 40), coloured(1, 12, 12)])
    assert predictions.labels.dtype == np.int64
    assert predictions.labels.tolist() == [2, 0, 1]
    assert predictions.class_names == ["blue, cigar shaped", "red", "green"]
    assert predictions.probabilities.shape == (3, 3)
    assert predictions.probabilities.dtype == np.float32


def test_calibrated_probabilities_are_of_the_same_classes(classifier: GalaxyClassifier) -> None:
    images = [coloured(2), coloured(0)]
    plain = GalaxyClassifier(classifier.packaged, "models:/hot/1", metadata={"temperature": 2.0})
    calibrated = plain.calibrated()
    assert (plain.is_calibrated, calibrated.is_calibrated) == (False, True)
    before, after = plain.predict(images), calibrated.predict(images)
    assert after.labels.tolist() == before.labels.tolist()
    roots = np.sqrt(before.probabilities)
    assert after.probabilities == pytest.approx(roots / roots.sum(axis=1, keepdims=True), abs=1e-6)
    assert after.probabilities.dtype == np.float32


def test_predict_gives_calibrated_probabilities_if_it_is_asked_to(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = register("warm", temperature=2.0)
    Image.fromarray(coloured(1)).save(tmp_path / "green.png")
    rows = []
    for option in ([], ["--calibrated"]):
        command = ["predict", str(tmp_path / "green.png"), "--model", ref.uri, "--uri", store.uri]
        assert run_command([*command, "--format", "jsonl", *option]) == 0
        rows.append(json.loads(capsys.readouterr().out))
    plain, calibrated = rows
    assert plain["class_name"] == calibrated["class_name"] == "green"
    assert calibrated["probability"] < plain["probability"]
    odds = [row["probability"] / row["p_red"] for row in rows]
    assert odds[1] == pytest.approx(np.sqrt(odds[0]), rel=0.01)


def test_a_model_without_a_temperature_is_not_calibrated(registered: ModelVersionRef, store: Store) -> None:
    with pytest.raises(ModelError, match="models:/galaxy10-cnn/1 was packaged without a temperature"):
        load_model(tracking_uri=store.uri, calibrated=True)


def test_a_refused_image_is_named(classifier: GalaxyClassifier) -> None:
    with pytest.raises(ModelError, match="image 1 has 11 x 11 pixels; expected at least 12 x 12"):
        classifier.predict([coloured(0), coloured(0, 11, 11)])
    assert classifier.refusal(coloured(0)) is None
    assert (classifier.refusal(coloured(0, 4, 4)) or "").startswith("has 4 x 4 pixels")


def test_every_way_to_name_a_model(registered: ModelVersionRef, store: Store) -> None:
    location = store.client.get_model_version_download_uri("galaxy10-cnn", "1")
    model_id = Path(location).parent.name
    for uri in ("models:/galaxy10-cnn@champion", "models:/galaxy10-cnn/1", "galaxy10-cnn", "galaxy10-cnn/1"):
        assert load_model(uri, tracking_uri=store.uri).version == 1
    for uri in (f"models:/{model_id}", location.removeprefix("file://"), location):
        loaded = load_model(uri, tracking_uri=store.uri)
        assert (loaded.uri, loaded.version, loaded.class_names) == (uri, None, CLASS_NAMES)


def test_loading_is_silent_and_leaves_the_global_store_alone(
    registered: ModelVersionRef, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    before = mlflow.get_tracking_uri()
    load_model(tracking_uri=store.uri).predict(coloured(0))
    assert capfd.readouterr() == ("", "")
    assert mlflow.get_tracking_uri() == before


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nobody", r"no model 'nobody' is registered in sqlite:///.*; registered there: .*galaxy10-cnn"),
        ("models:/galaxy10-cnn@best", r"'galaxy10-cnn' in sqlite:.* has no version with the alias 'best'; versions: 1"),
        ("models:/galaxy10-cnn/99", r"has no version 99; versions: 1.*; choose one with: galaxy-exp models promote "),
        ("models:/galaxy10-cnn/latest", r"'models:/galaxy10-cnn/latest' names no version; expected models:/<name>/"),
        ("models:/m-0123", r"no model could be read at models:/m-0123 in sqlite:"),
        ("runs:/0123/model", r"no model could be read at runs:/0123/model"),
        ("some/folder", r"no model could be read at some/folder \(some/folder\): expected a registered name, "),
        ("galaxy10-cnn/99", r"has no version 99; versions: 1"),
        ("it's", r"no model \"it's\" is registered"),
        (3, r"^3: expected a registered name, .*, or a path"),
    ],
)
def test_what_is_not_there_is_one_line(registered: ModelVersionRef, store: Store, uri: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(uri, tracking_uri=store.uri)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_refused_and_not_copied(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    with pytest.raises(ModelError, match=r"images\): expected a registered name, .* with its file MLmodel"):
        load_model(str(tmp_path / "images"))
    with pytest.raises(ModelError, match=r"model\.keras\): expected a registered name, "):
        load_model(str(tmp_path / "model.keras"))


def test_files_that_were_moved_with_the_store_are_named(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path
) -> None:
    ref = register("moved")
    location = Path(store.client.get_model_version_download_uri("moved", "1").removeprefix("file://"))
    location.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=rf"models:/moved/1 \(.*{location}\): the files are gone, or their folder was"):
        load_model(ref.uri, tracking_uri=store.uri)
    location.parent.symlink_to(tmp_path / "elsewhere")
    assert load_model(ref.uri, tracking_uri=store.uri).version == 1


def test_a_store_that_is_not_there_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match=r"no MLflow store at sqlite:///.*none\.db; make a model with: galaxy-exp init"
    ):
        load_model(tracking_uri="sqlite:///none.db")
    assert list(tmp_path.iterdir()) == []


def test_other_mlflow_models_are_refused(tmp_path: Path) -> None:
    code = tmp_path / "echo.py"
    code.write_text(
        "import mlflow\n"
        "class Echo(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return model_input\n"
        "mlflow.models.set_model(Echo())\n"
    )
    mlflow.pyfunc.save_model(tmp_path / "echo", python_model=str(code), pip_requirements=["mlflow"])
    with pytest.raises(ModelError, match="is an MLflow model, but none that galaxy_exp packaged"):
        load_model(str(tmp_path / "echo"))


class _Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.trace,)


def test_a_pickled_model_is_refused_before_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pickled(PythonModel):
        bomb = _Bomb(tmp_path / "trace")

        def predict(self, context: object, model_input: object, params: object = None) -> object:
            return model_input

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    mlflow.pyfunc.save_model(tmp_path / "pickled", python_model=Pickled(), pip_requirements=["mlflow"])
    (tmp_path / "trace").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="is an MLflow model, but none that galaxy_exp packaged"):
        load_model(str(tmp_path / "pickled"))
    assert not (tmp_path / "trace").exists()
