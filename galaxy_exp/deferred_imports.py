"""Packages that Keras and KerasTuner import for rare features are imported when one of these features is used.

scikit-learn and matplotlib take a quarter of the time in which a worker process starts.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["deferred_imports", "import_keras"]

_DEFERRED = (
    "keras.wrappers",  # scikit-learn's interface to Keras
    "matplotlib",
    "matplotlib.patches",
    "matplotlib.pyplot",  # keras.visualization
    "sklearn",
    "sklearn.exceptions",
    "sklearn.gaussian_process",  # KerasTuner's BayesianOptimization
    "sklearn.model_selection",
    "sklearn.pipeline",  # KerasTuner's SklearnTuner
)


def import_keras() -> None:
    """Imports Keras, its backend and KerasTuner, without what few networks need."""
    if "keras_tuner" in sys.modules:
        return
    with deferred_imports(_DEFERRED):
        import keras_tuner  # noqa: F401 - imports keras and the backend too


@contextmanager
def deferred_imports(names: Sequence[str]) -> Iterator[None]:
    """Within the context, `import NAME` of a module that is not imported yet gives one that imports it at first use.

    After the context, new imports of these names import the modules themselves. A name that is not installed raises
    ImportError as always. `from NAME import ...` is a use.
    """
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
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


def _spec_of_imported(name: str) -> ModuleSpec | None:
    module = sys.modules.get(name)
    return None if module is None else ModuleSpec(name, _Imported(module))  # type: ignore[arg-type]


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
                return _spec_of_imported(name)
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
