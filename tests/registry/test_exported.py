"""An exported ONNX network classifies as the model it came from, without TensorFlow and MLflow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from galaxy_exp.cli.main import run_command
from galaxy_exp.errors import ModelError
from galaxy_exp.registry.classifier import GalaxyClassifier, load_model
from galaxy_exp.registry.export import TOLERANCE, export_network
from galaxy_exp.registry.exported import facts_file
from galaxy_exp.registry.packaging import ModelVersionRef

from .conftest import CLASS_NAMES, Store, coloured, needs_onnx

pytestmark = needs_onnx

HEAVY = {"tensorflow", "keras", "mlflow", "pandas"}
RAW = [coloured(0, 24, 24), coloured(1, 100, 60), coloured(2, 12, 13)]


@pytest.fixture(scope="module")
def packaged(register: Callable[..., ModelVersionRef], store: Store) -> GalaxyClassifier:
    steps = {"crop": 40, "greyscale": False, "raw_side": 22}
    return load_model(register("to-onnx", preprocessing=steps, tta=True).uri, tracking_uri=store.uri)


@pytest.fixture(scope="module")
def onnx_file(packaged: GalaxyClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "galaxies.onnx"
    export_network(packaged, file)
    return file


def test_it_classifies_raw_images_as_the_model_does(packaged: GalaxyClassifier, onnx_file: Path) -> None:
    exported = load_model(str(onnx_file))
    ours, expected = exported.predict(RAW), packaged.predict(RAW)
    assert ours.class_names == expected.class_names
    assert np.abs(ours.probabilities - expected.probabilities).max() <= TOLERANCE
    for name in (
        "class_names",
        "image_size",
        "crop",
        "raw_side",
        "greyscale",
        "tta",
        "fits",
        "simulated",
        "temperature",
    ):
        assert getattr(exported, name) == getattr(packaged, name), name
    assert exported.refusal(coloured(0, 5, 5)) == packaged.refusal(coloured(0, 5, 5))


def test_an_image_that_is_refused_and_the_network_within(onnx_file: Path) -> None:
    exported = load_model(str(onnx_file))
    with pytest.raises(ModelError, match="image 0 has 5 x 5 pixels; expected at least 11 x 11"):
        exported.predict(coloured(0, 5, 5))
    with pytest.raises(ModelError, match="is an exported network; expected a packaged model"):
        _ = exported.network


def test_predict_imports_neither_tensorflow_nor_mlflow(onnx_file: Path, tmp_path: Path) -> None:
    Image.fromarray(coloured(1, 30, 30)).save(tmp_path / "some.png")
    arguments = ["predict", str(tmp_path / "some.png"), "--model", str(onnx_file)]
    code = (
        "import sys\nfrom galaxy_exp.cli.main import run_command\n"
        f"assert run_command({arguments!r}) == 0\nassert not {HEAVY!r} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split(",")[1:3] == ["1", CLASS_NAMES[1]]


def test_evaluate_takes_it_too(onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, name in enumerate(("red", "green")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            picture = np.clip(coloured(label, 30, 30).astype(int) + number, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "set" / name / f"{number}.png")
    assert run_command(["evaluate", str(tmp_path / "set"), "--model", str(onnx_file), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0


def copy_of(onnx_file: Path, folder: Path, **changes: object) -> Path:
    copy = folder / "copy.onnx"
    copy.write_bytes(onnx_file.read_bytes())
    facts = json.loads(facts_file(onnx_file).read_text()) | changes
    facts_file(copy).write_text(json.dumps(facts))
    return copy


def test_facts_of_an_earlier_release_say_in_words_that_views_are_averaged(onnx_file: Path, tmp_path: Path) -> None:
    copy = copy_of(onnx_file, tmp_path)
    facts = json.loads(facts_file(copy).read_text())
    del facts["tta"]
    facts_file(copy).write_text(json.dumps(facts))
    assert load_model(str(copy)).tta


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["a", "b"]}, "copy.onnx: gives outputs of shape (1, 3); expected (1, 2) by "),
        ({"image_size": [25, 24]}, "copy.onnx: does not take images of 25 x 24: "),
    ],
)
def test_facts_of_another_network_are_refused(
    onnx_file: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        load_model(str(copy_of(onnx_file, tmp_path, **changes)))


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"metadata": None}, "metadata"), ({"class_names": 5}, "class_names"), ({"image_size": [24]}, "image_size")],
)
def test_facts_of_another_kind_are_refused(
    onnx_file: Path, tmp_path: Path, changes: dict[str, object], key: str
) -> None:
    with pytest.raises(ModelError, match=rf"copy\.onnx\.json: {key} is .*; expected "):
        load_model(str(copy_of(onnx_file, tmp_path, **changes)))


def test_damaged_and_missing_files_are_refused_in_a_line(onnx_file: Path, tmp_path: Path) -> None:
    copy = copy_of(onnx_file, tmp_path)
    facts_file(copy).write_text("{}")
    with pytest.raises(ModelError, match=r"copy\.onnx\.json: has no class_names, image_size, metadata; expected"):
        load_model(str(copy))
    facts_file(copy).write_text("{")
    with pytest.raises(ModelError, match=r"copy\.onnx\.json: cannot be read: Expecting property name"):
        load_model(str(copy))
    facts_file(copy).write_bytes(facts_file(onnx_file).read_bytes())
    copy.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"copy\.onnx: ONNX Runtime cannot read it: "):
        load_model(str(copy))
    facts_file(copy).unlink()
    with pytest.raises(ModelError, match=r"copy\.onnx\.json: no such file; expected FILE\.onnx and FILE\.onnx\.json"):
        load_model(str(copy))
