"""From the `hypermodel` key of a sweep file to a HyperModel."""

from __future__ import annotations

import importlib
import inspect
import pickle
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import keras_tuner

from galaxy_exp.errors import ConfigError, typed_reason
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.records import BUILT_IN_HYPERMODEL
from galaxy_exp.wording import did_you_mean, nearest

__all__ = ["BUILT_IN", "PICKLED", "load_hypermodel"]

BUILT_IN = {BUILT_IN_HYPERMODEL: GalaxyCNN}
"""The hypermodels that have a name of their own."""

PICKLED = "pickled:"
"""How the reference of a pickled hypermodel begins; see `given.py`."""


def load_hypermodel(reference: str, image_shape: Sequence[int], n_classes: int) -> keras_tuner.HyperModel:
    """The hypermodel that a sweep file names.

    Args:
        reference: a name in `BUILT_IN`, or "package.module:attribute", where the attribute is a HyperModel class
            (constructed with `image_shape=` and `n_classes=`, or `input_shape=` and `classes=` as KerasTuner's own call
            them, as far as its constructor takes them), a HyperModel
            instance, or a callable `build(hp)` (which may take the two as well) that returns a compiled model; or
            "pickled:" and the file that holds one of these, as `locate_hypermodel` gives it. Unpickling runs code.
        image_shape: (height, width, channels).

    Raises:
        ConfigError: one line that names what of `hypermodel` cannot be found or used, and what was expected.
    """
    target = _find(reference)
    shape = tuple(image_shape)
    known = {"image_shape": shape, "n_classes": n_classes, "input_shape": shape, "classes": n_classes}
    if isinstance(target, keras_tuner.HyperModel):
        return target
    if inspect.isclass(target) and issubclass(target, keras_tuner.HyperModel):
        return _construct(reference, target, known)
    if callable(target) and not inspect.isclass(target):
        return _from_function(target, known)
    raise ConfigError(
        f"hypermodel: {reference} is {_describe(target)}; expected a keras_tuner.HyperModel class or instance, "
        "or a function build(hp)"
    )


def _find(reference: str) -> Any:
    if reference in BUILT_IN:
        return BUILT_IN[reference]
    if reference.startswith(PICKLED):
        return _unpickle(Path(reference.removeprefix(PICKLED)))
    return _import_attribute(reference)


def _unpickle(file: Path) -> Any:
    try:
        return pickle.loads(file.read_bytes())
    except Exception as error:  # what was pickled can raise anything, above all where its imports are missing
        raise ConfigError(f"hypermodel: {file} cannot be loaded: {typed_reason(error)}") from error


def _import_attribute(reference: str) -> Any:
    module_name, colon, attribute = reference.partition(":")
    if not (colon and module_name and attribute):
        raise ConfigError(
            f"hypermodel: no hypermodel is called {reference!r}; {did_you_mean(reference, list(BUILT_IN))}, "
            "or package.module:ClassName"
        )
    module = _import_module(reference, module_name)
    if not hasattr(module, attribute):
        close = nearest(attribute, (name for name in vars(module) if not name.startswith("_")))
        hint = f'; did you mean "{close}"?' if close else ""
        raise ConfigError(f"hypermodel: module {module_name} has no attribute {attribute}{hint}")
    return getattr(module, attribute)


def _import_module(reference: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a user's module can raise anything
        raise ConfigError(
            f"hypermodel: {reference}: cannot import {name}: {typed_reason(error)} "
            "(a module beside the sweep must be on PYTHONPATH or installed)"
        ) from error


def _construct(reference: str, factory: Any, known: dict[str, Any]) -> keras_tuner.HyperModel:
    accepted = _accepted(factory, known)
    try:
        return factory(**accepted)
    except Exception as error:
        arguments = ", ".join(f"{key}=" for key in accepted)
        raise ConfigError(f"hypermodel: {reference}({arguments}) raised {typed_reason(error)}") from error


def _from_function(build: Any, known: dict[str, Any]) -> keras_tuner.HyperModel:
    accepted = _accepted(build, known, leave_out=1)

    class FunctionHyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
        """A plain build function as a HyperModel."""

        def build(self, hp: keras_tuner.HyperParameters) -> Any:
            return build(hp, **accepted)

    return FunctionHyperModel(name=getattr(build, "__name__", type(build).__name__))


def _accepted(factory: Any, known: dict[str, Any], leave_out: int = 0) -> dict[str, Any]:
    """Those of `known` that the factory names as parameters."""
    names = list(inspect.signature(factory).parameters)[leave_out:]
    return {name: known[name] for name in names if name in known}


def _describe(target: Any) -> str:
    return f"class {target.__name__}" if inspect.isclass(target) else f"of type {type(target).__name__}"
