"""`galaxy-exp`: the group of commands; errors become one line and an exit code."""

from __future__ import annotations

import gc
import select
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TextIO

import click

from galaxy_exp.cli.output import say
from galaxy_exp.errors import (
    FOLDER_GONE,
    BadInputError,
    ConfigError,
    GalaxyExpError,
    is_of_the_machine,
    machine_reason,
    one_line,
)
from galaxy_exp.quiet import BACKEND_ENVIRONMENT, discard
from galaxy_exp.redaction import hide_password
from galaxy_exp.wording import nearest

__all__ = ["COMMANDS", "cli", "has_no_reader", "main", "run_command"]

COMMANDS = {
    "init": "galaxy_exp.cli.init:init_command",
    "check": "galaxy_exp.cli.check:check_command",
    "sweep": "galaxy_exp.cli.sweep:sweep_command",
    "resume": "galaxy_exp.cli.sweep:resume_command",
    "tell": "galaxy_exp.cli.tell:tell_command",
    "list": "galaxy_exp.cli.sweeps:list_command",
    "show": "galaxy_exp.cli.sweeps:show_command",
    "trials": "galaxy_exp.cli.sweeps:trials_command",
    "report": "galaxy_exp.cli.sweeps:report_command",
    "ui": "galaxy_exp.cli.ui:ui_command",
    "models": "galaxy_exp.cli.models:models_command",
    "data": "galaxy_exp.cli.data:data_command",
    "encoders": "galaxy_exp.cli.encoders:encoders_command",
    "reproduce": "galaxy_exp.cli.sweep:reproduce_command",
    "predict": "galaxy_exp.cli.predict:predict_command",
    "evaluate": "galaxy_exp.cli.evaluate:evaluate_command",
    "sync": "galaxy_exp.cli.sweep:sync_command",
    "doctor": "galaxy_exp.cli.doctor:doctor_command",
}
"""Module and name of each command, which is imported when it is called or its help is printed."""

_OBJECTS_BETWEEN_COLLECTIONS = 10_000
"""Python's own 700 makes the imports of a command, most of its time, a sixth longer."""


class _LazyGroup(click.Group):
    """Imports the module of a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = resolve_name(COMMANDS[cmd_name])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = nearest(args[0], COMMANDS)
            if close is None:
                raise
            raise click.UsageError(f'{error.message} Did you mean "{close}"?', error.ctx) from None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="galaxy-exp", prog_name="galaxy-exp")
def cli() -> None:
    """Hyperparameter sweeps for galaxy image classifiers.

    \b
    galaxy-exp init --data FILE               write a sweep file, sweep.yaml
    galaxy-exp check sweep.yaml               what a sweep would do and cost
    galaxy-exp sweep sweep.yaml               run it and register its best model
    galaxy-exp trials                         compare its trials
    galaxy-exp ui                             the same in the MLflow UI
    galaxy-exp predict IMAGES... -o out.csv   use the registered model

    Everything is kept in the current folder: the sweeps in .galaxy_exp (or GALAXY_EXP_HOME), MLflow's runs in
    mlflow.db and mlruns (or where MLFLOW_TRACKING_URI says).
    Results go to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 3 some images could not be
    used, 130 interrupted. `galaxy-exp COMMAND --help` describes each command. Every SWEEP is an id from
    `galaxy-exp list`, the beginning of one, or latest.
    """


def main(arguments: list[str] | None = None) -> None:
    """The entry point of the command line.

    Exit codes: 0 done, 1 sweep failed, 2 bad input, 3 some images could not be classified, 130 interrupted. A full
    disk or a missing permission is one line; any other exception is a bug and keeps its traceback.
    """
    BACKEND_ENVIRONMENT.keep()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None) -> int:
    """Runs a command and returns its exit code; see `main`."""
    code = 0
    try:
        status: Any = cli.main(arguments, standalone_mode=False)
        code = status if isinstance(status, int) else 0
        if sys.stdout is not None:  # closed, as by >&-
            sys.stdout.flush()
        return code
    except click.UsageError as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt) as error:
        say("interrupted" if isinstance(error, click.Abort) else "interrupted before anything was started")
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GalaxyExpError as error:
        for line in error.problems if isinstance(error, ConfigError) else [str(error)]:
            shown = hide_password(one_line(line))
            say(f"error: {shown}" if error.exit_code != 130 else shown)
        return error.exit_code
    except (SystemExit, BrokenPipeError):  # click makes the former of the latter
        if sys.stdout is None or not has_no_reader(sys.stdout):
            raise
        discard(sys.stdout)
        return code
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename is None and _is_folder_gone():
            say(f"error: {FOLDER_GONE}")
            return BadInputError.exit_code
        if not is_of_the_machine(error):
            raise
        say(f"error: {machine_reason(error)}")
        return 1


def _is_folder_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def has_no_reader(stream: TextIO) -> bool:
    """Whether a stream is a pipe whose reader is gone, as in `galaxy-exp list | head -1`."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
