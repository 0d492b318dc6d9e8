"""`galaxy-exp init`: for each kind of data the file is one that reads the same images and that `check` accepts."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from galaxy_exp.cli.data import read_data_config
from galaxy_exp.cli.main import run_command
from galaxy_exp.config import load_sweep
from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.config.plain_yaml import dump_flow
from galaxy_exp.data import load_dataset
from galaxy_exp.data.simulated import CLASS_NAMES, simulate_galaxies
from galaxy_exp.hypermodel.discovery import discover_space
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.space.overrides import build_space, listed_texts
from galaxy_exp.starters import list_starters, read_starter

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALAXY_EXP_HOME", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def galaxies() -> tuple[np.ndarray, np.ndarray]:
    return simulate_galaxies(SimulatedConfig(n_images=60, image_size=32, seed=5, class_proportions="equal"))


def write_hdf5(images: np.ndarray, labels: np.ndarray) -> list[str]:
    with h5py.File("my galaxies.h5", "w") as file:
        file["images"], file["ans"] = images, labels
    return ["my galaxies.h5"]


def write_named_hdf5(images: np.ndarray, labels: np.ndarray) -> list[str]:
    with h5py.File("named.h5", "w") as file:
        file["images"], file["ans"] = images, labels
        file.attrs["class_names"] = CLASS_NAMES
    return ["named.h5"]


def write_npz(images: np.ndarray, labels: np.ndarray) -> list[str]:
    np.savez("arrays.npz", images=images, labels=np.array(["yes", "no"])[labels % 2])
    return ["arrays.npz"]


def write_folder(images: np.ndarray, labels: np.ndarray) -> list[str]:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = Path("set") / f"{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    return ["set/"]


def write_split_folder(images: np.ndarray, labels: np.ndarray) -> list[str]:
    for number, image in enumerate(images):
        place = Path("parts") / ("train", "val", "test")[number // 20] / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    return ["parts"]


def write_table(images: np.ndarray, labels: np.ndarray) -> list[str]:
    Path("stamps").mkdir()
    with Path("catalogue.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "label"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(Path("stamps") / f"1000{number}.png")
            rows.writerow([f"1000{number}", label])
    return ["catalogue.csv", "data.image_folder=stamps", "data.file_suffix=.png"]


def write_fits(images: np.ndarray, labels: np.ndarray) -> list[str]:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = Path("planes") / ("round", "disk")[label % 2]
        place.mkdir(parents=True, exist_ok=True)
        planes = np.concatenate([image.transpose(2, 0, 1), image[None, :, :, 0]]).astype(np.float32)
        fits.PrimaryHDU(planes).writeto(place / f"{number}.fits")
    return ["planes", "data.fits.bands=[2, 1, 0]", "data.fits.stretch=lupton"]


def write_class(images: np.ndarray, labels: np.ndarray) -> list[str]:
    np.savez("stored.npz", images=images, labels=labels)
    Path("survey_source.py").write_text(
        "import numpy as np\n\n\nclass Survey:\n    def load(self):\n        return dict(np.load('stored.npz'))\n"
    )
    return ["survey_source:Survey"]


def simulated(images: np.ndarray, labels: np.ndarray) -> list[str]:
    return ["simulated", "data.simulated.n_images=60", "data.simulated.image_size=24"]


KINDS = (
    write_hdf5, write_named_hdf5, write_npz, write_folder, write_split_folder, write_table, write_fits, write_class,
    simulated,
)  # fmt: skip


def settings(overrides: list[str]) -> list[str]:
    return [word for each in overrides for word in ("--set", each)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_file_reads_the_same_images_and_its_space_can_be_built(kind, galaxies) -> None:
    source, *overrides = kind(*galaxies)
    assert run_command(["init", "--data", source, *settings(overrides), "-o", "mine.yaml"]) == 0
    config = load_sweep("mine.yaml")
    found = load_dataset(config.data)
    assert config.data.source == source
    assert found.digest == load_dataset(read_data_config(source, overrides)).digest
    hypermodel = GalaxyCNN(found.image_shape, found.n_classes)
    if "start" in config.space:
        hypermodel.offer(listed_texts(config.space["start"]))
    assert build_space(hypermodel, config.space, discover_space(hypermodel))
    assert config.tracking.experiment == config.registry.model == config.name


def test_what_follows_from_the_images(galaxies) -> None:
    images, labels = galaxies
    large = images.repeat(5, axis=1).repeat(5, axis=2)
    with h5py.File("my galaxies.h5", "w") as file:
        file["images"], file["ans"] = large[labels < 6], np.where(labels < 3, 0, labels - 2)[labels < 6]
    assert run_command(["init", "--data", "my galaxies.h5"]) == 0
    text, config = Path("sweep.yaml").read_text(), load_sweep("sweep.yaml")
    assert config.name == "my-galaxies"
    assert config.data.resize == 96  # 160 pixels are many
    assert config.data.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert "class 0 18, class 1 6, class 2 6, class 3 6" in text
    assert "class 1 has only 6 images" in text
    assert config.training.epochs == 60
    assert config.space["start"].values == ("scratch", "pretrained")
    assert config.space["class_weighting"].values == ("none", "sqrt", "balanced")
    assert (config.space["n_blocks"].min, config.space["n_blocks"].max) == (3, 5)
    assert "galaxy-exp check sweep.yaml" in text


def test_names_that_look_like_numbers_stay_names(galaxies) -> None:
    images, labels = galaxies
    with h5py.File("08.h5", "w") as file:
        file["images"], file["ans"] = images, labels
    names = ["08", "1e5", "0_8", "010", ".5e3", "no", "~", "1:30", "-08", "null"]
    assert run_command(["init", "--data", "08.h5", "--set", f"data.class_names={json.dumps(names)}"]) == 0
    config = load_sweep("sweep.yaml")
    assert (config.name, config.registry.model, config.tracking.experiment) == ("08", "08", "08")
    assert config.data.class_names == tuple(names)


def test_names_with_control_characters_are_escaped_in_comments(galaxies) -> None:
    images, labels = galaxies
    names = ["a\x07", "b\u2028b", "c\x85", "d\nname: x", "\ufffe"]
    with h5py.File("odd.h5", "w") as file:
        file["images"], file["ans"] = images, labels % 5
        file.attrs["class_names"] = names
    assert run_command(["init", "--data", "odd.h5"]) == 0
    assert load_dataset(load_sweep("sweep.yaml").data).class_names == tuple(names)
    assert r"# a\x07 has only 12 images" in Path("sweep.yaml").read_text()
    stated = ["--set", f"data.class_names={dump_flow(names)}"]
    assert run_command(["init", "--data", "odd.h5", *stated, "-o", "n.yaml"]) == 0
    assert load_sweep("n.yaml").data.class_names == tuple(names)


def test_a_stated_size_and_stated_names_stay(galaxies) -> None:
    source, *_ = write_hdf5(*galaxies)
    names = ", ".join(f"kind {label}" for label in range(10))
    given = ["--set", "data.resize=24", "--set", f"data.class_names=[{names}]"]
    assert run_command(["init", "--data", source, *given]) == 0
    config = load_sweep("sweep.yaml")
    assert (config.data.resize, config.data.class_names[:2]) == (24, ("kind 0", "kind 1"))
    assert config.space["n_blocks"].max == 3


def test_options_of_tables_are_written(galaxies) -> None:
    source, *_ = write_table(*galaxies)
    assert run_command(["init", "--data", source, "--image-folder", "stamps", "--file-suffix", "png"]) == 0
    config = load_sweep("sweep.yaml").data
    assert (config.image_folder, config.file_suffix) == ("stamps", ".png")


def test_without_data_it_is_a_file_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["init"]) == 0
    assert capsys.readouterr().err.splitlines()[:2] == [
        "wrote sweep.yaml",
        "next:  galaxy-exp check sweep.yaml   what it would do and cost",
    ]
    assert Path("sweep.yaml").read_text() == (ROOT / "sweeps" / "quickstart.yaml").read_text()
    assert run_command(["init", "--help"]) == 0
    *names, last = list_starters()
    assert f"starter file: {', '.join(names)} or {last}" in " ".join(capsys.readouterr().out.split())
    for name in list_starters():
        assert run_command(["init", "--from", name, "-o", f"new/{name}.yaml"]) == 0
        assert Path(f"new/{name}.yaml").read_text() == read_starter(name)


def test_a_file_of_the_package_for_ones_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["init", "--from", "pretrained", "--data", "a: b.h5", "-o", "-"]) == 0
    Path("printed.yaml").write_text(capsys.readouterr().out)
    config = load_sweep("printed.yaml")
    assert (config.data.source, config.registry.ensemble) == ("a: b.h5", True)


@pytest.mark.parametrize("starter", list_starters())
def test_a_file_of_the_package_is_named_after_ones_own_data(starter: str) -> None:
    assert run_command(["init", "--from", starter, "--data", "my galaxies.h5"]) == 0
    config = load_sweep("sweep.yaml")
    assert {config.name, config.tracking.experiment, config.registry.model} - {None} == {"my-galaxies"}
    assert "simulated:" not in Path("sweep.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: sweep.yaml: exists; name another file with -o FILE, or remove it"),
        (["-o", "sweep.yaml/x.yaml"], "error: sweep.yaml/x.yaml: cannot be written: sweep.yaml: "),
        (["--from", "quickstrat", "-o", "x"], 'error: --from quickstrat: no such starter file; did you mean "quickst'),
        (["--data", "nowhere.h5", "-o", "x"], "error: nowhere.h5: no such file; expected an HDF5"),
        (["--data", "few.h5", "-o", "x"], "error: few.h5: class 0 ('class 0') has 1 different images"),
        (["--data", "few.h5", "--set", "search.seed=2", "-o", "x"], "error: --set search.seed=2: expected data.KEY"),
        (["--set", "data.crop=20", "-o", "x"], "Error: --set, --image-folder and --file-suffix need --data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusals_are_one_line_and_write_nothing(arguments, message, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sweep.yaml").write_text("name: kept\n")
    with h5py.File("few.h5", "w") as file:
        file["images"], file["ans"] = np.zeros((2, 16, 16, 3), np.uint8), np.arange(2)
    assert run_command(["init", *arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith(message)
    assert sum(line.lower().startswith("error") for line in told) == 1
    assert Path("sweep.yaml").read_text() == "name: kept\n"
    assert not Path("x").exists()


def test_votes_of_galaxy_zoo_are_recognised_and_stated_keys_kept(galaxies) -> None:
    images, labels = galaxies
    Path("stamps").mkdir()
    with Path("gz.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        columns = ("smooth-or-featured_smooth", "smooth-or-featured_featured-or-disk", "smooth-or-featured_artifact")
        rows.writerow(["id", "gz2_class", *columns])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(Path("stamps") / f"1000{number}.png")
            rows.writerow([f"1000{number}", f"Sc{number}m", 20 - label, label * 3, 1])
    options = ["--image-folder", "stamps", "--file-suffix", ".png", "--set", "data.votes.agreement=0.7"]
    assert run_command(["init", "--data", "gz.csv", "-o", "v.yaml", *options]) == 0
    config = load_sweep("v.yaml")
    assert [each.name for each in config.data.votes.questions] == ["smooth-or-featured"]
    assert config.data.votes.agreement == 0.7
    assert load_dataset(config.data).votes is not None


def test_labels_beside_votes_are_used_and_said_so(galaxies, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = galaxies
    Path("stamps").mkdir()
    with Path("both.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "class", "smooth-or-featured_smooth", "smooth-or-featured_featured-or-disk"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(Path("stamps") / f"1000{number}.png")
            rows.writerow([f"1000{number}", f"class {label}", 20 - label, label * 3])
    options = ["--image-folder", "stamps", "--file-suffix", ".png"]
    assert run_command(["init", "--data", "both.csv", "-o", "b.yaml", *options]) == 0
    assert "both.csv: has labels in column 'class', so its votes are not used; to learn" in capsys.readouterr().err
    assert not load_sweep("b.yaml").data.has_stated_votes


def test_a_wheel_has_the_sweep_files(here: Path) -> None:
    """The layout of a wheel: the package, and what pyproject.toml adds to it, without a clone around it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        wheel = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, here / "site" / package, ignore=shutil.ignore_patterns("__pycache__"))
    for origin, place in wheel["force-include"].items():
        shutil.copytree(ROOT / origin, here / "site" / place)
    environment = os.environ | {"PYTHONPATH": str(here / "site")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "galaxy_exp", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    refused = run("sweep", "sweeps/quickstart.yaml")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: sweeps/quickstart.yaml: no such file; galaxy-exp init writes a sweep file, sweep.yaml\n"
    )
    assert run("init").returncode == 0
    assert run("init", "--from", "gz2", "-o", "gz2.yaml").returncode == 0
    for name, written in (("quickstart", "sweep.yaml"), ("gz2", "gz2.yaml")):
        assert Path(written).read_text() == (ROOT / "sweeps" / f"{name}.yaml").read_text()


def test_data_in_place_of_a_sweep_file_is_told_what_to_do(galaxies, capsys: pytest.CaptureFixture[str]) -> None:
    source, *_ = write_hdf5(*galaxies)
    assert run_command(["sweep", source]) == 2
    hint = "galaxy-exp init --data 'my galaxies.h5' writes one for these images"
    assert capsys.readouterr().err == f"error: my galaxies.h5: is data; expected a sweep file; {hint}\n"
    folder, *_ = write_folder(*galaxies)
    assert run_command(["sweep", folder]) == 2
    assert "galaxy-exp init --data set writes one" in capsys.readouterr().err


@pytest.mark.slow
def test_the_file_passes_the_check_and_runs(project, with_store, galaxies) -> None:
    images, labels = galaxies
    np.savez(project.path / "arrays.npz", images=images, labels=labels % 2)
    project.call("init", "--data", "arrays.npz", "-o", "arrays.yaml")
    (checked,) = json.loads(project.call("check", "arrays.yaml", "--no-timing", "--format", "json").stdout)
    assert checked["data"]["images"] == 60
    less = ["--max-trials", "2", "--epochs", "1", "--set", "registry.finalists=0", "--set", "tracking.figures=false"]
    project.call("sweep", "arrays.yaml", *less)
    (row,) = json.loads(project.call("list", "--format", "json").stdout)
    assert (row["state"], row["registered"]) == ("finished", "arrays v1")
