"""The file of a checkpoint: what is written is read, and damage is noticed."""

import math
import random
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from galaxy_exp import checkpoint_file
from galaxy_exp.checkpoint_file import (
    Checkpoint,
    CheckpointError,
    CheckpointIdentity,
    checkpoint_path,
    read_checkpoint,
    read_identity,
    why_not_longer,
    write_checkpoint,
)

IDENTITY = CheckpointIdentity(
    epoch=17,
    epochs=20,
    schedule=True,
    values={"schedule": "cosine", "learning_rate": 0.1 + 0.2, "batch_norm": True, "filters_1": 2},
    seed=2**63 + 1,
    precision="bfloat16",
    versions={"keras": "3.15.1"},
    model=[["kernel", [3, 2], "bfloat16"]],
    optimizer=[["iteration", [], "int64"]],
)
ARRAYS = {
    "model/0": np.arange(6).reshape(3, 2).astype(ml_dtypes.bfloat16),
    "model/1": np.linspace(0, 1, 300, dtype=np.float32),
    "model/2": np.zeros((0, 4), np.float32),
    "optimizer/0": np.array(34, np.int64),
    "seed_generator": np.array([1, 2**32 - 1], np.uint32),
}
STATE = {"reports": [{"epoch": 1, "metrics": {"loss": math.inf}}], "seconds": 0.1 + 0.7}


@pytest.fixture
def file(tmp_path):
    path = checkpoint_path(tmp_path / "checkpoints", 3, 2, 17)
    write_checkpoint(path, Checkpoint(IDENTITY, STATE, ARRAYS))
    return path


def test_everything_written_is_read(file):
    found = read_checkpoint(file)
    assert found.identity == read_identity(file) == IDENTITY
    assert found.state == STATE
    assert found.arrays.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        array = found.arrays[name].view(expected.dtype)  # bfloat16 is stored as uint16
        assert (array.shape, array.tobytes()) == (expected.shape, expected.tobytes())


def test_the_name_says_trial_attempt_and_epoch_and_no_other_file_is_left(file):
    assert [path.name for path in file.parent.iterdir()] == ["0003-2-00017.npz"]


def test_the_identity_is_read_without_the_arrays(file):
    content = bytearray(file.read_bytes())
    position = content.find(ARRAYS["model/1"].tobytes())
    content[position + 5] ^= 1
    file.write_bytes(content)
    assert read_identity(file) == IDENTITY
    with pytest.raises(CheckpointError, match=r"0003-2-00017\.npz is damaged: .*CRC"):
        read_checkpoint(file)


def test_a_file_cut_off_anywhere_is_noticed(file):
    content = file.read_bytes()
    for size in [0, 1, *range(2, len(content), 97), len(content) - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"0003-2-00017\.npz is damaged"):
            read_checkpoint(file)


def test_a_changed_byte_is_noticed_or_changes_nothing(file):
    """Some bytes of a zip file mean nothing, such as its dates."""
    content, rng = file.read_bytes(), random.Random(5)
    n_noticed = 0
    for _ in range(400):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            found = read_checkpoint(file)
        except CheckpointError:
            n_noticed += 1
            continue
        assert (found.identity, found.state) == (IDENTITY, STATE)
        for name, array in found.arrays.items():
            assert array.tobytes() == ARRAYS[name].tobytes()
    assert n_noticed > 200


def test_a_missing_file_and_another_format_are_named(file, monkeypatch):
    with pytest.raises(CheckpointError, match=r"^0009-1-00001\.npz is missing$"):
        read_checkpoint(file.with_name("0009-1-00001.npz"))
    monkeypatch.setattr(checkpoint_file, "FORMAT", 2)
    with pytest.raises(CheckpointError, match=r"^0003-2-00017\.npz has format 1; expected 2$"):
        read_identity(file)


def test_only_a_schedule_keeps_a_trial_from_being_trained_for_longer():
    assert why_not_longer(IDENTITY) == "schedule: cosine spans its 20 epochs"
    assert why_not_longer(replace(IDENTITY, schedule=False)) is None
