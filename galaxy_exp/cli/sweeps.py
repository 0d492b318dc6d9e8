"""`galaxy-exp list`, `show`, `trials` and `report`: ways to look at sweeps without MLflow."""

from __future__ import annotations

from pathlib import Path

import click

from galaxy_exp.cli.options import format_option, sweep_argument
from galaxy_exp.cli.output import print_line, print_record, print_rows, say, writing
from galaxy_exp.errors import HOW_TO_START, BadInputError
from galaxy_exp.folders import ProjectFolder, SweepFolder
from galaxy_exp.layout import terminal_width

__all__ = ["list_command", "report_command", "show_command", "trials_command"]


@click.command("list")
@format_option("table", "json", "csv")
def list_command(output_format: str) -> None:
    """List the sweeps of this folder, the newest last."""
    from galaxy_exp.sweep_rows import LIST_IMPORTANCE, list_for_people, sweep_row

    rows = [sweep_row(folder) for folder in ProjectFolder.default().sweeps()]
    shown = [list_for_people(row) for row in rows] if output_format == "table" else rows
    empty = f"no sweeps here yet; start one with: {HOW_TO_START}"
    print_rows(shown, output_format, empty=empty, importance=LIST_IMPORTANCE)
    if output_format == "table":
        for row in rows:
            if row["reason"]:
                print_line(f"{row['sweep']} {row['state']}: {row['reason']}")


@click.command("show")
@sweep_argument
@format_option("table", "json", "csv")
def show_command(sweep: str | None, output_format: str) -> None:
    """Show one sweep: its settings, state, winner and test.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep.
    """
    from galaxy_exp.journal.journal import read_with_state
    from galaxy_exp.sweep_rows import describe_sweep, show_for_people

    record, state = read_with_state(ProjectFolder.default().find_sweep(sweep).path)
    if output_format == "table":
        print_record(show_for_people(record, state))
    else:
        print_rows([describe_sweep(record, state)], output_format)


@click.command("trials")
@sweep_argument
@click.option("--sort/--no-sort", default=True, show_default=True, help="the best trial first, or by number")
@format_option("table", "json", "csv")
def trials_command(sweep: str | None, sort: bool, output_format: str) -> None:
    """List the trials of a sweep, with their scores and values.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep. The table shows what
    differs from the baseline, trial 0. csv and json have a column for each hyperparameter and each metric of the
    best epoch; json also has them nested, in params and metrics.

    \b
    galaxy-exp trials
    galaxy-exp trials gz2 --format csv > trials.csv
    """
    from galaxy_exp.journal.journal import read_with_state
    from galaxy_exp.trial_rows import flat_columns, flat_rows, leaderboard_text, nested_rows, ordered_trials

    record, _ = read_with_state(ProjectFolder.default().find_sweep(sweep).path)
    trials = ordered_trials(record, sort)
    if output_format == "table":
        click.echo(leaderboard_text(record, terminal_width(), sort))
    elif output_format == "csv":
        print_rows(flat_rows(trials, record), "csv", columns=flat_columns(record))
    else:
        print_rows(nested_rows(trials, record), "json")


@click.command("report")
@sweep_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="where to write it; left out: the sweep's id with .html, in the current folder",
)
@click.option("--open", "show", is_flag=True, help="show it in the browser, too")
@click.option("--watch", is_flag=True, help="serve it on 127.0.0.1 instead, drawn again every minute; Ctrl-C ends it")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="port of --watch; left out: a free one")
def report_command(sweep: str | None, output: Path | None, show: bool, watch: bool, port: int) -> None:
    """Write one HTML page about a sweep, to be read, printed or sent.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep. The page has
    everything in it and needs no network; it is made from the sweep's files, without MLflow, and also of a
    sweep that is not finished or has failed. The path is printed on stdout.

    \b
    galaxy-exp report
    galaxy-exp report gz2-20261122 -o gz2.html --open
    galaxy-exp report --watch --open
    """
    from galaxy_exp.journal.journal import read_with_state
    from galaxy_exp.sweep_report import write_report

    folder = ProjectFolder.default().find_sweep(sweep)
    if watch:
        if output is not None:
            raise click.UsageError("--watch and --output exclude each other")
        _watch(folder, port, show)
        return
    path = output or Path(f"{folder.sweep_id}.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"--output {path}: expected a name ending in .html")
    record, _ = read_with_state(folder.path)
    with writing(path):
        write_report(record, folder, path)
    size = path.stat().st_size / 1e6
    say(f"report of {folder.sweep_id}, {size:.1f} MB, in one file that needs no network:")
    click.echo(path)
    if show and click.launch(path.resolve().as_uri()) != 0:
        say(f"no browser could be started; open {path} in one")


def _watch(folder: SweepFolder, port: int, show: bool) -> None:
    from galaxy_exp.report_server import serve_report

    def on_ready(address: str) -> None:
        say(f"report of {folder.sweep_id}, drawn again every minute (Ctrl-C ends it):")
        click.echo(address)
        if show and click.launch(address) != 0:
            say("no browser could be started; open the address in one")

    try:
        serve_report(folder, port, on_ready)
    except OSError as error:
        raise BadInputError(f"--port {port}: {error.strerror}; leave it out for a free one") from None
