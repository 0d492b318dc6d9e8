"""Options that stand for single keys of a sweep file: `--set` for any, short ones for those that change often."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from galaxy_exp.config.reading import FlagValue

__all__ = ["read_shortcuts", "sweep_file_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_SHORTCUTS: dict[str, tuple[str, type, str]] = {
    "data": ("data.source", str, "SOURCE"),
    "max_trials": ("search.max_trials", int, "N"),
    "max_epochs": ("search.max_epochs", int, "N"),
    "max_hours": ("search.max_hours", float, "HOURS"),
    "epochs": ("training.epochs", int, "N"),
    "sampler": ("search.sampler", str, "NAME"),
    "pruner": ("search.pruner", str, "NAME"),
    "objective": ("search.objective", str, "NAME"),
    "seed": ("search.seed", int, "N"),
    "workers": ("execution.workers", int, "N"),
    "name": ("name", str, "NAME"),
}
"""Key, type and placeholder, by the option's name."""


def sweep_file_options(command: _Command) -> _Command:
    """Adds `--set` and all short options to a command that reads a sweep file."""
    for name, (key, kind, placeholder) in reversed(_SHORTCUTS.items()):
        text = f"in place of the file's {key}"
        command = click.option(_flag(name), type=kind, metavar=placeholder, help=text)(command)
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="change a key of the file; repeatable"
    )(command)


def read_shortcuts(values: dict[str, Any]) -> list[FlagValue]:
    """The keys that the short options give, from their values by name; None was not given."""
    from galaxy_exp.config.reading import FlagValue

    given = {name: value for name, value in values.items() if value is not None}
    return [FlagValue(_flag(name), _SHORTCUTS[name][0], value) for name, value in given.items()]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
