import errno
import re

import keras
import numpy as np
import pytest

from galaxy_exp.records import DISK_FULL
from galaxy_exp.training.recorder import DivergedError
from galaxy_exp.training.trial import MAX_REASON, failure_reason


class ResourceExhaustedError(Exception):
    """Named like TensorFlow's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError("diverged: loss is nan at epoch 2"), "diverged: loss is nan at epoch 2"),
        (OSError(errno.ENOSPC, "No space left on device"), DISK_FULL),
        (OSError("Unable to create file (errno = 28, error message = 'No space left on device')"), DISK_FULL),
        (OSError("4096 requested and 128 written"), DISK_FULL),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/home/me']"), DISK_FULL),
        (MemoryError("x"), "out of memory"),
        (ResourceExhaustedError("OOM when allocating"), "out of memory"),
        (ResourceExhaustedError("model.keras; No space left on device"), DISK_FULL),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes"), "out of memory"),
        (ValueError("\n  first\nsecond"), "ValueError: first second"),
        (ValueError("first.\n\nThe second paragraph"), "ValueError: first."),
        (KeyError(), "KeyError"),
    ],
)
def test_is_one_line(error, reason):
    assert failure_reason(error) == reason


def raised_by(function):
    with pytest.raises(Exception, match=r".") as caught:
        function()
    return caught.value


class Unsavable(keras.layers.Layer):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner


def train(loss="sparse_categorical_crossentropy", units=2):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    model.compile("sgd", loss)
    model.fit(np.ones((6, 4)), np.arange(6) % 3, verbose=0)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (
            lambda: Unsavable(object()).get_config(),
            r"Object Unsavable was created by passing non-serializable argument",
        ),
        (lambda: keras.layers.Conv2D(2, 3)(np.zeros((1, 8, 8, 3), np.uint8)), r"Incompatible type|Value"),
        (train, r"Received a label value of 2 which is outside|indices\[\d\] = 2 is not in \[0, 2\)"),
        (lambda: train("categorical_crossentropy"), r"Arguments `target` and `output` must have the same"),
    ],
)
def test_what_keras_says_is_kept_and_where_it_happened_is_not(function, reason):
    """Keras says where first, in paragraphs and with colours, and then what."""
    found = failure_reason(raised_by(function))
    assert re.match(rf"\w+: (?:{reason})", found)
    assert not found.endswith(("passing", ":", ","))


def test_what_follows_a_colon_is_kept():
    assert failure_reason(ValueError("cannot find:\n\n  the file\n\nmore")) == "ValueError: cannot find: the file"


def test_long_reasons_are_cut():
    reason = failure_reason(ValueError("x" * 1000))
    assert len(reason) == MAX_REASON
    assert reason.endswith("…")
