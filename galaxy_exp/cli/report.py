"""`galaxy-exp report`."""

from __future__ import annotations

from pathlib import Path

import click

from galaxy_exp.cli.output import say, writing
from galaxy_exp.errors import BadInputError
from galaxy_exp.folders import ProjectFolder

__all__ = ["report_command"]


@click.command("report")
@click.argument("sweep", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="where to write it; left out: the sweep's id with .html, in the current folder",
)
@click.option("--open", "show", is_flag=True, help="show it in the browser, too")
def report_command(sweep: str | None, output: Path | None, show: bool) -> None:
    """Write one HTML page about a sweep, to be read, printed or sent.

    SWEEP is an id from `galaxy-exp list` or the beginning of one; left out, the newest sweep. The page has
    everything in it and needs no network; it is made from the sweep's own files, without MLflow, and also of a
    sweep that is not finished or has failed. The path is printed on stdout.

    \b
    galaxy-exp report
    galaxy-exp report gz2-20261122 -o gz2.html --open
    """
    from galaxy_exp.journal.journal import read_record
    from galaxy_exp.sweep_report import write_report

    folder = ProjectFolder.default().find_sweep(sweep)
    path = output or Path(f"{folder.sweep_id}.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"--output {path}: expected a name ending in .html")
    record = read_record(folder.path)
    with writing(path):
        write_report(record, folder, path)
    size = path.stat().st_size / 1e6
    say(f"report of {folder.sweep_id}, {size:.1f} MB, in one file that needs no network:")
    click.echo(path)
    if show and click.launch(path.resolve().as_uri()) != 0:
        say(f"no browser could be started; open {path} in one")
