"""From simulated galaxies to an encoder, and from it to a registered model."""

import json
import sqlite3

import numpy as np
import pytest

from galaxy_exp.encoder_file import read_card
from galaxy_exp.errors import ConfigError
from galaxy_exp.pretraining import pretraining_sweep

SWEEP = """
name: started
data:
  source: simulated
  simulated: {n_images: 120, image_size: 32, class_proportions: equal, seed: 5}
space: {start: {values: [scratch, small.keras]}, filters_1: 16, filters_2: 16, dense_width: 0, body_rate: 0.3}
training: {epochs: 1, precision: float32, deterministic: true}
search: {baseline: false, max_trials: 1, enqueue: [{start: small.keras}]}
registry: {model: started, finalists: 0}
"""
SMALL = ("--images", "120", "--image-size", "32", "--epochs", "1", "--set", "filters_1=16", "--set", "filters_2=16")


def test_one_network_is_trained():
    config = pretraining_sweep(200, 3, 7, 32, ["n_blocks=3"])
    assert config.data.simulated.n_images == 200
    assert (config.training.epochs, config.search.max_trials, config.space["n_blocks"]) == (3, 1, 3)
    with pytest.raises(ConfigError, match="--set n_blocks: one network is trained; expected a single value"):
        pretraining_sweep(200, 3, 7, 32, ["n_blocks={values: [2, 3]}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "body.h5"), "--output body.h5: expected a name ending in .keras"),
        (("-o", "nowhere/body.keras"), "no such folder: nowhere"),
        (("-o", "body.keras", "--set", "n_blocks={min: 1, max: 2}"), "expected a single value"),
    ],
)
def test_bad_input_is_one_line(project, arguments, message):
    done = project.run("encoders", "pretrain", *arguments, exit_code=2)
    assert message in done.stderr
    assert done.stderr.count("error: ") == 1


@pytest.mark.slow
def test_from_simulated_galaxies_to_a_model_that_started_from_them(project):
    done = project.run("encoders", "pretrain", "-o", "small.keras", *SMALL)
    assert done.stdout.splitlines()[-1] == "small.keras"
    card = read_card(project.path / "small.keras")
    assert (card["simulated"], card["images"], card["epochs"], card["seed"]) == (True, 120, 1, 1)
    (project.path / "again").mkdir()
    project.run("encoders", "pretrain", "-o", "again/small.keras", *SMALL)
    again = project.path / "again" / "small.keras"
    assert again.read_bytes() == (project.path / "small.keras").read_bytes()

    (project.path / "started.yaml").write_text(SWEEP)
    project.run("check", "started.yaml", "--no-timing")
    project.run("sweep", "started.yaml")
    (summary,) = json.loads(project.run("show", "--format", "json").stdout)
    assert summary["started_from"].startswith("small.keras (SIMULATED galaxies, sha256 ")
    assert "equal in every epoch" in project.run("reproduce", "0").stderr
    card = _description(project)
    assert "started from the encoder small.keras (SIMULATED galaxies, sha256 " in card

    (project.path / "small.keras").unlink()
    np.savez(project.path / "images.npz", images=np.zeros((2, 32, 32, 3), np.uint8))
    project.run("predict", "images.npz", "-o", "out.csv", "--model", "started")
    assert len((project.path / "out.csv").read_text().splitlines()) == 3
    refused = project.run("check", "started.yaml", "--no-timing", exit_code=2)
    assert "space.start: small.keras: no such file in " in refused.stderr


def _description(project):
    with sqlite3.connect(project.path / "mlflow.db") as store:
        ((text,),) = store.execute("select description from model_versions where name = 'started'").fetchall()
    return text
