"""The sweep files that the project ships run, on less of everything."""

import json
import shutil
from pathlib import Path

import h5py
import keras
import pytest

from galaxy_exp.config.data_section import SimulatedConfig
from galaxy_exp.data.simulated import simulate_galaxies
from galaxy_exp.encoder_file import PACKAGED, file_sha256

SWEEPS = Path(__file__).parents[2] / "sweeps"
LESS = ["--max-trials", "2", "--epochs", "1", "--set", "registry.seeds=1"]
LEAST = [*LESS, "--set", "registry.finalists=1"]
PLAIN = [*LESS, "--set", "tracking.figures=false"]


@pytest.fixture
def shipped(project, with_store):
    shutil.copytree(SWEEPS, project.path / "sweeps")
    return project


def assert_finished(project, model, simulated):
    (row,) = json.loads(project.call("list", "--format", "json").stdout)
    assert (row["state"], row["trials"], row["registered"]) == ("finished", 2, f"{model} v1")
    (summary,) = json.loads(project.call("show", "--format", "json").stdout)
    started_from = summary.pop("started_from") or ""
    summary["winner_params"].pop("encoder", None)
    assert ("SIMULATED" in json.dumps(summary)) is summary["simulated"] is simulated
    return started_from


def test_quickstart(shipped):
    done = shipped.call("sweep", "sweeps/quickstart.yaml", *LEAST, "--set", "data.simulated.n_images=120")
    assert "SIMULATED" in done.stdout
    assert "gain" in done.stdout or "the baseline itself" in done.stdout
    assert_finished(shipped, "galaxy10-cnn", simulated=True)


def write_galaxies(project):
    images, labels = simulate_galaxies(SimulatedConfig(n_images=120, image_size=32, class_proportions="equal"))
    with h5py.File(project.path / "galaxies.h5", "w") as file:
        file["images"], file["ans"] = images, labels


@pytest.mark.slow
def test_pretrained_on_a_file_in_galaxy10_s_layout(shipped):
    write_galaxies(shipped)
    shipped.call("sweep", "sweeps/pretrained.yaml", *PLAIN)
    started_from = assert_finished(shipped, "pretrained", simulated=False)
    (encoder,) = shipped.path.glob(".galaxy_exp/sweeps/*/encoders/*.keras")
    assert file_sha256(encoder) == file_sha256(PACKAGED)
    expected = f"pretrained (SIMULATED galaxies, sha256 {encoder.stem})"
    assert started_from in ("", expected)  # the winner may be the baseline
    trials = json.loads(shipped.call("trials", "--format", "json").stdout)
    assert [trial["state"] for trial in trials] == ["completed"] * 4  # two of them train finalists again


@pytest.mark.slow
def test_an_encoder_of_one_s_own(shipped):
    write_galaxies(shipped)
    images = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(4, 3, strides=4)(keras.layers.Rescaling(1 / 255)(images))
    features = keras.layers.GlobalAveragePooling2D()(maps)
    keras.Model(images, features).save(shipped.path / "mine.keras")
    shipped.call("sweep", "sweeps/encoder.yaml", *PLAIN, "--set", "space.start=mine.keras")
    started_from = assert_finished(shipped, "encoder", simulated=False)
    assert started_from == "" or started_from.startswith("mine.keras")  # the winner may be the baseline
    trials = json.loads(shipped.call("trials", "--format", "json").stdout)
    assert [trial["state"] for trial in trials] == ["completed"] * 4
    assert [trial["params"]["start"] for trial in trials[:2]].count("mine.keras") == 1


@pytest.mark.slow
def test_gz2_on_a_file_in_galaxy10_s_layout(shipped):
    write_galaxies(shipped)
    done = shipped.call(
        "sweep", "sweeps/gz2.yaml", *LEAST, "--set", "tracking.figures=false", "--set", "data.source=galaxies.h5"
    )
    assert "SIMULATED" not in done.stdout
    assert_finished(shipped, "gz2", simulated=False)


@pytest.mark.slow
def test_votes(shipped):
    done = shipped.call("sweep", "sweeps/votes.yaml", *LEAST, "--set", "data.simulated.n_images=120")
    assert "SIMULATED" in done.stdout
    assert_finished(shipped, "votes", simulated=True)


def test_every_sweep_file_is_run_here():
    names = {"quickstart.yaml", "gz2.yaml", "pretrained.yaml", "encoder.yaml", "votes.yaml"}
    assert {path.name for path in SWEEPS.glob("*.yaml")} == names
