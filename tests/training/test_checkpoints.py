"""Trials that are paused and continue, within this process."""

import errno
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from checkpoint_worker import when_written
from tiny_disks import fill_disk, tiny_disk

from galaxy_exp.checkpoint_file import checkpoint_path, read_checkpoint, read_identity, why_not_longer
from galaxy_exp.errors import DataError
from galaxy_exp.records import Decision, TrialState
from galaxy_exp.training import checkpoints, continuation, run_trial
from galaxy_exp.training.machine import fresh_session
from galaxy_exp.training.trial import failure_reason
from galaxy_exp.training.trial_network import build_network

CLOCKS = {"epoch_seconds", "images_per_second"}
EVERYTHING = {
    "augmentation": "flips+rotations+shift+zoom",
    "n_blocks": 2,
    "convs_per_block": 1,
    "width_growth": 2.0,
    "residual": True,
    "equivariant": True,
    "batch_norm": True,
    "schedule": "cosine",
    "label_smoothing": 0.1,
    "class_weighting": "sampling",
    "batch_size": 16,
}


@pytest.fixture(autouse=True)
def no_checkpoints_but_those_of_pauses(monkeypatch):
    """On a busy machine these trainings take as long as one that leaves checkpoints while it runs."""
    monkeypatch.setattr(checkpoints, "FIRST_SECONDS", math.inf)


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
    assert (paused.state, paused.reason) == (TrialState.STOPPED, f"paused after epoch {epoch} of {spec.epochs}"), (
        paused.traceback
    )
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


@pytest.mark.parametrize("model", ["Averaged", "Scheduled", "Passing", "Drawing", "Adapting"])
def test_a_trial_of_a_user_defined_hypermodel_continues_likewise(make_spec, folder, model):
    spec = make_spec(f"continuing_hypermodels:{model}", epochs=4, checkpoints=folder)
    whole = replace(spec, folder=spec.folder.with_name("whole"))
    _, unbroken = train(whole)
    last, result, reports = pause_and_continue(spec, 2)
    assert result.reason == "all 4 epochs"
    assert curves(reports) == curves(unbroken)
    assert_equal_ends(last, whole)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("WithoutInitialEpoch", "its fit takes no initial_epoch"),
        ("InTwoParts", "its fit does not train all epochs in one call of model.fit"),
        ("Looping", "its fit does not train through model.fit"),
        ("Wrapping", "its fit trains another model than the one that was built"),
        ("TwoOptimizers", "its model has more than one optimizer"),
    ],
)
def test_a_training_that_cannot_continue_says_why(make_spec, folder, model, reason):
    spec = make_spec(f"continuing_hypermodels:{model}", checkpoints=folder)
    result, _ = train(spec, pause_after(1))
    assert (result.state, result.reason) == (
        TrialState.STOPPED,
        f"paused after epoch 1 of 3; cannot continue: {reason}",
    ), result.traceback
    assert not folder.exists()


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_optimizers_are_found_in_containers_and_counted_once(make_spec, split, precision):
    spec = make_spec("continuing_hypermodels:Averaged", precision=precision)
    with fresh_session(spec.seed, precision, deterministic=True):
        network = build_network(spec, np.load(split.train_images))
        network.model.mine = getattr(network.model.optimizer, "inner_optimizer", network.model.optimizer)
        network.model.all_of_mine = [network.model.mine]
        both = network.hypermodel, network.model
        assert continuation.why_not_continuable(*both) is None
        network.model.by_name = {"others": [keras.optimizers.SGD(0.1)]}
        assert continuation.why_not_continuable(*both) == "its model has more than one optimizer"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("WithoutInitialEpoch", "its fit takes no initial_epoch"),
        ("Ignoring", "its fit ignores initial_epoch: it begins with epoch 1"),
        ("Refusing", "its training cannot begin with a later epoch: 'what is an initial_epoch?'"),
        ("Looping", "its fit does not train through model.fit"),
        ("TwoOptimizers", "its model has more than one optimizer"),
    ],
)
def test_a_training_that_cannot_continue_begins_anew(make_spec, folder, caplog, model, reason):
    """The checkpoint is that of the same network with another `fit`."""
    spec = make_spec("continuing_hypermodels:Passing", checkpoints=folder)
    train(spec, pause_after(1))
    result, reports = train(continued(spec, 1, hypermodel=f"continuing_hypermodels:{model}"))
    assert result.reason == f"all 3 epochs; began anew: {reason}", result.traceback
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [each for each in caplog.messages if "begins anew" in each] == [f"trial 4 begins anew: {reason}"]


@pytest.mark.parametrize("error", [MemoryError, lambda: OSError(errno.ENOSPC, "full"), lambda: DataError("gone")])
def test_what_would_end_a_new_attempt_too_ends_one_that_continues(make_spec, folder, monkeypatch, error):
    spec = make_spec(checkpoints=folder)
    train(spec, pause_after(1))

    def fail(*args, **kwargs):
        raise error()

    monkeypatch.setattr(continuation.Continuation, "restore", fail)
    result, reports = train(continued(spec, 1))
    assert (result.state, result.reason, reports) == (TrialState.FAILED, failure_reason(error()), [])


class TestACheckpointThatCannotBeUsed:
    @pytest.fixture
    def paused(self, make_spec, folder):
        spec = make_spec(values={"schedule": "cosine"}, checkpoints=folder)
        train(spec, pause_after(1))
        return spec

    def anew(self, spec):
        """Why the trial began anew."""
        result, reports = train(spec)
        assert result.state is TrialState.COMPLETED, result.traceback
        assert [report.epoch for report in reports] == [*range(1, spec.epochs + 1)]
        whole, _, reason = result.reason.partition("; began anew: ")
        assert whole == f"all {spec.epochs} epochs"
        return reason

    def test_it_is_missing(self, paused):
        again = continued(paused, 1)
        again.resume_from.unlink()
        assert self.anew(again) == "checkpoint 0004-2-00001.npz is missing"

    def test_it_is_torn(self, paused):
        again = continued(paused, 1)
        content = again.resume_from.read_bytes()
        again.resume_from.write_bytes(content[: len(content) // 2])
        assert self.anew(again).startswith("checkpoint 0004-2-00001.npz is damaged: ")

    def test_it_is_of_other_values(self, paused):
        again = continued(paused, 1, values=paused.values | {"dense_width": 16})
        assert self.anew(again) == "checkpoint 0004-2-00001.npz is of other values: dense_width 8, here 16"

    def test_it_is_of_another_precision(self, paused):
        again = continued(paused, 1, precision="mixed_bfloat16")
        assert self.anew(again).endswith("is of other precision: float32, here mixed_bfloat16")

    def test_it_is_of_other_versions(self, paused, monkeypatch):
        monkeypatch.setattr(keras, "__version__", "4.0.0")
        again = continued(paused, 1)
        assert self.anew(again).endswith("here 4.0.0")

    def test_its_schedule_spans_fewer_epochs(self, paused):
        again = continued(paused, 1, epochs=4)
        assert self.anew(again) == "schedule: cosine spans its 3 epochs, not 4"

    def test_its_network_is_another(self, paused, split, tmp_path):
        images = np.load(split.train_images)[:, :16, :16]
        validation = np.load(split.validation_images)[:, :16, :16]
        np.save(tmp_path / "train.npy", images)
        np.save(tmp_path / "validation.npy", validation)
        smaller = replace(split, train_images=tmp_path / "train.npy", validation_images=tmp_path / "validation.npy")
        assert self.anew(continued(paused, 1, data=smaller)).startswith("its model is another: ['kernel', [")


def test_a_trial_of_another_seed_continues_as_hyperband_asks(make_spec, folder):
    """KerasTuner's Hyperband continues a trial as another, with its weights and other `tuner/...` values."""
    spec = make_spec(epochs=2, checkpoints=folder)
    train(spec)  # no checkpoint: it trained for a moment
    assert not folder.exists()
    train(spec, pause_after(2))
    again = continued(spec, 2, number=9, seed=5, epochs=3, values=spec.values | {"tuner/initial_epoch": 2})
    result, reports = train(replace(again, resume_from=checkpoint_path(folder, 4, 2, 2)))
    assert (result.reason, result.epochs) == ("all 3 epochs", 3)
    assert [(report.number, report.epoch) for report in reports] == [(9, 3)]


def test_a_trial_that_was_killed_after_its_last_epoch_ends_without_training(make_spec, folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    spec = make_spec(epochs=2, values={"schedule": "cosine", "learning_rate": 0.1}, checkpoints=folder)
    expected, _ = train(spec)
    again = continued(spec, 2)
    result, reports = train(again)
    assert reports == []
    assert (result.reason, result.best_epoch, result.metrics) == ("all 2 epochs", expected.best_epoch, expected.metrics)
    assert_equal_ends(spec, again)


@pytest.mark.parametrize(
    ("decision", "left"),
    [(Decision.STOP, ["0004-2-00002.npz"]), (Decision.PAUSE, ["0004-2-00002.npz", "0004-2-00003.npz"])],
)
def test_one_checkpoint_is_kept_and_at_a_pause_the_one_before(make_spec, folder, monkeypatch, decision, left):
    """None is written of a stopped epoch."""
    monkeypatch.setattr(checkpoints.Checkpoints, "_is_due", when_written(checkpoints.Checkpoints._is_due))
    monkeypatch.setattr(checkpoints, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    spec = make_spec(epochs=5, checkpoints=folder)
    seen = []

    def end_after_three(report):
        seen.append(sorted(path.name for path in folder.glob("0*")))
        return decision if report.epoch == 3 else Decision.CONTINUE

    result, _ = train(spec, end_after_three)
    assert (result.state, result.epochs) == (TrialState.STOPPED, 3)
    assert seen[0] == []  # an epoch is written only after it was answered
    assert sorted(path.name for path in folder.iterdir()) == left


def test_a_trial_of_seconds_leaves_none_and_a_limit_of_time_is_kept(make_spec, folder, monkeypatch):
    train(make_spec(epochs=2, checkpoints=folder))
    assert not folder.exists()
    monkeypatch.setattr(checkpoints, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 0.0)
    spec = make_spec(epochs=3, checkpoints=folder)
    train(spec, lambda report: Decision.STOP if report.epoch == 2 else Decision.CONTINUE)
    train(spec)
    assert not folder.exists()


def test_a_trial_that_is_never_trained_for_longer_leaves_none_of_its_last_epoch(make_spec, folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "FIRST_SECONDS", 0.0)
    spec = make_spec(epochs=1, checkpoints=folder)
    train(replace(spec, keeps_last=False))
    assert not folder.exists()
    train(spec)
    assert [path.name for path in folder.iterdir()] == ["0004-2-00001.npz"]


def test_a_folder_that_cannot_be_written_costs_the_checkpoint_alone(make_spec, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    spec = make_spec(checkpoints=tmp_path / "file" / "checkpoints")
    result, _ = train(spec, pause_after(2))
    assert result.state is TrialState.STOPPED
    assert result.reason.startswith("paused after epoch 2 of 3; cannot continue: ")
    assert "Not a directory" in result.reason
    assert len([each for each in caplog.messages if "leaves no checkpoint" in each]) == 1
    assert (spec.folder / "model.keras").is_file()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "no memory for it"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: failed to allocate"),
            "RuntimeError: RESOURCE_EXHAUSTED: failed to allocate",
        ),
        (AttributeError("no attribute '_learning_rate'"), "AttributeError: no attribute '_learning_rate'"),
    ],
)
def test_arrays_that_cannot_be_copied_cost_the_checkpoint_alone(make_spec, folder, caplog, monkeypatch, error, reason):
    def fail(*args):
        raise error

    monkeypatch.setattr(checkpoints.Snapshot, "take", fail)
    result, _ = train(make_spec(checkpoints=folder), pause_after(2))
    assert result.reason == f"paused after epoch 2 of 3; cannot continue: {reason}", result.traceback
    assert [each for each in caplog.messages if "no checkpoint" in each] == [f"trial 4 leaves no checkpoint: {reason}"]


def test_a_full_disk_costs_the_checkpoint_alone(make_spec, tmp_path):
    with tiny_disk(tmp_path / "disk", megabytes=1) as disk:
        fill_disk(disk / "filler")
        result, _ = train(make_spec(checkpoints=disk / "checkpoints"), pause_after(2))
        assert result.reason == "paused after epoch 2 of 3; cannot continue: no space left on the disk"
        assert sorted(path.name for path in disk.rglob("*.npz")) == []


def test_without_a_folder_a_paused_trial_says_that_it_cannot_continue(make_spec):
    result, _ = train(make_spec(), pause_after(1))
    assert result.reason == "paused after epoch 1 of 3; cannot continue: there is no folder for checkpoints"


def test_precisions_with_other_types_and_a_loss_scale_continue(make_spec, folder):
    for precision in ("bfloat16", "mixed_float16"):
        spec = make_spec(
            "continuing_hypermodels:Averaged", precision=precision, epochs=3, checkpoints=folder / precision
        )
        last, result, reports = pause_and_continue(spec, 2)
        assert result.reason == "all 3 epochs"
        found = read_checkpoint(last.resume_from)
        kinds = {dtype for _, _, dtype in found.identity.model + found.identity.optimizer}
        assert ("bfloat16" if precision == "bfloat16" else "float32") in kinds
        assert len(reports) == 3


def test_a_checkpoint_says_whether_it_can_be_trained_for_longer(make_spec, folder):
    found = {}
    for schedule in ("constant", "cosine"):
        spec = make_spec(values={"schedule": schedule}, checkpoints=folder / schedule)
        train(spec, pause_after(1))
        found[schedule] = why_not_longer(read_identity(checkpoint_path(folder / schedule, 4, 2, 1)))
    assert found == {"constant": None, "cosine": "schedule: cosine spans its 3 epochs"}
    spec = make_spec("continuing_hypermodels:Scheduled", checkpoints=folder)
    train(spec, pause_after(1))
    found = why_not_longer(read_identity(checkpoint_path(folder, 4, 2, 1)))
    assert found == "schedule: that of its learning rate spans its 3 epochs"
