"""Silence: Keras and its backend are imported without their messages, and streams without a reader are discarded."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TextIO

from galaxy_exp.deferred_imports import import_keras, stated_backend
from galaxy_exp.errors import BadInputError

__all__ = [
    "BACKEND_ENVIRONMENT",
    "ScopedEnvironment",
    "discard",
    "discard_unwritten",
    "import_keras_quietly",
    "import_tensorflow_quietly",
    "say_nothing",
    "warnings_unprinted",
]


class ScopedEnvironment:
    """Sets environment variables from when the first thread enters until the last one leaves, and then restores them.

    Args:
        forced: replace the values of the caller's environment.
        defaults: set unless the caller's environment has them.
    """

    def __init__(self, forced: Mapping[str, str], defaults: Mapping[str, str]) -> None:
        self._forced = dict(forced)
        self._defaults = dict(defaults)
        self._lock = threading.Lock()
        self._inside = 0
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = {name: os.environ.get(name) for name in self._defaults | self._forced}
                for name, value in self._defaults.items():
                    os.environ.setdefault(name, value)
                os.environ.update(self._forced)  # these alone: threads of MLflow set and remove others meanwhile
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for name, value in self._before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value

    def keep(self) -> None:
        """Sets them until the process ends; for processes that this package starts."""
        self.__enter__()


BACKEND_ENVIRONMENT = ScopedEnvironment(
    forced={},
    defaults={
        "TF_CPP_MIN_LOG_LEVEL": "3",  # at 2 TensorFlow still warns about missing GPUs
        # this process must leave the memory of the GPU to its workers
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # of JAX
    },
)
"""Read by Keras's backends on import and when they first use a GPU."""


def import_keras_quietly() -> None:
    """Imports Keras and its backend; prints their messages only if the import fails.

    TensorFlow's C++ code writes to file descriptor 2 before any log level takes effect, so this is redirected.

    Raises:
        BadInputError: Keras is to take another backend than TensorFlow and JAX, or JAX, which is not installed.
    """
    backend, where = stated_backend()
    if backend not in ("tensorflow", "jax"):
        raise BadInputError(f"{where}: found {backend!r}; expected tensorflow or jax, as in KERAS_BACKEND=tensorflow")
    if backend == "jax" and find_spec(backend) is None:
        raise BadInputError(
            f"{where}: found {backend!r}, which is not installed; pip install 'galaxy-exp[jax]' adds jax"
        )
    with BACKEND_ENVIRONMENT, _stderr_kept_back():
        import_keras()


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its messages, to save a model with any backend."""
    with BACKEND_ENVIRONMENT, _stderr_kept_back():
        import tensorflow  # noqa: F401


@contextmanager
def _stderr_kept_back() -> Iterator[None]:
    sys.stderr.flush()
    saved, failed = os.dup(2), True
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                kept.seek(0)
                sys.stderr.write(kept.read().decode(errors="replace"))


def discard(stream: TextIO) -> None:
    """Discards a stream's buffer and all later output, when its reader is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def discard_unwritten(stream: TextIO) -> None:
    """Discards what a stream could not write, as with a full disk; later output is tried again."""
    place = os.dup(stream.fileno())
    discard(stream)
    stream.flush()
    os.dup2(place, stream.fileno())
    os.close(place)


def say_nothing(_: str) -> None:
    """Takes the messages of a silent call."""


@contextmanager
def warnings_unprinted() -> Iterator[None]:
    """Keeps Python from printing this package's log records itself; handlers of the caller's still get them."""
    logger, handler = logging.getLogger("galaxy_exp"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
