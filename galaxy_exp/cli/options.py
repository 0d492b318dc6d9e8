"""Options that several commands share, among them those that stand for single keys of a sweep file."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from galaxy_exp.records import BUILT_IN_MODEL
from galaxy_exp.search_methods import SAMPLERS, SCHEDULERS

if TYPE_CHECKING:
    from galaxy_exp.config.reading import FlagValue


__all__ = [
    "format_option",
    "image_folder_flags",
    "image_folder_options",
    "model_options",
    "number_or",
    "quiet_option",
    "read_shortcuts",
    "set_option",
    "sweep_argument",
    "sweep_file_options",
    "uri_option",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

sweep_argument = click.argument("sweep", required=False)
"""An id from `galaxy-exp list` or the beginning of one."""

uri_option = click.option(
    "--uri", metavar="URI", help="MLflow tracking store; left out: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db"
)


quiet_option = click.option("-q", "--quiet", is_flag=True, help="no progress, only the summary")


def set_option(meaning: str, metavar: str = "KEY=VALUE") -> Callable[[_Command], _Command]:
    """Adds `--set`, which may be repeated and whose values the command gets as `overrides`."""
    return click.option("--set", "overrides", multiple=True, metavar=metavar, help=meaning)


def format_option(*formats: str) -> Callable[[_Command], _Command]:
    """Adds `--format` with these formats, of which the first is the default."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="how to print the result on stdout",
    )


def model_options(command: _Command) -> _Command:
    """Adds `--model` and `--alias`, which name a registered version."""
    model = click.option(
        "--model",
        default=BUILT_IN_MODEL,
        show_default=True,
        help="registered name (its champion), a model URI, or an .onnx file that `models export` wrote",
    )
    alias = click.option("--alias", default="champion", show_default=True, help="which version, with a registered name")
    return model(alias(command))


def image_folder_options(command: _Command) -> _Command:
    """Adds `--image-folder` and `--file-suffix`, which say where the files of a table are."""
    folder = click.option("--image-folder", metavar="FOLDER", help="data.image_folder: where a table's files are")
    suffix = click.option(
        "--file-suffix", metavar="SUFFIX", help="data.file_suffix: makes files of a table's ids: .jpg"
    )
    return folder(suffix(command))


def image_folder_flags(image_folder: str | None, file_suffix: str | None) -> list[FlagValue]:
    """The keys that `image_folder_options` set."""
    from galaxy_exp.config.reading import FlagValue

    folder = FlagValue("--image-folder", "data.image_folder", image_folder)
    suffix = FlagValue("--file-suffix", "data.file_suffix", file_suffix)
    return [each for each in (folder, suffix) if each.value is not None]


def number_or(word: str, kind: Callable[[str], float] = int) -> Callable[[str], float | str]:
    """What parses a finite number, or this word; the number is whole unless `kind` is float."""

    def parse(value: str) -> float | str:
        try:
            number = value if value == word else kind(value)
        except ValueError:
            number = math.nan
        if isinstance(number, float) and not math.isfinite(number):
            expected = "whole number" if kind is int else "number"
            raise click.BadParameter(f"{value!r} is neither a {expected} nor {word}")
        return number

    return parse


_SHORTCUTS: dict[str, tuple[str, Callable[[str], Any], str, str]] = {
    "data": ("data.source", str, "SOURCE", "the images: a file, a folder, galaxy10-sdss, simulated, ..."),
    "max_trials": ("search.max_trials", int, "N", "trials of the search, with the baseline, without finalists"),
    "max_epochs": ("search.max_epochs", int, "N", "epochs of the search"),
    "max_hours": ("search.max_hours", float, "HOURS", "hours of the search, finalists not included"),
    "epochs": ("training.epochs", int, "N", "epochs of a trial that is not stopped early"),
    "sampler": ("search.sampler", str, "NAME", f"how values are proposed: auto, {', '.join(SAMPLERS)}"),
    "scheduler": ("search.scheduler", str, "NAME", f"which trials get further epochs: {', '.join(SCHEDULERS)}"),
    "pruner": ("search.pruner", str, "NAME", "the former name of --scheduler"),
    "objective": ("search.objective", str, "NAME", "what is optimised: val_macro_f1, val_accuracy, ..."),
    "seed": ("search.seed", int, "N", "proposals, weights and shuffling follow from it"),
    "workers": (
        "execution.workers",
        number_or("auto"),
        "N",
        "trials at a time, each in a process of its own; auto: measured",
    ),
    "name": ("name", str, "NAME", "name of the sweep; its id begins with it"),
}
"""Key, type, placeholder and meaning, by the option's name."""


def sweep_file_options(command: _Command) -> _Command:
    """Adds `--set` and all short options to a command that reads a sweep file."""
    for name, (key, kind, placeholder, meaning) in reversed(_SHORTCUTS.items()):
        command = click.option(
            _flag(name), type=kind, metavar=placeholder, help=f"{meaning} [{key}]", hidden=name == "pruner"
        )(command)
    return set_option("any key of the file; repeatable", "KEY.PATH=VALUE")(command)


def read_shortcuts(values: dict[str, Any]) -> list[FlagValue]:
    """The keys that the short options set; `values` are by the option's name, None where it is left out."""
    from galaxy_exp.config.reading import FlagValue

    return [FlagValue(_flag(name), _SHORTCUTS[name][0], value) for name, value in values.items() if value is not None]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
