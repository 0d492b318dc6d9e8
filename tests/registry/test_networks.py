from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from galaxy_exp.errors import DataError, ModelError
from galaxy_exp.evaluation.held_out_report import TestReport
from galaxy_exp.hypermodel import batches
from galaxy_exp.registry import pyfunc_model
from galaxy_exp.registry.networks import Variant, evaluate_model, predict_images

from .conftest import CLASS_NAMES, coloured


def _save(folder: Path, images: np.ndarray, labels: np.ndarray) -> tuple[Path, Path]:
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    return folder / "images.npy", folder / "labels.npy"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Four images, the last with a wrong label."""
    images = np.stack([coloured(0), coloured(1), coloured(2), coloured(2)])
    return _save(tmp_path, images, np.array([0, 1, 2, 1]))


def test_scores_a_network(model_file: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfunc_model, "images_per_batch", lambda height, width: 3)
    report, probabilities = evaluate_model(model_file, *files, CLASS_NAMES, "digest")
    assert probabilities.shape == (4, 3)
    assert probabilities.dtype == np.float32
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2, 2]
    assert report.n_images == 4
    assert report.accuracy == 0.75
    assert report.confusion == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert report.per_class[1]["completeness"] == 0.5
    assert report.metrics["balanced_accuracy"] == pytest.approx(2.5 / 3)


def test_the_temperature_is_that_of_the_validation_images(
    model_file: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "validation").mkdir()
    images = np.stack([coloured(0), coloured(0), coloured(1)])
    validation = _save(tmp_path / "validation", images, np.array([0, 2, 1]))
    plain, _ = evaluate_model(model_file, *files, CLASS_NAMES, "digest")
    report, probabilities = evaluate_model(model_file, *files, CLASS_NAMES, "digest", validation=validation)
    assert plain.temperature is plain.calibrated is None
    assert report.temperature is not None
    assert report.temperature > 1  # one of three is wrong, at a probability near 1
    assert report.calibrated is not None
    assert report.reliability is not None
    assert report.calibrated["accuracy"] == report.accuracy
    assert report.calibrated["loss"] < report.loss
    assert report.calibrated["mean_confidence"] < report.reliability["mean_confidence"]
    assert report.reliability["error"] == report.calibration_error
    assert probabilities.max() > report.calibrated["mean_confidence"]  # the network's own


@pytest.mark.parametrize(("shape", "n_views"), [((2, 5, 5, 3), 8), ((2, 4, 6, 3), 4)])
def test_the_views_are_all_flips_and_turns_that_fit(shape: tuple[int, ...], n_views: int) -> None:
    images = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    views = list(pyfunc_model.views_of(images))
    assert np.array_equal(views[0], images)
    assert {view.shape for view in views} == {shape}
    assert len({view.tobytes() for view in views}) == n_views
    flipped = np.stack([view[:, ::-1] for view in views])
    assert {view.tobytes() for view in flipped} == {view.tobytes() for view in views}


def test_the_mean_over_flips_and_turns_is_compared_with_one_view(upper_half: Path, tmp_path: Path) -> None:
    images = np.stack([coloured(0), coloured(1)])
    images[:, 14:] = coloured(2)[14:]
    files = _save(tmp_path, images, np.array([2, 2]))
    alone = Variant("alone", [upper_half])
    report, mean = evaluate_model(upper_half, *files, CLASS_NAMES, "digest", tta=True, variants=[alone])
    assert report.tta
    views = [evaluate_model(upper_half, *_save(tmp_path, view, np.array([2, 2])), CLASS_NAMES, "digest")[1]
             for view in pyfunc_model.views_of(images)]  # fmt: skip
    assert mean == pytest.approx(np.mean(views, axis=0), abs=1e-6)
    (compared,) = report.compared
    assert compared["name"] == "alone"
    assert compared["loss"] > report.loss
    assert compared["differences"]["loss"][0] == pytest.approx(report.loss - compared["loss"])
    assert compared["differences"]["loss"][2] < 0


def test_scores_a_network_by_its_graph(model_file: Path, graph_file: Path, files: tuple[Path, Path]) -> None:
    report, probabilities = evaluate_model(graph_file, *files, CLASS_NAMES, "digest")
    expected, same = evaluate_model(model_file, *files, CLASS_NAMES, "digest")
    np.testing.assert_allclose(probabilities, same, atol=1e-6)
    assert report.confusion == expected.confusion


def test_large_images_go_in_small_batches() -> None:
    sizes: list[int] = []

    def network(images: np.ndarray, training: bool) -> np.ndarray:
        sizes.append(len(images))
        return np.full((len(images), 3), 1 / 3, np.float32)

    assert predict_images(network, np.zeros((20, 256, 256, 3), np.uint8)).shape == (20, 3)
    assert sizes == [8, 8, 4]


@pytest.mark.parametrize(("side", "n_images"), [(24, 256), (69, 55), (256, 8), (424, 8)])
def test_training_and_package_batch_alike(side: int, n_images: int) -> None:
    rules = (batches.images_per_batch, pyfunc_model.images_per_batch)
    assert [rule(side, side) for rule in rules] == [n_images] * 2


def test_a_report_survives_json(model_file: Path, files: tuple[Path, Path]) -> None:
    report, _ = evaluate_model(model_file, *files, CLASS_NAMES, "digest", validation=files)
    assert TestReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 24, 24, 3)), [0, 1], r"float64 \(2, 24, 24, 3\); expected uint8"),
        (np.zeros((2, 24, 24, 3), np.uint8), [0], r"2 images with labels of shape \(1,\)"),
        (np.zeros((2, 24, 24, 3), np.uint8), [0, 3], "labels run from 0 to 3; expected 0 to 2"),
        (np.zeros((0, 24, 24, 3), np.uint8), [], "0 images"),
    ],
)
def test_refuses_data_that_do_not_fit(
    model_file: Path, tmp_path: Path, images: np.ndarray, labels: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_model(model_file, *_save(tmp_path, images, np.array(labels, np.int64)), CLASS_NAMES, "digest")


def test_refuses_models_that_do_not_fit(model_file: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gives outputs of shape \(3,\); expected \(4,\)"):
        evaluate_model(model_file, *files, (*CLASS_NAMES, "white"), "digest")
    small = _save(tmp_path, np.zeros((1, 20, 20, 3), np.uint8), np.array([0]))
    with pytest.raises(ModelError, match=r"takes images of shape \(24, 24, 3\); these have shape \(20, 20, 3\)"):
        evaluate_model(model_file, *small, CLASS_NAMES, "digest")


def test_a_damaged_model_file_is_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"damaged\.keras: cannot be read as a Keras model: ") as caught:
        evaluate_model(damaged, *files, CLASS_NAMES, "digest")
    assert "\n" not in str(caught.value)


def test_a_model_file_with_code_in_it_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    import keras

    code = keras.layers.Lambda(lambda values: values)
    keras.Sequential([keras.Input((24, 24, 3), dtype="uint8"), code]).save(tmp_path / "code.keras")
    with pytest.raises(ModelError, match=r"code\.keras: cannot be read as a Keras model: .*[Ll]ambda"):
        evaluate_model(tmp_path / "code.keras", *files, CLASS_NAMES, "digest")
