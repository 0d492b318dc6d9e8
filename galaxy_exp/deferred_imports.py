"""Faster imports: what Keras and KerasTuner import for rare features is imported when one of these features is used.

scikit-learn, matplotlib and JAX take a third of the time in which a worker process starts.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = ["deferred_imports", "hidden_modules", "import_keras", "stated_backend", "without_garbage_collection"]

_DEFERRED = (
    "keras.wrappers",  # scikit-learn's interface to Keras
    "matplotlib",
    "matplotlib.patches",
    "matplotlib.pyplot",  # keras.visualization
    "scipy.optimize",  # KerasTuner's BayesianOptimization
    "sklearn",
    "sklearn.exceptions",
    "sklearn.gaussian_process",  # KerasTuner's BayesianOptimization
    "sklearn.model_selection",
    "sklearn.pipeline",  # KerasTuner's SklearnTuner
)


def import_keras() -> None:
    """Imports Keras, its backend and KerasTuner, without what few networks need.

    TensorFlow imports JAX, if it is installed, to convert JAX's functions to TensorFlow Lite, and Keras to repair old
    versions of JAX. Neither happens here if TensorFlow is Keras's backend, unless JAX is imported already; this process
    then has no converter from JAX to TensorFlow Lite.
    """
    if "keras_tuner" in sys.modules:
        return
    hidden = ["jax"] if stated_backend()[0] == "tensorflow" else []
    with without_garbage_collection(), hidden_modules(hidden), deferred_imports(_DEFERRED):
        import keras_tuner  # noqa: F401 - imports keras and the backend too


def stated_backend() -> tuple[Any, str]:
    """The backend that Keras will take, and the variable or file that states it."""
    if backend := os.environ.get("KERAS_BACKEND"):
        return backend, "KERAS_BACKEND"
    home = os.path.expanduser("~")  # noqa: PTH111  Path.home raises without one
    folder = Path(os.environ.get("KERAS_HOME", f"{home if os.access(home, os.W_OK) else '/tmp'}/.keras"))
    file = Path(os.path.expanduser(folder)) / "keras.json"  # noqa: PTH111
    try:
        return json.loads(file.read_bytes()).get("backend", "tensorflow"), f"{file}: backend"
    except (OSError, ValueError, AttributeError):  # Keras says what is wrong with its file
        return "tensorflow", str(file)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Stops the search for cyclic garbage within the context, for what makes many objects and no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _asked_first(finder: Any) -> Iterator[None]:
    """Within the context, imports ask this entry of `sys.meta_path` before all others."""
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def hidden_modules(names: Sequence[str]) -> AbstractContextManager[None]:
    """Within the context, this thread finds no modules of these names unless they are imported already.

    To import one raises `ModuleNotFoundError`, and so does `importlib.util.find_spec`.
    """
    thread = threading.get_ident()

    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name in names and threading.get_ident() == thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    return _asked_first(SimpleNamespace(find_spec=find_spec))


@contextmanager
def deferred_imports(names: Sequence[str]) -> Iterator[None]:
    """Within the context, `import NAME` of a module that is not imported yet gives one that imports it at first use.

    After the context, new imports of these names import the modules themselves. A name that is not installed raises
    ImportError as always. `from NAME import ...` is a use.
    """
    finder = _Finder(names)
    try:
        with _asked_first(finder):
            yield
    finally:
        finder.release(*names)


_ASKED_BY_IMPORTS = ("__file__", "__cached__", "__path__")


class _DeferredModule(ModuleType):
    """What stands for a module until it is used; then it passes everything on to the module itself."""

    _finder: _Finder

    def __getattr__(self, name: str) -> Any:
        if self.__name__ in self._finder.names:
            if name in _ASKED_BY_IMPORTS:
                raise AttributeError(name)
            if (child := f"{self.__name__}.{name}") in self._finder.names:
                return importlib.import_module(child)
            self._finder.release_package(self.__name__)
        return getattr(importlib.import_module(self.__name__), name)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        module = sys.modules.get(self.__name__, self)
        if not isinstance(module, _DeferredModule):
            setattr(module, name, value)  # a part of it that another thread has just imported


class _Imported:
    """The loader of a module that is imported already."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _Finder:
    """Finds and loads deferred modules, as an entry of `sys.meta_path` does."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = set(names)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.names:
            parent = name.rpartition(".")[0]
            if isinstance(sys.modules.get(parent), _DeferredModule):  # in another thread
                self.release_package(parent)
                importlib.import_module(parent)
                if (module := sys.modules.get(name)) is not None:
                    return ModuleSpec(name, _Imported(module))  # type: ignore[arg-type]
            return None
        found = PathFinder.find_spec(name, path)
        if found is None:
            return None
        spec = ModuleSpec(name, self)  # type: ignore[arg-type]  # it has what a loader needs
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _DeferredModule(spec.name)
        vars(module)["_finder"] = self
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing: the module is executed when it is used."""

    def release_package(self, name: str) -> None:
        """Releases the package of a module, and what is deferred in it."""
        package = name.partition(".")[0]
        self.release(*(each for each in self.names if each.partition(".")[0] == package))

    def release(self, *names: str) -> None:
        """Lets the next import of these names import the modules themselves."""
        self.names.difference_update(names)
        for name in names:
            if isinstance(sys.modules.get(name), _DeferredModule):
                del sys.modules[name]
