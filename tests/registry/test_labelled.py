from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from galaxy_exp.cli.evaluate import _print_report
from galaxy_exp.cli.main import run_command
from galaxy_exp.config.data_section import DataConfig, FitsConfig
from galaxy_exp.data import PreparedData, build_dataset, load_dataset
from galaxy_exp.data.image_arrays import Preprocessing
from galaxy_exp.data.sources.array_file import DESCRIPTION
from galaxy_exp.errors import ModelError
from galaxy_exp.evaluation.held_out_report import build_report
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.registry import version_tags
from galaxy_exp.registry.classifier import load_model
from galaxy_exp.registry.held_out import digests_of_test_set, find_openers
from galaxy_exp.registry.labelled import (
    align_classes,
    describe_overlap,
    evaluate_on,
    find_test_sets,
    name_numbered_classes,
    parse_class_map,
)
from galaxy_exp.registry.packaging import ModelVersionRef

from .conftest import CLASS_NAMES, IMAGE_SIZE, Store, coloured

RED, GREEN, BLUE = CLASS_NAMES


def _dataset(channels: list[int], names: tuple[str, ...], labels: list[int] | None = None) -> Any:
    images = np.stack([coloured(channel) for channel in channels])
    return build_dataset(images, np.array(labels or channels), names, source="mine.h5")


class _Model:
    class_names = CLASS_NAMES
    metadata: dict[str, Any] = {}
    crop = None
    image_size = IMAGE_SIZE
    greyscale = False

    def predict(self, images: np.ndarray) -> Any:
        self.probabilities = images.mean(axis=(1, 2)) / images.mean(axis=(1, 2)).sum(axis=1, keepdims=True)
        return self


def test_classes_are_matched_by_name() -> None:
    data = _dataset([1, 0, 2, 2], (GREEN, RED, BLUE), [0, 1, 2, 0])
    report, probabilities = evaluate_on(_Model(), data, align_classes(CLASS_NAMES, data))
    assert report.class_names == [GREEN, RED, BLUE]
    assert report.confusion == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert report.accuracy == 0.75
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert report.digest == data.digest


def _numbered(labels: list[int], first_label: int = 0) -> Any:
    images = np.stack([coloured(label % 3) for label in labels])
    return build_dataset(images, np.array(labels), source="mine.h5", first_label=first_label)


def test_labels_from_one_are_not_shifted_where_the_names_match() -> None:
    trained = _numbered([1, 2, 3], 1).class_names
    assert trained == ("class 1", "class 2", "class 3")
    data = _numbered([1, 2, 1, 2])
    assert name_numbered_classes(data, trained) is data
    assert name_numbered_classes(_numbered([0, 1, 2]), trained).class_names == trained


def test_a_stated_first_label_counts_whatever_classes_occur() -> None:
    model = ("class 0", "class 1", "class 2")
    for labels in ([1, 2, 3, 1], [1, 2, 1, 2]):
        named = name_numbered_classes(_numbered(labels, 1), model, 1)
        assert [named.class_names[label] for label in named.labels] == [f"class {label - 1}" for label in labels]


@pytest.mark.parametrize("labels", [[1, 2], [1, 2, 3], [2]])
def test_numbered_labels_without_0_need_their_first_label(labels: list[int]) -> None:
    with pytest.raises(ModelError, match=r"^mine\.h5: .*if the labels start at 1: --set data\.first_label=1"):
        name_numbered_classes(_numbered(labels), CLASS_NAMES)
    named = name_numbered_classes(_numbered(labels, 1), CLASS_NAMES, 1)
    assert [named.class_names[label] for label in named.labels] == [CLASS_NAMES[label - 1] for label in labels]
    if max(labels) < 3:
        named = name_numbered_classes(_numbered(labels), CLASS_NAMES, 0)
        assert [named.class_names[label] for label in named.labels] == [CLASS_NAMES[label] for label in labels]


def test_a_class_that_only_the_model_knows_is_always_wrong() -> None:
    data = _dataset([0, 1, 2], (RED, GREEN), [0, 1, 1])
    report, _ = evaluate_on(_Model(), data, align_classes(CLASS_NAMES, data))
    assert report.class_names == list(CLASS_NAMES)
    assert report.confusion == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_several_classes_of_the_model_may_mean_one_of_the_data() -> None:
    data = _dataset([0, 1, 2], ("warm", "cold"), [0, 0, 1])
    alignment = align_classes(CLASS_NAMES, data, {RED: "warm", GREEN: "warm", BLUE: "cold"})
    report, probabilities = evaluate_on(_Model(), data, alignment)
    assert report.accuracy == 1.0
    assert probabilities[0] == pytest.approx([240 / 260, 20 / 260])


def test_a_temperature_scales_the_classes_of_the_model_before_they_are_added() -> None:
    data = _dataset([0, 1, 2], ("warm", "cold"), [0, 0, 1])
    alignment = align_classes(CLASS_NAMES, data, {RED: "warm", GREEN: "warm", BLUE: "cold"})
    model = _Model()
    model.metadata = {"temperature": 2.0}
    report, probabilities = evaluate_on(model, data, alignment)
    roots = np.sqrt(np.array([220, 20, 20]) / 260)
    warm = (roots[0] + roots[1]) / roots.sum()
    mean = (2 * warm + roots[0] / roots.sum()) / 3
    assert report.temperature == 2.0
    assert report.calibrated is not None
    assert report.calibrated["mean_confidence"] == pytest.approx(mean)
    assert probabilities[0] == pytest.approx([240 / 260, 20 / 260])


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        (
            {},
            r"^add --map 'MODEL CLASS=DATA CLASS' .*: mine\.h5: class 'yellow' is not among the model's classes \(r",
        ),
        ({"read": "yellow"}, "^--map: the model has no class 'read'; expected one of red; green"),
        (
            {GREEN: "yellow"},
            r"^--map green=yellow: no class of the model is left for 'green', which mine\.h5 has too; ",
        ),
        ({RED: "yelow"}, r"^--map: mine\.h5 has no class 'yelow'; expected one of yellow; green"),
    ],
)
def test_names_that_do_not_match_are_one_line(class_map: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        align_classes(CLASS_NAMES, _dataset([0, 1], ("yellow", GREEN)), class_map)
    assert "\n" not in str(caught.value)


def test_a_map_on_the_command_line() -> None:
    assert parse_class_map(["blue, cigar shaped = edge-on", "red=round"]) == {BLUE: "edge-on", "red": "round"}
    with pytest.raises(ModelError, match="--map red: expected MODEL CLASS=DATA CLASS"):
        parse_class_map(["red"])
    with pytest.raises(ModelError, match="--map red=b: 'red' is mapped twice"):
        parse_class_map(["red=a", "red=b"])


def test_images_of_the_training_are_told(prepared: PreparedData) -> None:
    trained = np.load(prepared.files.train_images)
    fresh = np.random.default_rng(0).integers(0, 256, (5, *prepared.image_shape), dtype=np.uint8)
    model = _Model()

    def told(*images: np.ndarray) -> str | None:
        stack = np.concatenate(images)
        data = build_dataset(stack, np.arange(len(stack)) % 2, ("a", "b"), source="x")
        return describe_overlap(model, data, prepared.folder.parent)

    assert told(trained) is None  # a model that does not say what it was made of
    model.metadata = {"data_digest": prepared.digest}
    assert told(trained[:3], fresh) == "3 of these 8 images may have been among the model's training images"
    model.metadata["split_digest"] = prepared.split_digest
    assert told(trained[:3], fresh) == "3 of these 8 images were among the model's training images"
    assert told(fresh) is None
    model.metadata["split_digest"] = "0" * 64
    assert told(trained[:3], fresh) is None  # of another sweep's split
    data = build_dataset(fresh, np.arange(5) % 2, ("a", "b"), source="x")
    model.metadata = {"data_digest": data.digest}
    assert (describe_overlap(model, data, prepared.folder) or "").startswith(
        "these images are the data set of the model's swe"
    )


def test_the_matrix_of_ten_classes_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = tuple(f"Disk, Edge-on, Bulge number {place}" for place in range(10))
    labels = np.repeat(np.arange(10), 300)
    report = build_report(labels, np.eye(10)[(labels + (np.arange(3000) % 5 == 0)) % 10], names, "digest")
    record = {**report.to_dict(), "confusion_by_row": np.array(report.confusion) / 300}
    _print_report(report, record | {"simulated": False, "model_simulated": False}, "table")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if line.startswith("     9 ")] == [
        ["9", "60", *["0"] * 8, "240"],
        ["9", "0.20", *["0.00"] * 8, "0.80"],
    ]


def test_the_command_in_every_format(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = register("evaluated")
    channels = [0] * 25 + [1] * 4 + [2] * 2
    images, labels = np.stack([coloured(channel) for channel in channels]), np.array(channels)
    labels[0] = 1
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    command = ["evaluate", str(tmp_path / "mine.npz"), "--model", ref.uri, "--uri", store.uri]
    assert run_command([*command, "--format", "json"]) == 0
    numbered = capsys.readouterr()
    assert "the labels are numbers; they are taken in the order of the model's classes" in numbered.err
    np.savez(tmp_path / "from_1.npz", images=images, labels=labels + 1)
    from_one = ["evaluate", str(tmp_path / "from_1.npz"), *command[2:]]
    assert run_command(from_one) == 2
    assert "if the labels start at 1: --set data.first_label=1" in capsys.readouterr().err.splitlines()[-1]
    assert run_command([*from_one, "--set", "data.first_label=1", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["confusion"] == json.loads(numbered.out)["confusion"]
    assert run_command([*command, "--set", "data.class_names=[a, b, c]"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: add --map 'MODEL CLASS=DATA CLASS' for each")
    command += ["--set", f"data.class_names={json.dumps(CLASS_NAMES)}"]

    assert run_command([*command, "--format", "json", "-o", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == printed
    for name in ("confusion", "reliability", "coverage"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert printed["accuracy"] == pytest.approx(30 / 31)
    assert printed["confusion"] == [[24, 0, 0], [1, 4, 0], [0, 0, 2]]
    assert printed["confusion_by_row"][1] == [0.2, 0.8, 0]
    assert printed["macro_f1_without_rare"] == pytest.approx(48 / 49)
    low, high = printed["per_class"][1]["completeness_interval"]
    assert 0 <= low < 0.8 < high <= 1

    assert run_command([*command, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    (row,) = (row for row in rows if (row["quantity"], row["class"]) == ("purity", BLUE))
    assert (row["value"], row["low"], row["high"]) == ("1.0", "1.0", "1.0")

    assert run_command(command) == 0
    table = capsys.readouterr().out
    for expected in ("macro-F1 without classes under 20 images", "0.800 (", "true class against predicted"):
        assert expected in table

    assert run_command([*command, "--map", "red=blue"]) == 2
    assert "has no class 'blue'; expected one of red; green; blue, cigar shaped" in capsys.readouterr().err


@pytest.mark.parametrize("of_model", [True, False])
@pytest.mark.parametrize("of_data", [True, False])
def test_every_format_says_that_galaxies_are_simulated(
    of_model: bool,
    of_data: bool,
    register: Callable[..., ModelVersionRef],
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ref = register("evaluated-simulated", **{version_tags.SIMULATED: str(of_model).lower()})
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"], file["ans"] = np.stack([coloured(channel) for channel in (0, 1, 2)] * 2), [0, 1, 2] * 2
        file.attrs[DESCRIPTION] = json.dumps({"simulated": of_data})
    command = ["evaluate", str(tmp_path / "mine.h5"), "--model", ref.uri, "--uri", store.uri]
    command += ["--set", f"data.class_names={json.dumps(CLASS_NAMES)}"]
    assert run_command([*command, "--format", "json", "-o", str(tmp_path / "out")]) == 0
    for printed in (capsys.readouterr().out, (tmp_path / "out" / "report.json").read_text()):
        assert [json.loads(printed)[key] for key in ("simulated", "model_simulated")] == [of_data, of_model]
    assert run_command([*command, "--format", "csv"]) == 0
    rows = {row["quantity"]: row["value"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert [rows["simulated"], rows["model_simulated"]] == [str(of_data), str(of_model)]
    assert run_command(command) == 0
    table = capsys.readouterr().out
    assert ("6 SIMULATED images of 3 classes" in table) == of_data
    assert ("the model was trained on SIMULATED galaxies" in table) == of_model
    assert run_command(["predict", str(tmp_path / "mine.h5"), "--model", ref.uri, "--uri", store.uri]) == 0
    assert ("trained on SIMULATED galaxies" in capsys.readouterr().err) == of_model
    assert run_command(["models", "list", "evaluated-simulated", "--uri", store.uri]) == 0
    assert "SIMULATED" in capsys.readouterr().out if of_model else True


def test_a_look_at_a_held_out_test_set_is_an_opening_of_it(
    prepared: PreparedData,
    register: Callable[..., ModelVersionRef],
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Recognised by its images, in whatever file; by the sweep that the model is of, and once."""
    project = ProjectFolder.default()
    shutil.copytree(prepared.folder, project.data_cache / prepared.folder.name)
    tested, trained = np.load(prepared.held_out.images), np.load(prepared.files.train_images)
    for name, images in (("test", np.concatenate([tested[::-1], trained[:5]])), ("train", trained)):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(len(images)) % 3)
    for sweep_id, expected in (("sweep a", 1), ("sweep a", 1), ("sweep b", 2)):
        ref = register("opener", sweep_id=sweep_id)
        command = ["--model", ref.uri, "--uri", store.uri, "--set", f"data.class_names={json.dumps(CLASS_NAMES)}"]
        assert run_command(["evaluate", str(tmp_path / "train.npz"), *command]) == 0
        assert "openings of it" not in capsys.readouterr().err
        assert run_command(["evaluate", str(tmp_path / "test.npz"), *command]) == 0
        assert f"openings of it on record: {expected}" in capsys.readouterr().err
        assert run_command(["evaluate", str(tmp_path / "test.npz"), *command, "--set", "data.resize=36"]) == 0
        assert f"openings of it on record: {expected}" in capsys.readouterr().err
    assert find_openers(project, digests_of_test_set(prepared)) == {"sweep a", "sweep b"}


def test_the_command_stretches_as_predict_does(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is stated is put in the place of the model's; a model without a stretch needs one."""
    for channel, name in enumerate((RED, GREEN)):
        (tmp_path / "mine" / name).mkdir(parents=True)
        bands = np.moveaxis(coloured(channel), -1, 0).astype(float)
        fits.PrimaryHDU(bands).writeto(tmp_path / "mine" / name / "x.fits")
    trained = FitsConfig(stretch="linear", black=0.0, white=255.0, bands=(2, 1, 0))
    model = register("evaluated-fits", preprocessing={"fits": trained.model_dump(mode="json")})
    eight_bit = register("evaluated-eight-bit")

    def evaluate(uri: str, *more: str, code: int = 0) -> Any:
        command = ["evaluate", str(tmp_path / "mine"), "--model", uri, "--uri", store.uri, "--format", "json"]
        assert run_command([*command, *more]) == code
        printed = capsys.readouterr()
        return printed.err if code else json.loads(printed.out)["confusion"]

    right = [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert evaluate(model.uri) == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]  # green, red, blue
    assert evaluate(model.uri, "--set", "data.fits.bands=[0,1,2]") == right
    assert "add --set data.fits.stretch=asinh" in evaluate(eight_bit.uri, "--set", "data.fits.bands=[0,1,2]", code=2)
    stated = ["data.fits.stretch=linear", "data.fits.black=0", "data.fits.white=255", "data.fits.bands=[0,1,2]"]
    assert evaluate(eight_bit.uri, *(part for entry in stated for part in ("--set", entry))) == right


def test_images_with_the_crop_of_the_training_are_not_cropped_again(
    register: Callable[..., ModelVersionRef], store: Store, tmp_path: Path
) -> None:
    """As a sweep file gives them, or a file that galaxy_exp wrote."""
    steps = Preprocessing(crop=12, resize=24)
    classifier = load_model(register("evaluated-cropped", preprocessing=steps.to_dict()).uri, tracking_uri=store.uri)
    raw = np.random.default_rng(0).integers(0, 256, (9, 48, 48, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["images"], file["ans"] = raw, np.arange(9) % 3
    dataset = load_dataset(DataConfig(source=str(tmp_path / "raw.h5"), crop=steps.crop, resize=24))
    alignment = align_classes(classifier.class_names, replace(dataset, class_names=CLASS_NAMES))
    _, probabilities = evaluate_on(classifier, dataset, alignment)
    np.testing.assert_allclose(probabilities, classifier.predict(raw).probabilities, atol=0.02)
    assert classifier.crop == steps.crop
    np.testing.assert_array_equal(classifier.predict(dataset).probabilities, probabilities)
    resized = load_dataset(DataConfig(source=str(tmp_path / "raw.h5"), resize=36))
    for use in (lambda: classifier.predict(resized), lambda: evaluate_on(classifier, resized, alignment)):
        with pytest.raises(ModelError, match=r"preprocessed already \(resize 36\), in another way .* raw images"):
            use()


def test_images_that_cannot_be_compared_are_not_called_new(prepared: PreparedData, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.load(prepared.held_out.images), labels=np.load(prepared.held_out.labels))
    cache, model = prepared.folder.parent, _Model()
    model.metadata = {"data_digest": prepared.digest, "split_digest": prepared.split_digest}
    raw, resized = (load_dataset(DataConfig(source=str(tmp_path / "mine.npz"), resize=side)) for side in (None, 9))
    assert find_test_sets(raw, cache) == ([digests_of_test_set(prepared)], 0)
    assert describe_overlap(model, raw, cache) is None
    assert find_test_sets(resized, cache) == ([], 1)
    told = describe_overlap(model, resized, cache)
    assert told == "these images are preprocessed already (resize 9), and may be among the model's training images"


@pytest.mark.parametrize("source", ["raw.h5", "folder"])
def test_the_command_prepares_images_as_the_model_alone(
    source: str,
    register: Callable[..., ModelVersionRef],
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the data section says; files may be of different sizes."""
    model = register("evaluated-raw", preprocessing=Preprocessing(crop=12, resize=24).to_dict())
    images, labels = np.zeros((6, 48, 48, 3), np.uint8), np.arange(6) % 3
    for index, label in enumerate(labels):
        images[index, 12:36, 12:36, (label + 1) % 3] = 200
        images[index, 18:30, 18:30] = 200 * np.eye(3, dtype=np.uint8)[label]
        cut = images[index, index:, index:] if index % 2 else images[index]
        (tmp_path / "folder" / CLASS_NAMES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(cut).save(tmp_path / "folder" / CLASS_NAMES[label] / f"{index}.png")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["images"], file["ans"] = images, labels
    command = ["evaluate", str(tmp_path / source), "--model", model.uri, "--uri", store.uri, "--format", "json"]
    for steps in ([], ["data.resize=24"], ["data.crop=12", "data.resize=24"], ["data.crop=40", "data.greyscale=true"]):
        assert run_command([*command, *(part for step in steps for part in ("--set", step))]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["accuracy"] == 1
        assert ("data.crop, data.resize and data.greyscale are left out" in printed.err) == (
            len(steps) == 1 or "data.crop=40" in steps
        )
