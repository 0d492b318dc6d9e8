"""The result of probing a network before it is trained."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Probe", "Timing", "format_bytes"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a network's training on this machine."""

    epoch_seconds: float
    """An epoch of training, with the prediction of the validation images."""
    start_seconds: float
    """Building and compiling, once per trial."""
    seconds_per_image: float
    """Prediction."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Size, cost and problem of a network."""

    problem: str = ""
    """Why it cannot be trained here, in one line, or empty. The other fields are then set as far as they are known."""
    parameters: int = 0
    flops: int = 0
    """Of one image forward."""
    uncounted: tuple[str, ...] = ()
    """Layers that `flops` and `memory_bytes` leave out."""
    memory_bytes: int = 0
    """Estimate of the peak during training, without the inside of a model with its own `call`."""
    batch_size: int = 0
    precision: str = ""
    timing: Timing | None = None
    """None if it was not measured."""


def format_bytes(number: float) -> str:
    """`512 MB`, `4.2 GB`."""
    return f"{number / 1e6:.0f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"
