"""What the probing process finds out about a network."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Probe", "Timing", "format_bytes"]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the training of a network takes on this machine."""

    epoch_seconds: float
    """Training, and prediction of the validation images."""
    start_seconds: float
    """Building and compiling, once a trial."""
    seconds_per_image: float
    """When predicting."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What became known of a network."""

    problem: str = ""
    """Why it cannot be trained here, in one line; empty if it can. What was known by then is set all the same."""
    parameters: int = 0
    flops: int = 0
    """For one image forward."""
    uncounted: tuple[str, ...] = ()
    """Layers that `flops` and `memory_bytes` leave out."""
    memory_bytes: int = 0
    """Estimated, at the peak of training; without the inside of a model that has a `call` of its own."""
    batch_size: int = 0
    precision: str = ""
    timing: Timing | None = None
    """None if it was not asked for, or the network has a problem."""


def format_bytes(number: float) -> str:
    """`512 MB`, `4.2 GB`."""
    return f"{number / 1e6:.0f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"
