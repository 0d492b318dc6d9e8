"""User-defined sources of labelled images, named by dotted path in `data.source`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, NotRequired, Protocol, Required, TypedDict

import numpy as np
from numpy.typing import NDArray

from galaxy_exp.config.data_section import DataConfig
from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.image_arrays import as_image_array, check_images
from galaxy_exp.data.sources.vote_columns import read_vote_arrays
from galaxy_exp.data.split import parse_parts
from galaxy_exp.environment import importing
from galaxy_exp.errors import DataError, typed_reason
from galaxy_exp.questions import Votes
from galaxy_exp.wording import did_you_mean

__all__ = ["DataSource", "LabelledImages", "is_dotted_path", "load_user_source"]


class LabelledImages(TypedDict, total=False):
    """The result of `DataSource.load`."""

    images: Required[NDArray[Any]]
    """uint8 (n, height, width, 3), channels red, green, blue; may be a read-only memory map."""
    labels: NotRequired[NDArray[Any]]
    """One label per image: whole numbers from `data.first_label`, names, booleans, or one-hot rows."""
    votes: NotRequired[Votes | NDArray[Any]]
    """In place of labels: `galaxy_exp.questions.Votes`, or numbers (n, n_answers) as `data.votes` describes them."""
    class_names: NotRequired[Sequence[str]]
    """One name per label; `data.class_names` overrides them."""
    split: NotRequired[Sequence[str]]
    """"train", "validation" or "test" for each image; replaces the fractions of `data.split`."""
    simulated: NotRequired[bool]
    """Whether the galaxies are simulated, which every report then states."""


class DataSource(Protocol):
    """Interface of a user-defined source: `data.source: package.module:Class`.

    The driver constructs the class once, with the entries of `data.options` as keyword arguments, and then calls
    `load` once. `load` has to return the same images and labels in the same order every time: a resumed sweep does not
    call it, but a repeated sweep does and compares digests. Nothing may write to the arrays afterwards. An exception of
    `load` or the constructor ends the sweep before it starts, with one line. galaxy_exp crops, resizes and converts to
    greyscale afterwards.
    """

    def load(self) -> LabelledImages:
        """Loads the labelled images."""


def is_dotted_path(source: str) -> bool:
    """Whether `source` has the form package.module:Class."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source) is not None


def load_user_source(config: DataConfig) -> ImageDataset:
    """Constructs the class that `data.source` names, and validates what it loads.

    Raises:
        DataError: one line that names the class and what is missing, what it raised, or what is wrong with its arrays.
    """
    where = f"data.source: {config.source}"
    source = _construct(where, _import_class(config.source, where), config.options)
    loaded = _check_keys(where, _call(f"{where}.load()", source.load))
    split = loaded.get("split")
    parts = None if split is None else parse_parts(split, config.source, "split", hint="")
    images, votes = as_image_array(loaded["images"], config.source), loaded.get("votes")
    if votes is not None and not isinstance(votes, Votes):
        if not config.has_stated_votes:
            found = f"gave votes of type {type(votes).__name__} and data.votes.questions is left out"
            raise DataError(f"{where}.load() {found}; expected the questions there, or galaxy_exp.questions.Votes")
        check_images(images, config.source)
        votes = read_vote_arrays(votes, None, len(images), config.votes, config.source)
    return build_dataset(
        images,
        loaded.get("labels"),
        config.class_names or loaded.get("class_names"),
        source=config.source,
        simulated=bool(loaded.get("simulated", False)),
        own_split=parts,
        first_label=config.first_label,
        votes=votes,
    )


def _import_class(reference: str, where: str) -> Any:
    module_name, _, name = reference.partition(":")
    with importing(module_name):
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
    except ValueError:  # a class that has no signature, such as a dict
        pass
    except TypeError as error:
        raise DataError(f"{where}: cannot be constructed with data.options {dict(options)} ({error})") from None
    return _call(f"{where}(...)", lambda: factory(**options))


def _call(what: str, function: Any) -> Any:
    try:
        with redirect_stdout(sys.stderr):  # keeps what it prints out of JSON output
            return function()
    except (Exception, SystemExit) as error:
        raise DataError(f"{what} raised {typed_reason(error)}") from error


def _check_keys(where: str, loaded: Any) -> Mapping[str, Any]:
    if not isinstance(loaded, Mapping):
        raise DataError(
            f"{where}.load() gave {type(loaded).__name__}; expected a mapping with images and labels, or votes"
        )
    known = list(LabelledImages.__annotations__)
    unknown = [str(key) for key in loaded if key not in known]
    if unknown:
        raise DataError(f"{where}.load() gave an unknown key {unknown[0]!r}; {did_you_mean(unknown[0], known)}")
    wanted = "votes" if loaded.get("votes") is not None else "labels"
    for key in ("images", wanted):
        if loaded.get(key) is None:
            raise DataError(f"{where}.load() gave no {key!r}; expected images and labels, or images and votes")
    if not isinstance(loaded.get("simulated", False), bool | np.bool_):
        kind = type(loaded["simulated"]).__name__
        raise DataError(f"{where}.load() gave 'simulated' of type {kind}; expected True or False")
    return loaded
