"""A user's own source of labelled images, named by dotted path in `data.source`."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Protocol, Required, TypedDict

from numpy.typing import NDArray

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.parts import parse_parts
from galaxy_exp.errors import DataError
from galaxy_exp.wording import did_you_mean

__all__ = ["DataSource", "LabelledImages", "is_dotted_path", "load_user_source"]


class LabelledImages(TypedDict, total=False):
    """What a source gives."""

    images: Required[NDArray[Any]]
    """uint8 (n, height, width, 3), channels red, green, blue; may be a read-only memory map."""
    labels: Required[NDArray[Any]]
    """One per image: whole numbers from `data.first_label`, names, booleans, or one-hot rows."""
    class_names: NotRequired[Sequence[str]]
    """One name per label; `data.class_names` goes before."""
    split: NotRequired[Sequence[str]]
    """"train", "validation" or "test" for each image; then the shares of `data.split` are not used."""
    simulated: NotRequired[bool]
    """Whether the galaxies are made up; every report about them then says so."""


class DataSource(Protocol):
    """The contract of a source of your own.

    `data.source: package.module:Class` names a class whose instances have a method `load`. The class is
    constructed once, in the driver, with the entries of `data.options` as keyword arguments. `load` is called
    once, right after. It gives the same images, labels and order every time: a resumed sweep does not call it,
    but a repeated one does, and the data's digest tells whether it is the same data. Nothing may write to the
    arrays afterwards. What `load` or the constructor raises ends the sweep before it has begun, in one line.
    Crop, resize and greyscale are done by galaxy_exp, after.
    """

    def load(self) -> LabelledImages:
        """The labelled images; see `LabelledImages`."""


def is_dotted_path(source: str) -> bool:
    """Whether `source` looks like package.module:Class."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source) is not None


def load_user_source(config: DataConfig) -> ImageDataset:
    """Constructs the class that `data.source` names, and checks what it gives.

    Raises:
        DataError: one line that names the class and what is missing, what it raised, or what is wrong with
            its arrays.
    """
    where = f"data.source: {config.source}"
    source = _construct(where, _import_class(config.source, where), config.options)
    given = _check_keys(where, _call(f"{where}.load()", source.load))
    split = given.get("split")
    return build_dataset(
        given["images"],
        given["labels"],
        config.class_names or given.get("class_names"),
        source=config.source,
        simulated=bool(given.get("simulated", False)),
        own_split=None if split is None else parse_parts(split, config.source, "split"),
        first_label=config.first_label,
    )


def _import_class(reference: str, where: str) -> Any:
    module_name, _, name = reference.partition(":")
    module = _call(f"{where}: importing {module_name}", lambda: importlib.import_module(module_name))
    found = getattr(module, name, None)
    if found is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise DataError(f"{where}: module {module_name} has no {name}; {did_you_mean(name, public)}")
    if not inspect.isclass(found) or not callable(getattr(found, "load", None)):
        kind = "a class without load()" if inspect.isclass(found) else f"of type {type(found).__name__}"
        raise DataError(f"{where}: is {kind}; expected a class with a method load()")
    return found


def _construct(where: str, factory: Any, options: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise DataError(f"{where}: cannot be constructed with data.options {dict(options)} ({error})") from None
    return _call(f"{where}(...)", lambda: factory(**options))


def _call(what: str, function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        text = " ".join(str(error).split())
        raise DataError(f"{what} raised {type(error).__name__}: {text}") from error


def _check_keys(where: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError(f"{where}.load() gave {type(given).__name__}; expected a mapping with images and labels")
    known = list(LabelledImages.__annotations__)
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise DataError(f"{where}.load() gave an unknown key {unknown[0]!r}; {did_you_mean(unknown[0], known)}")
    for key in ("images", "labels"):
        if key not in given:
            raise DataError(f"{where}.load() gave no {key!r}; expected images and labels")
    return given
