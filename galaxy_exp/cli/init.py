"""`galaxy-exp init`: a sweep file to begin with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from galaxy_exp.cli.options import image_folder_flags, image_folder_options, set_option
from galaxy_exp.cli.output import say, writing
from galaxy_exp.errors import BadInputError

if TYPE_CHECKING:
    from galaxy_exp.config.data_section import DataConfig
    from galaxy_exp.config.reading import FlagValue

__all__ = ["init_command"]


@click.command("init", short_help="Write a commented sweep file, for your data or on simulated galaxies.")
@click.option(
    "-o",
    "--output",
    default="sweep.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="the file to write; - prints it",
)
@click.option("--data", "source", metavar="SOURCE", help="what data.source may be; the file is for these images")
@click.option("--from", "starter", metavar="NAME", help="starter file: encoder, gz2, pretrained, quickstart or votes")
@set_option("how to read the data: data.fits.bands=...")
@image_folder_options
def init_command(
    output: Path,
    source: str | None,
    starter: str | None,
    overrides: tuple[str, ...],
    image_folder: str | None,
    file_suffix: str | None,
) -> None:
    """Write a commented sweep file to begin with.

    With --data, the images are read, and the file is adapted to them: classes, image size, blocks of the
    network, class weights, epochs and trials, and the names of sweep, experiment and model. Comments give the reasons.
    SOURCE is a file (HDF5, .npz, table), a folder of classes, galaxy10-sdss, simulated, or package.module:Class.
    Options of the data that --set, --image-folder and --file-suffix give are written too.

    Without --data, it is the quickstart: two minutes on simulated galaxies. --from takes another starter file;
    with --data, the source and the names of sweep, experiment and model become those of your data, and all else stays.
    A file that exists is never replaced.

    \b
    galaxy-exp init
    galaxy-exp init --data galaxies.h5 -o galaxies.yaml
    galaxy-exp init --data catalogue.csv --image-folder stamps --file-suffix .jpg
    galaxy-exp init --from pretrained --data galaxies.h5
    """
    from galaxy_exp.starters import QUICKSTART, point_to_data, read_starter

    flags = image_folder_flags(image_folder, file_suffix)
    if (overrides or flags) and (source is None or starter is not None):
        raise click.UsageError("--set, --image-folder and --file-suffix need --data, without --from")
    _refuse_existing(output)  # before the data is read, which may take minutes
    if starter is None and source is not None:
        text = _look_at(source, overrides, flags, "FILE" if str(output) == "-" else shlex.quote(str(output)))
    else:
        text = read_starter(starter or QUICKSTART)
        text = text if source is None else point_to_data(text, source)
    _write(output, text)


def _look_at(source: str, overrides: Sequence[str], flags: Sequence[FlagValue], file: str) -> str:
    from galaxy_exp.cli.data import read_data_config
    from galaxy_exp.data import load_dataset, split_dataset
    from galaxy_exp.starters import write_for_data

    for override in overrides:
        if not override.strip().startswith("data."):
            raise BadInputError(f"--set {override}: expected data.KEY=VALUE; write other keys into the file afterwards")
    config = _with_votes(read_data_config(source, overrides, flags))
    dataset = load_dataset(config)
    return write_for_data(dataset, split_dataset(dataset, config.split), config, file)


def _with_votes(config: DataConfig) -> DataConfig:
    """With the questions of Galaxy Zoo that a table without labels has votes on, unless votes are stated."""
    from galaxy_exp.data.sources.image_table import recognise_votes

    votes, labels = recognise_votes(config) or (None, None)
    if votes is None:
        return config
    if labels is not None:
        path = Path(config.source)
        say(f"{path}: has labels in column {labels!r}, so its votes are not used; to learn these, remove that column")
        return config
    return config.model_copy(update={"votes": votes})


def _write(output: Path, text: str) -> None:
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with output.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except FileExistsError:
            _refuse_existing(output)
    file = shlex.quote(str(output))
    say(f"wrote {output}")
    say(f"next:  galaxy-exp check {file}   what it would do and cost")
    say(f"       galaxy-exp sweep {file}   run it and register its best model")


def _refuse_existing(output: Path) -> None:
    if str(output) != "-" and (output.exists() or output.is_symlink()):
        raise BadInputError(f"{output}: exists; name another file with -o FILE, or remove it")
