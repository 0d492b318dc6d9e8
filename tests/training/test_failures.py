import pytest

from galaxy_exp.training.failures import MAX_REASON, failure_reason
from galaxy_exp.training.recorder import DivergedError


class ResourceExhaustedError(Exception):
    """Named like TensorFlow's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError("diverged: loss is nan at epoch 2"), "diverged: loss is nan at epoch 2"),
        (MemoryError("x"), "out of memory"),
        (ResourceExhaustedError("OOM when allocating"), "out of memory"),
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
