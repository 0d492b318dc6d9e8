"""Trials of frozen encoders: features are computed once, and the training is that of the whole network."""

import dataclasses
import logging
import shutil

import keras
import numpy as np
import pytest

from galaxy_exp.check.probing import probe_network
from galaxy_exp.encoder_file import describe_encoder, find_encoder
from galaxy_exp.hypermodel import discover_space
from galaxy_exp.hypermodel.encoders import write_encoder
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.records import Decision, Objective, TrialState
from galaxy_exp.training import cached_features
from galaxy_exp.training.trial import run_trial

from .conftest import TREE, add_votes

SIDE = 24
"""Of the images of the split."""


@pytest.fixture
def frozen_spec(make_spec, split, tmp_path):
    """A trial of a frozen random encoder, on a copy of the split."""
    copied = tmp_path / "split"
    shutil.copytree(split.train_images.parent, copied, ignore=shutil.ignore_patterns("features"))
    paths = {each.name: copied / getattr(split, each.name).name for each in dataclasses.fields(split)[:4]}
    data = dataclasses.replace(split, **paths)

    def make(augmentation="flips+rotations", questions=None, **changes):
        start = str(tmp_path / "encoder.keras")
        if not (tmp_path / "encoder.keras").exists():
            keras.utils.set_random_seed(5)
            layers = [
                keras.Input((SIDE, SIDE, 3)),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Conv2D(4, 5, strides=4, activation="relu"),
            ]
            write_encoder(keras.Sequential(layers), tmp_path / "encoder.keras", {"trained_on": "nothing"})
        values = {
            "start": start,
            "encoder": describe_encoder(find_encoder(start)),
            "body_rate": 0.0,
            "head_warm_up": True,
            "frozen_share": 0.0,
            "augmentation": augmentation,
            "dropout_1": 0.25,
            "head": "gap",
            "dense_width": 0,
            "dropout_2": 0.0,
        }
        votes = {"questions": questions, "are_counts": questions is not None}
        space = discover_space(GalaxyCNN((SIDE, SIDE, 3), len(split.class_names), [start], **votes))
        fixed = {k: v for k, v in space.defaults.items() if k in ("learning_rate", "batch_size", "optimizer")}
        others = {"schedule": "constant", "label_smoothing": 0.0, "class_weighting": "none"}
        its_data = data if questions is None else add_votes(data, copied, questions)
        spec = make_spec(data=its_data, space=space.get_config(), **changes)
        return dataclasses.replace(spec, values=values | fixed | others)

    return make


def train(spec):
    reports = []

    def report(each):
        reports.append(each.metrics)
        return Decision.CONTINUE

    result = run_trial(spec, report)
    assert result.state is TrialState.COMPLETED, result.reason
    return result, reports


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("augmentation", ["none", "flips", "flips+rotations"])
def test_trains_as_the_whole_network_does(frozen_spec, monkeypatch, tmp_path, augmentation, dropout):
    spec = frozen_spec(augmentation)
    spec = dataclasses.replace(spec, values=spec.values | {"dropout_1": dropout})
    _, cached = train(spec)
    assert list((spec.data.train_images.parent / "features").glob("*/train.npy"))
    probabilities = np.load(spec.folder / "validation_probabilities.npy")
    monkeypatch.setattr(cached_features, "MAX_BYTES", 0)
    result, whole = train(dataclasses.replace(spec, folder=tmp_path / "whole"))
    assert [each["loss"] for each in cached] == pytest.approx([each["loss"] for each in whole], rel=1e-5)
    assert np.allclose(probabilities, np.load(tmp_path / "whole" / "validation_probabilities.npy"), atol=1e-5)
    assert result.parameters == 4 * 3 * 25 + 4 + 4 * 3 + 3


@pytest.mark.parametrize("body_rate", [0.0, 0.3])
def test_an_encoder_is_trained_on_votes(frozen_spec, monkeypatch, tmp_path, body_rate):
    spec = frozen_spec("flips", questions=TREE, objective=Objective("val_deviance", "min"))
    spec = dataclasses.replace(spec, values=spec.values | {"loss": "dirichlet_multinomial", "body_rate": body_rate})
    result, reports = train(spec)
    assert bool(list((spec.data.train_images.parent / "features").glob("*/train.npy"))) == (body_rate == 0)
    outputs = np.load(spec.folder / "validation_probabilities.npy")
    assert outputs.shape == (30, TREE.n_answers)
    assert result.metrics["val_deviance"] == min(each["val_deviance"] for each in reports)
    model = keras.saving.load_model(spec.folder / "model.keras", safe_mode=True)
    images = np.load(spec.data.validation_images)
    assert np.allclose(model.predict(images, verbose=0), outputs, rtol=1e-4)
    if body_rate == 0:
        monkeypatch.setattr(cached_features, "MAX_BYTES", 0)
        _, whole = train(dataclasses.replace(spec, folder=tmp_path / "whole"))
        assert [each["loss"] for each in reports] == pytest.approx([each["loss"] for each in whole], rel=1e-5)


def test_the_model_takes_images_and_gives_the_recorded_probabilities(frozen_spec):
    spec = frozen_spec()
    result, _ = train(spec)
    model = keras.saving.load_model(spec.folder / "model.keras", safe_mode=True)
    images = np.load(spec.data.validation_images)
    assert model.input_shape == (None, SIDE, SIDE, 3)
    assert np.allclose(
        model.predict(images, verbose=0), np.load(spec.folder / "validation_probabilities.npy"), atol=1e-5
    )
    assert result.seconds_per_image > 0


def test_a_second_trial_computes_nothing_and_a_damaged_file_is_computed_again(frozen_spec):
    spec = frozen_spec()
    train(spec)
    (file,) = (spec.data.train_images.parent / "features").glob("*/train.npy")
    written = file.stat().st_mtime_ns
    train(spec)
    assert file.stat().st_mtime_ns == written
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    train(spec)
    assert file.read_bytes() == content


def test_bfloat16_is_stored_without_loss(frozen_spec):
    spec = frozen_spec(precision="mixed_bfloat16")
    train(spec)
    (file,) = (spec.data.train_images.parent / "features").glob("*-mixed_bfloat16-8x5x5x4/train.npy")
    assert np.load(file).dtype == np.uint16


@pytest.mark.parametrize(
    "values", [{"body_rate": 0.1}, {"augmentation": "flips+rotations+shift+zoom"}], ids=["trained", "shifted"]
)
def test_what_cannot_be_cached_trains_the_whole_network(frozen_spec, values):
    spec = frozen_spec()
    spec = dataclasses.replace(spec, values=spec.values | values)
    train(spec)
    assert not (spec.data.train_images.parent / "features").exists()


def test_a_folder_that_cannot_be_written_costs_only_time(frozen_spec, caplog):
    spec = frozen_spec()
    (spec.data.train_images.parent / "features").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        train(spec)
    assert "features are not cached: " in caplog.text


def test_a_paused_trial_continues(frozen_spec, tmp_path):
    spec = frozen_spec(deterministic=True)
    _, whole = train(spec)
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    answers = iter([Decision.CONTINUE, Decision.PAUSE])
    first = dataclasses.replace(spec, folder=tmp_path / "first", checkpoints=checkpoints)
    assert run_trial(first, lambda _: next(answers)).state is TrialState.STOPPED
    file = max(checkpoints.iterdir())  # a slow machine leaves one of the first epoch, too
    result, last = train(
        dataclasses.replace(first, folder=tmp_path / "again", attempt=3, resume_from=file, first_epoch=2)
    )
    assert "began anew" not in result.reason
    assert last[-1]["loss"] == whole[-1]["loss"]
    assert last[-1]["val_loss"] == whole[-1]["val_loss"]


def test_what_would_take_too_long_is_not_computed(frozen_spec, monkeypatch, caplog):
    monkeypatch.setattr(cached_features, "MAX_SECONDS", 0.0)
    spec = frozen_spec()
    with caplog.at_level(logging.WARNING):
        train(spec)
    assert "features are not cached: computing them would take" in caplog.text


def test_what_a_killed_worker_left_is_removed(frozen_spec):
    spec = frozen_spec()
    train(spec)
    (folder,) = (each for each in (spec.data.train_images.parent / "features").iterdir() if each.is_dir())
    leftover = folder.with_name(f".0123.{folder.name}")
    leftover.mkdir()
    (folder / "train.npy").unlink()
    train(spec)
    assert (folder / "train.npy").is_file()
    assert not leftover.exists()


def test_a_check_times_the_head_and_counts_the_features_once(frozen_spec):
    spec = frozen_spec("flips")
    first, again = (probe_network(spec, with_timing=True).timing for _ in range(2))
    assert first.shared_seconds > 0 == again.shared_seconds
    assert again.epoch_seconds > 0 < again.seconds_per_image
    assert not (spec.data.train_images.parent / "features").exists()
