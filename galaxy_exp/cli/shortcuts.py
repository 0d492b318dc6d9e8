"""Options that stand for single keys of a sweep file: `--set` for any, short ones for those that change often."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from galaxy_exp.search_methods import PRUNERS, SAMPLERS

if TYPE_CHECKING:
    from galaxy_exp.config.reading import FlagValue

__all__ = ["read_shortcuts", "sweep_file_options", "workers"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def workers(value: str) -> int | str:
    """The value of `--workers`: a whole number, or auto."""
    if value == "auto":
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a whole number nor auto") from None


_SHORTCUTS: dict[str, tuple[str, Callable[[str], Any], str, str]] = {
    "data": ("data.source", str, "SOURCE", "the images: a file, a folder, galaxy10-sdss, simulated, ..."),
    "max_trials": ("search.max_trials", int, "N", "trials in all, the baseline included"),
    "max_epochs": ("search.max_epochs", int, "N", "epochs in all trials together"),
    "max_hours": ("search.max_hours", float, "HOURS", "hours of running"),
    "epochs": ("training.epochs", int, "N", "epochs of a trial that is not stopped early"),
    "sampler": ("search.sampler", str, "NAME", f"how values are proposed: auto, {', '.join(SAMPLERS)}"),
    "pruner": ("search.pruner", str, "NAME", f"early stopping: {', '.join(PRUNERS)}"),
    "objective": ("search.objective", str, "NAME", "what is optimised: val_macro_f1, val_accuracy, ..."),
    "seed": ("search.seed", int, "N", "proposals, weights and shuffling follow from it"),
    "workers": ("execution.workers", workers, "N", "trials at a time, each in a process of its own; auto: measured"),
    "name": ("name", str, "NAME", "what the sweep is called; its id begins with it"),
}
"""Key, type, placeholder and meaning, by the option's name."""


def sweep_file_options(command: _Command) -> _Command:
    """Adds `--set` and all short options to a command that reads a sweep file."""
    for name, (key, kind, placeholder, meaning) in reversed(_SHORTCUTS.items()):
        command = click.option(_flag(name), type=kind, metavar=placeholder, help=f"{meaning} [{key}]")(command)
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="any key of the file; repeatable"
    )(command)


def read_shortcuts(values: dict[str, Any]) -> list[FlagValue]:
    """The keys that the short options give, from their values by name; None was not given."""
    from galaxy_exp.config.reading import FlagValue

    given = {name: value for name, value in values.items() if value is not None}
    return [FlagValue(_flag(name), _SHORTCUTS[name][0], value) for name, value in given.items()]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
