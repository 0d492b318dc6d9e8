"""Trials that are paused and continue, within this process."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from galaxy_exp.checkpoint_file import checkpoint_path, read_checkpoint, read_identity, why_not_longer
from galaxy_exp.records import Decision, TrialState
from galaxy_exp.training import checkpoints, run_trial

CLOCKS = {"epoch_seconds", "images_per_second"}
EVERYTHING = {
    "augmentation": "flips+rotations+shift+zoom",
    "n_blocks": 2,
    "convs_per_block": 1,
    "width_growth": 2.0,
    "batch_norm": True,
    "schedule": "cosine",
    "label_smoothing": 0.1,
    "class_weighting": "sampling",
    "batch_size": 16,
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def train(spec, decide=lambda report: Decision.CONTINUE):
    """The result and the reports, of a deterministic training."""
    reports = []

    def report(epoch):
        reports.append(epoch)
        return decide(epoch)

    return run_trial(replace(spec, deterministic=True), report), reports


def pause_after(epoch):
    return lambda report: Decision.PAUSE if report.epoch == epoch else Decision.CONTINUE


def continued(spec, epoch, **changes):
    """The specification of the next attempt, from the checkpoint of `epoch`."""
    path = checkpoint_path(spec.checkpoints, spec.number, spec.attempt, epoch)
    changes = {"attempt": spec.attempt + 1, "resume_from": path, "first_epoch": epoch} | changes
    return replace(spec, folder=spec.folder.with_name(f"attempt-{changes['attempt']}"), **changes)


def curves(reports):
    return [{name: value for name, value in each.metrics.items() if name not in CLOCKS} for each in reports]


def weights_of(spec):
    return keras.saving.load_model(spec.folder / "model.keras").get_weights()


def assert_equal_ends(one, other):
    """The files of two trials are equal to the bit."""
    assert all(np.array_equal(*pair) for pair in zip(weights_of(one), weights_of(other), strict=True))
    assert np.array_equal(*(np.load(each.folder / "validation_probabilities.npy") for each in (one, other)))


def pause_and_continue(spec, epoch):
    """Pauses after `epoch` and continues; the last attempt, its result, and the reports of both."""
    paused, first = train(spec, pause_after(epoch))
    assert (paused.state, paused.reason) == (TrialState.STOPPED, f"paused after epoch {epoch} of {spec.epochs}"), paused.traceback
    assert [path.name for path in spec.checkpoints.iterdir()] == [f"0004-2-{epoch:05d}.npz"]
    last = continued(spec, epoch)
    result, rest = train(last)
    return last, result, first + rest


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_trial_that_was_paused_ends_as_one_that_was_not(make_spec, folder, optimizer):
    spec = make_spec(values=EVERYTHING | {"optimizer": optimizer, "weight_decay": 1e-2}, epochs=4, checkpoints=folder)
    whole = replace(spec, folder=spec.folder.with_name("whole"))
    expected, unbroken = train(whole)
    last, result, reports = pause_and_continue(spec, 2)
    assert curves(reports) == curves(unbroken)
    assert [(each.attempt, each.epoch) for each in reports] == [(2, 1), (2, 2), (3, 3), (3, 4)]
    assert (result.state, result.reason, result.epochs) == (TrialState.COMPLETED, "all 4 epochs", 4)
    assert result.best_epoch == expected.best_epoch
    assert_equal_ends(last, whole)
    assert [line.split(",")[0] for line in (last.folder / "history.csv").read_text().split()] == ["epoch", *"1234"]


@pytest.mark.parametrize("model", ["Averaged", "Scheduled", "Passing", "Drawing"])
def test_a_trial_of_a_user_defined_hypermodel_continues_likewise(make_spec, folder, model):
    spec = make_spec(f"continuing_hypermodels:{model}", epochs=4, checkpoints=folder)
    whole = replace(spec, folder=spec.folder.with_name("whole"))
    _, unbroken = train(whole)
    last, result, reports = pause_and_continue(spec, 2)
    assert result.reason == "all 4 epochs"
    assert curves(reports) == curves(unbroken)
    assert_equal_ends(last, whole)
