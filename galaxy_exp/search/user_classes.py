"""A user-defined class, named in the sweep file by its dotted path."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from galaxy_exp.environment import importing
from galaxy_exp.errors import ConfigError, SweepFailedError, typed_reason
from galaxy_exp.wording import did_you_mean

__all__ = ["calling", "construct", "load_class"]

_NOT_OPTIONS = ("objective", "hyperparameters", "constraints_func")
"""Arguments that only the sweep itself decides."""


def load_class(key: str, reference: str) -> type[Any]:
    """The class at package.module:Class or package.module.Class; `key` of the sweep file is for messages.

    Raises:
        ConfigError: one line that names what cannot be imported, or is no class.
    """
    module_name, _, name = reference.partition(":") if ":" in reference else reference.rpartition(".")
    where = f"{key}: {reference}"
    try:
        with importing(module_name):
            module = importlib.import_module(module_name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's module can raise anything
        raise ConfigError(
            f"{where}: cannot import {module_name}: {typed_reason(error)} "
            "(a module beside the sweep must be on PYTHONPATH or installed)"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        public = [known for known in dir(module) if known[:1].isupper()]
        raise ConfigError(f"{where}: module {module_name} has no {name}; {did_you_mean(name, public)}")
    if not inspect.isclass(found):
        raise ConfigError(f"{where}: is of type {type(found).__name__}; expected a class")
    return found


def construct(
    key: str, reference: str, factory: type[Any], known: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> Any:
    """An instance of a class that a sweep file names.

    Args:
        key: of the sweep file, for messages; the options are at `<key>_options`.
        known: arguments from galaxy_exp; the class gets those that its constructor has by name.
        options: arguments from the sweep file, which override `known`.

    Raises:
        ConfigError: one line that names an option that the class does not have, or what the class raised.
    """
    options = options or {}
    names = _argument_names(factory)
    for name in options:
        if name in _NOT_OPTIONS:
            raise ConfigError(f"{key}_options.{name}: is set by galaxy_exp; expected another argument")
        if name not in names:
            free = [known_name for known_name in names if known_name not in _NOT_OPTIONS]
            raise ConfigError(f"{key}_options.{name}: {reference} does not take it; {did_you_mean(name, free)}")
    accepted = {name: value for name, value in known.items() if name in names}
    try:
        with redirect_stdout(sys.stderr):  # keeps what it prints out of JSON output
            return factory(**{**accepted, **options})
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{key}: {reference} raised {typed_reason(error)}") from error


@contextmanager
def calling(where: str) -> Iterator[None]:
    """Makes one line (`SweepFailedError`), with its key and name, of what a user-defined class raises."""
    try:
        yield
    except Exception as error:
        raise SweepFailedError(f"{where} raised {typed_reason(error)}") from error


def _argument_names(factory: type[Any]) -> list[str]:
    """The constructor's named arguments; with `**kwargs`, also those of its bases."""
    names: list[str] = []
    for base in factory.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return list(dict.fromkeys(name for name in names if name != "self"))
