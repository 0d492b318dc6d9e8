"""`galaxy-exp models`: list, promote and export registered versions."""

from __future__ import annotations

import json
from pathlib import Path

import click

from galaxy_exp.cli.options import format_option, uri_option
from galaxy_exp.cli.output import print_rows, say
from galaxy_exp.errors import HOW_TO_START

__all__ = ["models_command"]


@click.group("models")
def models_command() -> None:
    """Registered models: list, show, promote, roll back, export."""


@models_command.command("list", short_help="List registered versions, their scores, and which is champion and why.")
@click.argument("name", required=False)
@uri_option
@format_option("table", "json", "csv")
def list_models_command(name: str | None, uri: str | None, output_format: str) -> None:
    """List registered versions with their aliases, test scores, and why each was or was not promoted."""
    from galaxy_exp.registry.catalogue import list_models

    rows = list_models(uri, name)
    if output_format == "table":
        rows = [{**row, "galaxies": "SIMULATED" if row["simulated"] else "real"} for row in rows]
        columns = ("name", "version", "aliases", "galaxies", "test", "reason")
        rows = [{column: row[column] for column in columns} for row in rows]
    print_rows(rows, output_format, empty=f"no registered models; make one with: {HOW_TO_START}")


@models_command.command("show", short_help="Print the model card of a version.")
@click.argument("reference", metavar="NAME[@ALIAS|/VERSION]")
@uri_option
@format_option("markdown", "json")
def show_command(reference: str, uri: str | None, output_format: str) -> None:
    """Print the model card of a version, its aliases, and who was champion before; NAME alone means its champion.

    \b
    galaxy-exp models show galaxy10-cnn
    galaxy-exp models show galaxy10-cnn@challenger
    """
    from galaxy_exp.registry.catalogue import show_model

    shown = show_model(reference, uri)
    if output_format == "json":
        click.echo(json.dumps(shown, indent=2))
        return
    standing = f" ({', '.join(shown['aliases'])})" if shown["aliases"] else ""
    click.echo(f"# {shown['name']} version {shown['version']}{standing}\n")
    click.echo(f"Registered {shown['created']} from run `{shown['run_id']}`.\n")
    click.echo(shown["card"].strip())
    if shown["history"]:
        click.echo("\n## Champions so far\n")
        for entry in shown["history"]:
            click.echo(f"- {entry['time']}: version {entry['version']}, {entry['reason']}")


@models_command.command("history")
@click.argument("name")
@uri_option
@format_option("table", "json", "csv")
def history_command(name: str, uri: str | None, output_format: str) -> None:
    """List the champions of NAME in order, with dates and reasons."""
    from galaxy_exp.registry.catalogue import list_history

    print_rows(list_history(name, uri), output_format, empty=f"{name} has had no champion yet")


@models_command.command("promote")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--force", is_flag=True, help="promote even without supporting evidence; this is recorded")
@click.option("--reason", metavar="TEXT", default="", help="reason, recorded in the version's tags and the history")
@uri_option
def promote_command(name: str, version: int, force: bool, reason: str, uri: str | None) -> None:
    """Make VERSION of NAME the champion, if the evidence supports it.

    VERSION becomes champion if there is none, if the champion was trained on simulated galaxies and VERSION was not,
    or if VERSION is significantly better on the same held-out test set; the level of significance falls with each
    opening of that set. Else the command prints the reason, with the numbers, and changes nothing.

    \b
    galaxy-exp models promote galaxy10-cnn 2
    galaxy-exp models promote galaxy10-cnn 2 --force --reason "tested on the new field"
    """
    from galaxy_exp.registry import version_tags
    from galaxy_exp.registry.catalogue import show_model
    from galaxy_exp.registry.champion import promote

    is_champion = version_tags.CHAMPION in show_model(f"{name}/{version}", uri)["aliases"]
    previous = promote(name, version, uri, force=force, reason=reason)
    was = f"; it was version {previous}" if previous is not None else ""
    say(f"version {version} of {name} is {'champion already' if is_champion and not was else f'now champion{was}'}")


@models_command.command("rollback")
@click.argument("name")
@uri_option
def rollback_command(name: str, uri: str | None) -> None:
    """Restore the previous champion of NAME."""
    from galaxy_exp.registry.champion import rollback

    say(f"version {rollback(name, uri)} of {name} is champion again")


@models_command.command("export", short_help="Write the network of a version as ONNX or SavedModel.")
@click.argument("reference", metavar="NAME[@ALIAS|/VERSION]")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="a name ending in .onnx, or that of a new folder for a TensorFlow SavedModel",
)
@uri_option
def export_command(reference: str, output: Path, uri: str | None) -> None:
    """Write the network of a version as ONNX or SavedModel, and beside it OUTPUT.json, which says how to use it.

    The export is checked on sample images: it must agree with the model to 1e-4, or nothing is kept. It takes uint8
    images of the model's own size; cropping and resizing are not part of it. ONNX needs pip install 'galaxy-exp[onnx]'.

    \b
    galaxy-exp models export galaxy10-cnn -o galaxies.onnx
    galaxy-exp models export galaxy10-cnn/3 -o galaxies_saved_model
    """
    from galaxy_exp.registry.classifier import load_model
    from galaxy_exp.registry.export import export_network
    from galaxy_exp.registry.exported import facts_file

    classifier = load_model(f"models:/{reference.removeprefix('models:/')}", tracking_uri=uri)
    difference = export_network(classifier, output)
    say(f"wrote {output} and {facts_file(output)} from {classifier.uri}; largest difference {difference:.1e}")
