"""Hypermodels given as Python objects: by which reference a sweep keeps them, and its workers find them.

What can be imported is referred to as package.module:Name. What cannot, because it was defined in a notebook, in the
script that is running or inside a function, is pickled by value (cloudpickle) into the sweep's folder, and the
reference is pickled:Name. Such a reference is read from the sweep's own folder and from nowhere else.
"""

from __future__ import annotations

import filecmp
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel.loading import BUILT_IN, PICKLED

__all__ = ["is_same_hypermodel", "locate_hypermodel", "store_hypermodel"]

FILE_NAME = "hypermodel.pkl"


def store_hypermodel(hypermodel: Any, folder: Path) -> str:
    """The reference for a hypermodel; writes it into the sweep's folder unless it can be imported.

    Args:
        hypermodel: a `keras_tuner.HyperModel` class or instance, a function `build(hp)`, or a reference already.
        folder: of the sweep.

    Raises:
        ConfigError: the object can be neither imported nor pickled.
    """
    if isinstance(hypermodel, str):
        return hypermodel
    built_in = [name for name, known in BUILT_IN.items() if known is hypermodel]
    reference = built_in[0] if built_in else _dotted_path(hypermodel)
    if reference is not None:
        return reference
    name = getattr(hypermodel, "__name__", type(hypermodel).__name__)
    (folder / FILE_NAME).write_bytes(_pickle(hypermodel, name))
    return f"{PICKLED}{name}"


def locate_hypermodel(reference: str, folder: Path) -> str:
    """What `load_hypermodel` is to be given: a pickled hypermodel's reference with its file in the sweep's folder.

    Raises:
        ConfigError: the sweep has no such file.
    """
    if not reference.startswith(PICKLED):
        return reference
    file = folder / FILE_NAME
    if not file.is_file():
        raise ConfigError(
            f"hypermodel: {reference} was given to run_sweep as an object, and is found in that sweep's folder only "
            f"({file} is missing); expected package.module:ClassName, or run_sweep(..., hypermodel=...)"
        )
    return f"{PICKLED}{file}"


def is_same_hypermodel(reference: str, folder: Path, other: Path) -> bool:
    """Whether a reference means the same in both sweeps' folders; a pickled hypermodel must be equal in all bytes."""
    if not reference.startswith(PICKLED):
        return True
    files = folder / FILE_NAME, other / FILE_NAME
    return all(file.is_file() for file in files) and filecmp.cmp(*files, shallow=False)


def _dotted_path(target: Any) -> str | None:
    """package.module:Name if another process gets the same object by importing it."""
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", ".")
    if module is None or module == "__main__" or "." in name:
        return None
    found = getattr(sys.modules.get(module), name, None) is target and _can_be_found(module)
    return f"{module}:{name}" if found else None


def _can_be_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a module that was made by hand
        return False


def _pickle(hypermodel: Any, name: str) -> bytes:
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(hypermodel)
    except Exception as error:  # objects raise what they like when they are pickled
        text = " ".join(str(error).split())
        raise ConfigError(
            f"hypermodel: {name} cannot be sent to a worker process: {type(error).__name__}: {text} "
            "(define it in a module of its own, or keep what cannot be pickled out of it)"
        ) from error
    return pickled
