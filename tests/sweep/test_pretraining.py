"""From simulated galaxies to an encoder, and from it to a registered model."""

import json
import sqlite3

import numpy as np
import pytest

from galaxy_exp.encoder_file import read_card
from galaxy_exp.errors import ConfigError
from galaxy_exp.pretraining import comparable, pretraining_sweep

SWEEP = """
name: started
data:
  source: simulated
  simulated: {n_images: 120, image_size: 32, class_proportions: equal, seed: 5}
space: {start: {values: [scratch, small.keras]}, filters_1: 16, filters_2: 16, dense_width: 0, body_rate: 0.3}
training: {epochs: 1, precision: float32, deterministic: true}
search: {baseline: false, max_trials: 1, enqueue: [{start: small.keras}]}
tracking: {figures: false}
registry: {model: started, finalists: 0}
"""
SMALL = ("--images", "120", "--image-size", "32", "--epochs", "1")
SMALL += ("--set", "space.filters_1=16", "--set", "space.n_blocks=2")


def test_an_unfinished_one_of_before_residual_units_trains_the_same():
    config = pretraining_sweep(100, 1, 1, 32, ["space.residual=false", "space.equivariant=false"])
    space = {name: value for name, value in config.space.items() if name not in ("residual", "equivariant")}
    assert comparable(config.model_copy(update={"space": space})) == comparable(config)
    assert comparable(pretraining_sweep(100, 1, 1, 32)) != comparable(config)


def test_one_network_is_trained():
    config = pretraining_sweep(200, 3, 7, 32, ["space.n_blocks=3"])
    assert config.data.simulated.n_images == 200
    assert (config.training.epochs, config.search.max_trials, config.space["n_blocks"]) == (3, 1, 3)
    assert pretraining_sweep(200, 3, 7, 32, ["space.optimizer=adamw"]).space["weight_decay"] == 4e-3
    started = pretraining_sweep(200, 3, 7, 32, ["space.start=pretrained"])
    assert started.space["body_rate"] == 1.0
    earlier = {name: value for name, value in started.space.items() if name != "head_warm_up"}
    assert comparable(started.model_copy(update={"space": earlier})) != comparable(started)
    with pytest.raises(ConfigError, match=r"--set space.n_blocks: one network is trained; expected a single value"):
        pretraining_sweep(200, 3, 7, 32, ["space.n_blocks={values: [2, 3]}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "body.h5"), "--output body.h5: expected a name ending in .keras"),
        (("-o", "nowhere/body.keras"), "no such folder: nowhere"),
        (("-o", "body.keras", "--set", "space.n_blocks={min: 1, max: 2}"), "expected a single value"),
        (("-o", "there.keras"), "there.keras: exists already; expected a new name"),
        (("-o", "body.keras", "--set", "n_blocks=3"), "--set n_blocks=3: expected space.NAME=VALUE"),
    ],
)
def test_bad_input_is_one_line(project, arguments, message):
    (project.path / "there.keras").write_text("mine")
    done = project.call("encoders", "pretrain", *arguments, exit_code=2)
    assert message in done.stderr
    assert done.stderr.count("error: ") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("with_store")
def test_from_simulated_galaxies_to_a_model_that_started_from_them(project):
    done = project.call("encoders", "pretrain", "-o", "small.keras", *SMALL)
    assert done.stdout.splitlines()[-1] == "small.keras"
    card = read_card(project.path / "small.keras")
    assert (card["simulated"], card["images"], card["epochs"], card["seed"]) == (True, 120, 1, 1)
    (project.path / "again").mkdir()
    project.call("encoders", "pretrain", "-o", "again/small.keras", *SMALL)
    again = project.path / "again" / "small.keras"
    assert again.read_bytes() == (project.path / "small.keras").read_bytes()
    assert len(list(project.path.glob(".galaxy_exp/sweeps/*"))) == 2

    marks = sorted(project.path.glob(".galaxy_exp/sweeps/*/encoder_written"))
    marks[-1].unlink()  # as if it had been interrupted before it wrote the encoder
    done = project.call("encoders", "pretrain", "-o", "late.keras", *SMALL)
    assert "is finished; only its encoder was not written" in done.stderr
    assert (project.path / "late.keras").read_bytes() == again.read_bytes()
    assert len(list(project.path.glob(".galaxy_exp/sweeps/*"))) == 2

    (project.path / "started.yaml").write_text(SWEEP)
    project.call("check", "started.yaml", "--no-timing")
    project.call("sweep", "started.yaml")
    (summary,) = json.loads(project.call("show", "--format", "json").stdout)
    assert summary["started_from"].startswith("small.keras (SIMULATED galaxies, sha256 ")
    (project.path / "small.keras").rename(project.path / "moved.keras")  # the sweep has a copy
    assert "equal in every epoch" in project.call("reproduce", "0").stderr
    (copy,) = project.path.glob(".galaxy_exp/sweeps/started-*/encoders/*.keras")
    copy.rename(project.path / "copy.keras")
    gone = project.call("reproduce", "0", exit_code=2).stderr
    assert "start: small.keras: no such file in " in gone
    assert gone.count("error: ") == 1
    card = _description(project)
    assert "started from the encoder small.keras (SIMULATED galaxies, sha256 " in card

    np.savez(project.path / "images.npz", images=np.zeros((2, 32, 32, 3), np.uint8))
    project.call("predict", "images.npz", "-o", "out.csv", "--model", "started")
    assert len((project.path / "out.csv").read_text().splitlines()) == 3
    refused = project.call("check", "started.yaml", "--no-timing", exit_code=2)
    assert "space.start: small.keras: no such file in " in refused.stderr


def _description(project):
    with sqlite3.connect(project.path / "mlflow.db") as store:
        ((text,),) = store.execute("select description from model_versions where name = 'started'").fetchall()
    return text
