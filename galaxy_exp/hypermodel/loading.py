"""Hypermodels by reference: the `hypermodel` key of a sweep file, and objects that a Python caller passes.

A reference is the name of a built-in hypermodel, package.module:Name, or pickled:Name. The last means an object
that cannot be imported, because it was defined in a notebook, in the running script or inside a function: it is pickled
by value (cloudpickle) into the sweep's folder, and read from there and from nowhere else.
"""

from __future__ import annotations

import filecmp
import hashlib
import importlib
import inspect
import io
import pickle
import pickletools
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from galaxy_exp.environment import importing, is_installed
from galaxy_exp.errors import ConfigError, typed_reason
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.questions import Questions
from galaxy_exp.records import BUILT_IN_HYPERMODEL
from galaxy_exp.wording import did_you_mean, nearest

__all__ = [
    "BUILT_IN",
    "digest_source",
    "import_hypermodel",
    "is_same_hypermodel",
    "load_hypermodel",
    "locate_hypermodel",
    "store_hypermodel",
]

BUILT_IN = {BUILT_IN_HYPERMODEL: GalaxyCNN}
"""The hypermodels that a sweep file names without a module."""

_PICKLED = "pickled:"
_FILE_NAME = "hypermodel.pkl"

_MOVED = {
    f"{__package__}.{old}": f"{__package__}.{new}"
    for old, new in {
        "class_balance": "batches",
        "class_weights": "batches",
        "export": "saving",
        "fast_dropout": "galaxy_network",
        "feeding": "batches",
        "fused": "optimizers",
        "losses": "scoring",
        "macro_f1": "scoring",
        "network": "galaxy_network",
        "optimization": "optimizers",
        "sampling": "batches",
        "space": "galaxy_space",
        "vote_losses": "scoring",
    }.items()
} | {"galaxy_exp.metrics": "galaxy_exp.evaluation.metrics"}
"""Modules by the name that pickles of earlier releases have for them."""


def load_hypermodel(
    reference: str,
    image_shape: Sequence[int],
    n_classes: int,
    questions: Questions | None = None,
    are_counts: bool = False,
) -> keras_tuner.HyperModel:
    """The hypermodel that a sweep file names.

    Args:
        reference: a name in `BUILT_IN`, or "package.module:attribute", where the attribute is a HyperModel class
            (constructed with those of `image_shape=` and `n_classes=`, or `input_shape=` and `classes=` as KerasTuner's
            own call them, that its constructor has), a HyperModel instance, or a callable `build(hp)` (which may take
            the two as well) that returns a compiled model; or "pickled:" and the file of one of these, as
            `locate_hypermodel` returns it. Unpickling runs code.
        image_shape: (height, width, channels).
        questions, are_counts: of the votes, if the data has any; a constructor or function that has `questions=`,
            `are_counts=` or `n_answers=` gets them too.

    Raises:
        ConfigError: one line that names what of `hypermodel` cannot be found or used, and what was expected.
    """
    target = _find(reference)
    if reference.startswith(_PICKLED):  # in messages, the caller's object rather than its file
        reference = getattr(target, "__name__", f"a {type(target).__name__}")
    shape = tuple(image_shape)
    known: dict[str, Any] = {"image_shape": shape, "n_classes": n_classes, "input_shape": shape, "classes": n_classes}
    if questions is not None:
        known |= {"questions": questions, "are_counts": are_counts, "n_answers": questions.n_answers}
    if isinstance(target, keras_tuner.HyperModel):
        if isinstance(target, GalaxyCNN) and (target.image_shape, target.n_classes) != (shape, n_classes):
            made_for = f"images of {target.image_shape} in {target.n_classes} classes"
            raise ConfigError(
                f"hypermodel: {reference} is made for {made_for}, and the data has {shape} in {n_classes}; expected "
                "the class, which gets both"
            )
        return target
    if inspect.isclass(target) and issubclass(target, keras_tuner.HyperModel):
        return _construct(reference, target, known)
    if callable(target) and not inspect.isclass(target) and not isinstance(target, keras.layers.Layer):
        return _from_function(target, known)
    found = f"class {target.__name__}" if inspect.isclass(target) else f"of type {type(target).__name__}"
    raise ConfigError(
        f"hypermodel: {reference} is {found}; expected a keras_tuner.HyperModel class or instance, "
        "or a function build(hp)"
    )


def import_hypermodel(reference: str) -> None:
    """Imports the modules of a hypermodel, without constructing it.

    Raises:
        ConfigError: as of `load_hypermodel`.
    """
    _find(reference)


def store_hypermodel(hypermodel: Any, folder: Path) -> str:
    """The reference for a hypermodel; writes it into the sweep's folder unless it can be imported.

    Args:
        hypermodel: a `keras_tuner.HyperModel` class or instance, a function `build(hp)`, or a reference already.

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
    try:
        pickled = _pickle(hypermodel)
    except Exception as error:  # an object can raise anything while it is pickled
        raise ConfigError(
            f"hypermodel: {name} cannot be sent to a worker process: {typed_reason(error)} "
            "(define it in a module of its own, or keep what cannot be pickled out of it)"
        ) from error
    (folder / _FILE_NAME).write_bytes(pickled)
    return f"{_PICKLED}{name}"


def _pickle(hypermodel: Any) -> bytes:
    """By cloudpickle, without the id by which it recognises a class of the same process.

    With it, unpickling would not make a new class but overwrite the user's own, which would then keep the values that
    its global names had; and the pickle of an unchanged class would differ from process to process.
    """
    from cloudpickle import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            makers = (cloudpickle._make_skeleton_class, cloudpickle._make_skeleton_enum)
            if isinstance(reduced, tuple) and reduced[0] in makers:
                make, (*arguments, _, extra), *others = reduced
                return make, (*arguments, None, extra), *others
            return reduced

    pickled = io.BytesIO()
    Pickler(pickled).dump(hypermodel)
    return pickled.getvalue()


def locate_hypermodel(reference: str, folder: Path) -> str:
    """The reference that `load_hypermodel` takes: a pickled hypermodel's with its file in the sweep's folder.

    Raises:
        ConfigError: the sweep has no such file.
    """
    if not reference.startswith(_PICKLED):
        return reference
    file = folder / _FILE_NAME
    if not file.is_file():
        raise ConfigError(
            f"hypermodel: {reference} was given to run_sweep as an object, and is found in that sweep's folder only "
            f"({file} is missing); expected package.module:ClassName, or run_sweep(..., hypermodel=...)"
        )
    return f"{_PICKLED}{file}"


def is_same_hypermodel(reference: str, folder: Path, other: Path) -> bool:
    """Whether a reference means the same in both sweeps' folders; a pickled hypermodel must be equal in all bytes."""
    if not reference.startswith(_PICKLED):
        return True
    files = folder / _FILE_NAME, other / _FILE_NAME
    return all(file.is_file() for file in files) and filecmp.cmp(*files, shallow=False)


def digest_source(reference: str) -> str:
    """SHA-256 in hex of the file that defines a hypermodel; empty without one.

    The built-in hypermodel is known by the version of the package. A pickled one is stored with its sweep, but for what
    it imports: the digest is of the user's own modules that the pickle names, if any.

    Args:
        reference: as `locate_hypermodel` returns it.
    """
    if reference in BUILT_IN:
        return ""
    target = _find(reference)
    if reference.startswith(_PICKLED):
        return _digest_modules(Path(reference.removeprefix(_PICKLED)))
    is_definition = inspect.isclass(target) or inspect.isfunction(target)
    try:  # an instance is made where it is imported from, whatever its class
        file = inspect.getfile(target if is_definition else sys.modules[reference.partition(":")[0]])
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (TypeError, OSError):  # defined in C or without a file
        return ""


def _digest_modules(pickled: Path) -> str:
    texts = {argument for _, argument, _ in pickletools.genops(pickled.read_bytes()) if isinstance(argument, str)}
    digest = hashlib.sha256()
    found = False
    for name in sorted(texts & sys.modules.keys()):
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or name == "__main__" or name.startswith("galaxy_exp.") or is_installed(Path(file)):
            continue
        digest.update(Path(file).read_bytes())
        found = True
    return digest.hexdigest() if found else ""


def _find(reference: str) -> Any:
    if reference in BUILT_IN:
        return BUILT_IN[reference]
    if not reference.startswith(_PICKLED):
        return _import_attribute(reference)
    file = Path(reference.removeprefix(_PICKLED))
    try:
        with file.open("rb") as stream, importing(reference):
            return _Unpickler(stream).load()
    except (Exception, SystemExit) as error:  # what was pickled may import anything
        raise ConfigError(f"hypermodel: {file} cannot be loaded: {typed_reason(error)}") from error


class _Unpickler(pickle.Unpickler):
    """Finds what earlier releases had in other modules."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        return super().find_class(_MOVED.get(module_name, module_name), global_name)


def _import_attribute(reference: str) -> Any:
    module_name, colon, attribute = reference.partition(":")
    if not (colon and module_name and attribute):
        raise ConfigError(
            f"hypermodel: no hypermodel is called {reference!r}; {did_you_mean(reference, list(BUILT_IN))}, "
            "or package.module:ClassName"
        )
    try:
        with importing(module_name):
            module = importlib.import_module(module_name)
    except ConfigError as error:
        raise ConfigError(f"hypermodel: {reference}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's module can raise anything
        raise ConfigError(
            f"hypermodel: {reference}: cannot import {module_name}: {typed_reason(error)} "
            "(a module beside the sweep must be on PYTHONPATH or installed)"
        ) from error
    if not hasattr(module, attribute):
        close = nearest(attribute, (name for name in vars(module) if not name.startswith("_")))
        hint = f'; did you mean "{close}"?' if close else ""
        file = getattr(module, "__file__", None)  # it may be another module of that name
        found = f"module {module_name}{f' ({file})' if file else ''}"
        raise ConfigError(f"hypermodel: {found} has no attribute {attribute}{hint}")
    return getattr(module, attribute)


def _construct(reference: str, factory: Any, known: dict[str, Any]) -> keras_tuner.HyperModel:
    accepted = _accepted(factory, known)
    try:
        try:
            return factory(**accepted)
        except TypeError as error:  # a class with **kwargs may state what its base takes
            if "multiple values for" not in str(error):
                raise
            return factory(
                **{name: accepted[name] for name in accepted if name in inspect.signature(factory).parameters}
            )
    except (Exception, SystemExit) as error:
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
    """Those of `known` that the factory names as parameters; with `**kwargs`, a class gets those of its bases too."""
    names = list(inspect.signature(factory).parameters)[leave_out:]
    bases = [base for base in factory.__mro__ if "__init__" in vars(base)] if inspect.isclass(factory) else []
    for base in bases:
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        names += parameters
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            break
    return {name: known[name] for name in names if name in known}


def _dotted_path(target: Any) -> str | None:
    """package.module:Name if another process gets the same object by importing it."""
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", ".")
    if module is None or module == "__main__" or "." in name:
        return None
    try:
        found = getattr(sys.modules.get(module), name, None) is target and find_spec(module) is not None
    except (ImportError, ValueError):  # a module that was made by hand
        return None
    return f"{module}:{name}" if found else None
