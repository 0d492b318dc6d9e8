"""`galaxy-exp list`, `show` and `trials`: what the journals say, without MLflow or TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from galaxy_exp.cli.output import format_option, print_rows
from galaxy_exp.folders import ProjectFolder

if TYPE_CHECKING:
    from galaxy_exp.journal.record import SweepRecord

__all__ = ["list_command", "show_command", "trials_command"]

_SWEEP_ARGUMENT = click.argument("sweep", required=False)


@click.command("list")
@format_option
def list_command(output_format: str) -> None:
    """List the sweeps of this folder, the newest last."""
    from galaxy_exp.cli.rows import for_people, sweep_row

    rows = [sweep_row(folder) for folder in ProjectFolder.default().sweeps()]
    rows = [for_people(row) for row in rows] if output_format == "table" else rows
    print_rows(rows, output_format, empty="no sweeps here yet; start one with: galaxy-exp sweep sweeps/quickstart.yaml")


@click.command("show")
@_SWEEP_ARGUMENT
@format_option
def show_command(sweep: str | None, output_format: str) -> None:
    """Show one sweep: its settings, its state, the winner and the sealed test.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep.
    """
    from galaxy_exp.cli.rows import describe_sweep, for_people

    record = _read(sweep)
    details = describe_sweep(record)
    if output_format == "table":
        print_rows([{"": key, record.sweep_id: value} for key, value in for_people(details).items()], "table")
    else:
        print_rows([details], output_format)


@click.command("trials")
@_SWEEP_ARGUMENT
@click.option("--sort/--no-sort", default=True, show_default=True, help="the best trial first, or by number")
@format_option
def trials_command(sweep: str | None, sort: bool, output_format: str) -> None:
    """List the trials of a sweep, with their scores and values.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep. The table shows what
    differs from the baseline, trial 0; csv and json have all values and metrics.

    \b
    galaxy-exp trials
    galaxy-exp trials gz2 --format csv > trials.csv
    """
    from galaxy_exp.cli.rows import ordered_trials, print_leaderboard, trial_row

    record = _read(sweep)
    if output_format == "table":
        print_leaderboard(record, sort)
    else:
        print_rows([trial_row(trial, record) for trial in ordered_trials(record, sort)], output_format)


def _read(reference: str | None) -> SweepRecord:
    from galaxy_exp.journal.journal import read_record

    return read_record(ProjectFolder.default().find_sweep(reference).path)
