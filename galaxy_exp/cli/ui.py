"""`galaxy-exp ui`: the MLflow UI on the right store."""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import quote

import click

from galaxy_exp.cli.output import say, uri_option
from galaxy_exp.errors import BadInputError

__all__ = ["ui_command"]

_WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Jobs judge language models; waiting for them takes eight processes of 200 MiB each (MLflow 3.17)."""


@click.command("ui")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="port on 127.0.0.1")
@uri_option
def ui_command(port: int, uri: str | None) -> None:
    """Open the MLflow UI on this folder's runs, for this machine only (127.0.0.1).

    Ctrl-C ends it. The same as `mlflow ui` in the project folder.
    """
    from galaxy_exp.tracking.store import check_store_exists, hide_in_address, resolve_tracking_uri, sqlite_file
    from galaxy_exp.tracking.store_check import refuse_unusable

    resolved = resolve_tracking_uri(uri)
    if resolved.startswith(("http://", "https://")):
        say(f"the runs are on a server that has its own UI: {hide_in_address(resolved)}")
        return
    check_store_exists(resolved)
    refuse_unusable(resolved)
    _refuse_taken_port(port)
    say(f"MLflow UI on {hide_in_address(resolved)}: http://127.0.0.1:{port} (Ctrl-C to end)")
    file = sqlite_file(resolved)
    if file is not None:  # by its bare name, as MLflow would make the folder of an encoded one
        os.chdir(file.parent)
        resolved = f"sqlite:///{quote(file.name)}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", resolved, "--host", "127.0.0.1"]
    # instead of this process, so that signals to it reach the server
    os.execve(sys.executable, [*command, "--port", str(port)], _WITHOUT_JOBS | os.environ)


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BadInputError(f"--port {port}: {error.strerror}; try another, as in --port {port + 1}") from None
