"""`galaxy-exp models`: the registered versions, and moving the champion alias by hand."""

from __future__ import annotations

import click

from galaxy_exp.cli.output import format_option, print_rows, say, uri_option

__all__ = ["models_command"]


@click.group("models")
def models_command() -> None:
    """Registered models: list them, promote a version by hand, or roll back."""


@models_command.command("list")
@click.argument("name", required=False)
@uri_option
@format_option
def list_models_command(name: str | None, uri: str | None, output_format: str) -> None:
    """List registered versions with their aliases, sealed-test figures, and why each was or was not promoted."""
    from galaxy_exp.registry.catalogue import list_models

    rows = list_models(uri, name)
    if output_format == "table":
        columns = ("name", "version", "aliases", "test", "reason")
        rows = [{column: row[column] for column in columns} for row in rows]
    print_rows(
        rows, output_format, empty="no registered models; make one with: galaxy-exp sweep sweeps/quickstart.yaml"
    )


@models_command.command("promote")
@click.argument("name")
@click.argument("version", type=int)
@uri_option
def promote_command(name: str, version: int, uri: str | None) -> None:
    """Make VERSION of NAME the champion, whatever the evidence says."""
    from galaxy_exp.registry.catalogue import promote

    previous = promote(name, version, uri)
    was = f"; it was version {previous}" if previous is not None else ""
    say(f"version {version} of {name} is now champion{was}")


@models_command.command("rollback")
@click.argument("name")
@uri_option
def rollback_command(name: str, uri: str | None) -> None:
    """Give the champion alias of NAME back to the version that had it before."""
    from galaxy_exp.registry.catalogue import rollback

    say(f"version {rollback(name, uri)} of {name} is champion again")
