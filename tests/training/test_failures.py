import errno

import pytest

from galaxy_exp.records import DISK_FULL
from galaxy_exp.training.failures import MAX_REASON, failure_reason
from galaxy_exp.training.recorder import DivergedError


class ResourceExhaustedError(Exception):
    """Named like TensorFlow's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError("diverged: loss is nan at epoch 2"), "diverged: loss is nan at epoch 2"),
        (OSError(errno.ENOSPC, "No space left on device"), DISK_FULL),
        (OSError("Unable to create file (errno = 28, error message = 'No space left on device')"), DISK_FULL),
        (OSError("4096 requested and 128 written"), DISK_FULL),
        (MemoryError("x"), "out of memory"),
        (ResourceExhaustedError("OOM when allocating"), "out of memory"),
        (ResourceExhaustedError("model.keras; No space left on device"), DISK_FULL),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes"), "out of memory"),
        (ValueError("\n  first\nsecond"), "ValueError: first"),
        (KeyError(), "KeyError"),
    ],
)
def test_is_one_line(error, reason):
    assert failure_reason(error) == reason


def test_long_reasons_are_cut():
    reason = failure_reason(ValueError("x" * 1000))
    assert len(reason) == MAX_REASON
    assert reason.endswith("…")
