"""`galaxy-exp tell`: orders to a running sweep, from another terminal."""

from __future__ import annotations

from typing import Any

import click

from galaxy_exp.cli.options import number_or
from galaxy_exp.cli.output import say

__all__ = ["tell_command"]


class _OrderGroup(click.Group):
    """Says where SWEEP belongs if it was left out."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        sweep = str(ctx.params.get("sweep"))
        if sweep in self.commands and args[0] not in self.commands:
            line = " ".join([sweep, *args])
            raise click.UsageError(f"SWEEP comes first, as in: galaxy-exp tell latest {line}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group("tell", cls=_OrderGroup, subcommand_metavar="ORDER ...")
@click.argument("sweep")
@click.pass_context
def tell_command(ctx: click.Context, sweep: str) -> None:
    """Give a running sweep an order, from another terminal.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; latest: the newest sweep.

    \b
    galaxy-exp tell latest stop 7                        trial 7 ends after its current epoch
    galaxy-exp tell latest pause 7                       the same, and it may continue later
    galaxy-exp tell latest try n_blocks=3 dropout_2=0.4  the next trial has these values
    galaxy-exp tell latest limits --max-trials 60        raise or lower a limit
    galaxy-exp tell latest workers 4                     more or fewer trials at a time
    galaxy-exp tell latest finish                        end the search, then test and register

    The answer comes within seconds, in one line. Each order is in the sweep's journal before it takes effect,
    so it holds when the sweep is killed and resumed. Ctrl-C withdraws an order that is not taken yet. Orders
    are files in the sweep's folder: any machine that shares it can give them.

    Exit codes: 0 the sweep does it, 1 it refuses or does not run, 2 bad input, 130 withdrawn.
    """
    ctx.obj = sweep


def _tell(sweep: str, **order: Any) -> None:
    from galaxy_exp.tell import tell_sweep

    click.echo(tell_sweep(sweep, say=say, **order))


@tell_command.command("stop")
@click.argument("trial", type=click.IntRange(min=0))
@click.pass_obj
def stop_command(sweep: str, trial: int) -> None:
    """End trial number TRIAL after its current epoch.

    It counts with what it has reached, as a trial that was stopped early. The baseline can be stopped, too; a
    training of a finalist cannot.
    """
    _tell(sweep, stop=trial)


@tell_command.command("pause")
@click.argument("trial", type=click.IntRange(min=0))
@click.pass_obj
def pause_command(sweep: str, trial: int) -> None:
    """Pause trial number TRIAL after its current epoch.

    The search may continue it later.
    """
    _tell(sweep, pause=trial)


@tell_command.command("try")
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.pass_obj
def try_command(sweep: str, values: tuple[str, ...]) -> None:
    """Train a configuration as the next trial, as search.enqueue does.

    Hyperparameters that are left out take their defaults. A value may be outside the sweep's space if the
    hypermodel can take it. Checking it takes some seconds, since the hypermodel is loaded.

    \b
    galaxy-exp tell latest try learning_rate=0.0005
    galaxy-exp tell gz2 try n_blocks=3 optimizer=adamw weight_decay=0.01
    """
    from galaxy_exp.cli.sweep import make_importable

    parsed = dict(_parse_value(text) for text in values)
    if len(parsed) < len(values):
        raise click.UsageError("a hyperparameter has two values; expected each NAME once")
    make_importable()
    _tell(sweep, configuration=parsed)


def _parse_value(text: str) -> tuple[str, str | int | float | bool]:
    from galaxy_exp.config.plain_yaml import parse_scalar

    name, equals, value = (part.strip() for part in text.partition("="))
    parsed = parse_scalar(value, text) if equals and name else None
    if not isinstance(parsed, str | int | float | bool):
        raise click.UsageError(f"{text}: expected NAME=VALUE, as in learning_rate=0.001")
    return name, parsed


@tell_command.command("limits")
@click.option("--max-trials", type=int, metavar="N", help="trials of the search, finalists not included")
@click.option("--max-epochs", type=number_or("none"), metavar="N", help="epochs of the search, or none")
@click.option("--max-hours", type=number_or("none", float), metavar="HOURS", help="hours of the search, or none")
@click.option(
    "--max-trials-without-gain", type=number_or("none"), metavar="N", help="trials in a row without gain, or none"
)
@click.option(
    "--min-expected-gain",
    type=number_or("none", float),
    metavar="GAIN",
    help="smallest gain expected of ten more trials, or none",
)
@click.pass_obj
def limits_command(sweep: str, /, **limits: Any) -> None:
    """Raise or lower limits of the search.

    They hold from the next trial on; --max-epochs and --max-hours also end running trials that exceed them.
    They are the keys of `search` in the sweep file. They cannot change after the search has ended.

    \b
    galaxy-exp tell latest limits --max-trials 60 --max-hours none
    """
    stated = {name: None if value == "none" else value for name, value in limits.items() if value is not None}
    if not stated:
        raise click.UsageError("no limit is stated; expected one of the options, as in --max-trials 60")
    _tell(sweep, limits=stated)


@tell_command.command("workers")
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def workers_command(sweep: str, number: int) -> None:
    """Train NUMBER trials at a time from now on.

    Running trials continue unchanged, even if they are more than NUMBER. After that each worker on this machine has
    execution.threads, or an equal number of the cores. SLURM: more jobs, not fewer.
    """
    _tell(sweep, workers=number)


@tell_command.command("finish")
@click.pass_obj
def finish_command(sweep: str) -> None:
    """End the search now, with what it has found.

    No further trial begins, and running ones end after their current epoch. Then the finalists are trained
    again, and the winner is tested and registered, as at the end of any search.
    """
    _tell(sweep, finish=True)
