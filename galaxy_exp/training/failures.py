"""Why a trial failed, in one line."""

from __future__ import annotations

from galaxy_exp.errors import DataError, is_disk_full, reason_of
from galaxy_exp.records import DATA_GONE, DISK_FULL
from galaxy_exp.redaction import hide_password
from galaxy_exp.training.recorder import DivergedError
from galaxy_exp.wording import shorten

__all__ = ["MAX_REASON", "failure_reason"]

MAX_REASON = 300
"""Characters; the traceback has the rest."""

_OUT_OF_MEMORY = ("ResourceExhausted", "OutOfMemory", "RESOURCE_EXHAUSTED")
"""In the type or text of what TensorFlow, Torch and JAX (XLA) raise."""


def failure_reason(error: Exception) -> str:
    """One line: what diverged, `DISK_FULL`, `DATA_GONE` and why, "out of memory", or the exception's reason."""
    if isinstance(error, DivergedError):
        return str(error)
    if isinstance(error, DataError) and str(error).startswith(DATA_GONE):
        return shorten(str(error), MAX_REASON)
    if is_disk_full(error):
        return DISK_FULL
    if _is_out_of_memory(error):
        return "out of memory"
    name, reason = type(error).__name__, reason_of(error)
    return shorten(hide_password(name if reason == name else f"{name}: {reason}"), MAX_REASON)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    return any(word in type(error).__name__ or word in str(error) for word in _OUT_OF_MEMORY)
