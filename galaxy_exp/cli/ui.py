"""`galaxy-exp ui`: the MLflow UI, opened at the page of a sweep."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from galaxy_exp.cli.options import sweep_argument, uri_option
from galaxy_exp.cli.output import say
from galaxy_exp.errors import BadInputError, ConfigError, JournalError
from galaxy_exp.folders import ProjectFolder
from galaxy_exp.redaction import hide_in_address

if TYPE_CHECKING:
    from galaxy_exp.journal.record import SweepRecord

__all__ = ["ui_command"]


@click.command("ui")
@sweep_argument
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="port on 127.0.0.1")
@click.option("--open", "show", is_flag=True, help="show the sweep's page in the browser")
@uri_option
def ui_command(sweep: str | None, port: int, show: bool, uri: str | None) -> None:
    """Serve the MLflow UI of this folder's runs, on 127.0.0.1 only.

    Prints the address of the page of SWEEP, an id from `galaxy-exp list` or the beginning of one; left out, the
    newest sweep. The page is live: it lists the trials, the best first, with their scores and what varied. Ctrl-C
    ends the command.

    \b
    galaxy-exp ui --open
    galaxy-exp ui gz2 --port 5001
    """
    from galaxy_exp.journal.journal import read_record
    from galaxy_exp.tracking.addresses import resolve_tracking_uri, sqlite_file
    from galaxy_exp.tracking.store import check_store_exists
    from galaxy_exp.tracking.store_check import refuse_unusable

    record = None if sweep is None else read_record(ProjectFolder.default().find_sweep(sweep).path)
    resolved = resolve_tracking_uri(uri if record is None or uri is not None else record.tracking_uri)
    record = record or _newest_in(hide_in_address(resolved))
    if resolved.startswith(("http://", "https://")):
        from galaxy_exp.tracking.views import page_of

        say(f"the runs are on a server that has its own UI: {hide_in_address(resolved)}")
        _show(page_of(record, resolved), show)
        return
    check_store_exists(resolved)
    refuse_unusable(resolved, say)
    _refuse_taken_port(port)
    say(f"starting the MLflow UI on {hide_in_address(resolved)} ...")
    file = sqlite_file(resolved)
    if file is not None:  # by its bare name, as MLflow would create the folder of an encoded path
        os.chdir(file.parent)
        resolved = f"sqlite:///{quote(file.name)}"
    from galaxy_exp.tracking.ui_server import serve_ui
    from galaxy_exp.tracking.views import page_of

    def on_ready() -> None:
        say("ready (Ctrl-C ends it):")
        _show(page_of(record, f"http://127.0.0.1:{port}"), show)

    serve_ui(resolved, port, on_ready)


def _newest_in(store: str) -> SweepRecord | None:
    """The newest sweep of this folder in an MLflow store, if any can be read."""
    from galaxy_exp.journal.journal import read_record

    for folder in reversed(ProjectFolder.default().sweeps()):
        with suppress(JournalError, ConfigError):
            record = read_record(folder.path)
            if record.tracking_uri == store:
                return record
    return None


def _show(address: str, in_browser: bool) -> None:
    say(f"    {address}")
    if in_browser and click.launch(address) != 0:
        say("no browser could be started; open the address in one")


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BadInputError(f"--port {port}: {error.strerror}; try another, as in --port {port + 1}") from None
