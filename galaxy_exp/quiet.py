"""Keeps what native libraries print on import off the user's terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["import_keras_quietly", "import_tensorflow_quietly"]


def import_keras_quietly() -> None:
    """Imports Keras and its backend; their start-up messages are shown only if the import fails.

    TensorFlow's C++ code writes to file descriptor 2 before any log level applies, so that is redirected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # at 2 it still complains of absent GPUs
    # the driver must not take a GPU away from its workers
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # of JAX
    with _stderr_kept_back():
        import keras_tuner  # noqa: F401 - imports keras and the backend too


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow, as Keras does by itself, with its messages, to save a model on any backend."""
    with _stderr_kept_back():
        import tensorflow  # noqa: F401


@contextmanager
def _stderr_kept_back() -> Iterator[None]:
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            _restore(saved)
            kept.seek(0)
            sys.stderr.write(kept.read().decode(errors="replace"))
            raise
        _restore(saved)


def _restore(saved: int) -> None:
    sys.stderr.flush()
    os.dup2(saved, 2)
    os.close(saved)
