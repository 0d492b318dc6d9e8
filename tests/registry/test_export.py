from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from galaxy_exp.cli.main import run_command
from galaxy_exp.errors import BadInputError, ModelError
from galaxy_exp.registry import export
from galaxy_exp.registry.classifier import GalaxyClassifier, load_model
from galaxy_exp.registry.export import export_network
from galaxy_exp.registry.packaging import ModelVersionRef

from .conftest import CLASS_NAMES, IMAGE_SIZE, Store, coloured, needs_onnx


@pytest.fixture
def classifier(registered: ModelVersionRef, store: Store) -> GalaxyClassifier:
    return load_model(registered.uri, tracking_uri=store.uri)


def test_a_saved_model_agrees(
    registered: ModelVersionRef, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "saved"
    assert run_command(["models", "export", registered.name, "-o", str(output), "--uri", store.uri]) == 0
    assert "largest difference" in capsys.readouterr().err
    exported = keras.layers.TFSMLayer(str(output), call_endpoint="serve")
    answer = np.asarray(exported(np.stack([coloured(1), coloured(2)])))
    assert answer.argmax(axis=1).tolist() == [1, 2]
    facts = json.loads((tmp_path / "saved.json").read_text())
    assert (facts["class_names"], facts["image_size"]) == (list(CLASS_NAMES), list(IMAGE_SIZE))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "saved.json"]


def test_a_network_with_layers_of_the_user_s_own_is_exported_too(
    register: Callable[..., ModelVersionRef], store: Store, graph_file: Path, tmp_path: Path
) -> None:
    loaded = load_model(register("exported-graph", file=graph_file).uri, tracking_uri=store.uri)
    assert export_network(loaded, tmp_path / "saved") <= export.TOLERANCE


def test_what_training_did_to_raw_images_is_told_and_left_to_the_caller(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path
) -> None:
    steps = {"crop": 12, "resize": 24, "greyscale": True, "fits": {"stretch": "asinh"}}
    loaded = load_model(register("exported-grey", preprocessing=steps).uri, tracking_uri=store.uri)
    assert export_network(loaded, tmp_path / "saved") <= export.TOLERANCE
    facts = json.loads((tmp_path / "saved.json").read_text())
    assert (facts["crop"], facts["greyscale"], facts["fits"]) == (12, True, {"stretch": "asinh"})
    assert facts["tta"] is False
    order = [facts["before"].index(word) for word in ("FITS", "square of 12", "aspect ratio", "resize", "mean of")]
    assert order == sorted(order)


@needs_onnx
def test_onnx_agrees(classifier: GalaxyClassifier, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    import onnxruntime

    recwarn.clear()
    assert export_network(classifier, tmp_path / "net.onnx") <= export.TOLERANCE
    assert [str(each.message) for each in recwarn] == []
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (answer,) = session.run(None, {"images": np.stack([coloured(1), coloured(2), coloured(0)])})
    assert answer.argmax(axis=1).tolist() == [1, 2, 0]


def test_without_the_extra_onnx_is_refused_in_a_line(
    classifier: GalaxyClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ONNX_PACKAGES", ("tf2onnx_that_is_not_there",))
    with pytest.raises(BadInputError, match=r"net\.onnx: ONNX needs tf2onnx_that_is_not_there; install with: pip "):
        export_network(classifier, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_disagrees_is_not_kept(
    classifier: GalaxyClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "save_as_tensorflow", lambda *_: lambda images: np.zeros((len(images), 3), np.float32))
    with pytest.raises(ModelError, match=r"what was exported differs from the model by .*; nothing was written"):
        export_network(classifier, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_and_a_folder_that_is_not_there_are_refused(
    classifier: GalaxyClassifier, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(BadInputError, match="here: exists already"):
        export_network(classifier, tmp_path / "here")
    (tmp_path / "net.json").write_text("precious")
    with pytest.raises(BadInputError, match=r"net\.json: exists already"):
        export_network(classifier, tmp_path / "net")
    assert (tmp_path / "net.json").read_text() == "precious"
    assert not (tmp_path / "net").exists()
    with pytest.raises(BadInputError, match=r"nowhere/x: cannot be written: .*nowhere is not a folder"):
        export_network(classifier, tmp_path / "nowhere" / "x")
