"""`galaxy-exp data`: list, download, describe and draw data sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from galaxy_exp.cli.options import format_option, set_option
from galaxy_exp.cli.output import print_record, print_rows, say, writing
from galaxy_exp.errors import BadInputError, DataError
from galaxy_exp.wording import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from galaxy_exp.config.data_section import DataConfig
    from galaxy_exp.config.reading import FlagValue
    from galaxy_exp.data import ImageDataset
    from galaxy_exp.data.summary import DataSummary

__all__ = ["data_command", "read_data_config"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _source_options(command: _Command) -> _Command:
    """Adds SOURCE and `--set` to a command."""
    return click.argument("source")(set_option("as for sweep, e.g. --set data.resize=64")(command))


@click.group("data")
def data_command() -> None:
    """Data sources: list them, fetch one, count and draw its images."""


@data_command.command("list")
@format_option("table", "json", "csv")
def list_sources_command(output_format: str) -> None:
    """List what `data.source` of a sweep file can be."""
    from galaxy_exp.data.sources import list_sources

    print_rows(list_sources(), output_format)


@data_command.command("fetch")
@click.argument("name")
def fetch_command(name: str) -> None:
    """Download galaxy10-sdss or galaxy10-decals and print its path.

    Its SHA-256 is checked. A download that was interrupted is resumed.
    """
    from galaxy_exp.data.sources.galaxy10 import GALAXY10, fetch_galaxy10

    if name not in GALAXY10:
        raise BadInputError(f"{name}: cannot be fetched; {did_you_mean(name, list(GALAXY10))}")
    click.echo(fetch_galaxy10(name))


@data_command.command("info")
@_source_options
@format_option("table", "json", "csv")
def info_command(source: str, overrides: tuple[str, ...], output_format: str) -> None:
    """Count the images of SOURCE by class and split, and describe them.

    SOURCE is what `data.source` may be, or a sweep file, of which the data section is taken. The description has
    the image size, the digest, duplicates, and means and standard deviations of red, green and blue (0 to 1). With
    --format csv, only the counts are printed.

    \b
    galaxy-exp data info galaxies.h5
    galaxy-exp data info folder/ --set data.on_error=skip
    """
    from galaxy_exp.data import load_dataset
    from galaxy_exp.data.summary import summarise_dataset

    config = read_data_config(source, overrides)
    summary = summarise_dataset(load_dataset(config), config.split, config.votes.agreement)
    details = _describe_data(summary)
    if output_format == "json":
        print_rows([{**details, "classes": _class_rows(summary)}], "json")
        return
    print_rows(_class_rows(summary), output_format)
    if output_format == "table":
        click.echo("")
        print_record(details)


def _class_rows(summary: DataSummary) -> list[dict[str, Any]]:
    """One row per class and one for all: `label`, `class`, images by part, and all of them."""
    rows: list[dict[str, Any]] = [
        {"label": label, "class": name, **counts} for label, (name, counts) in enumerate(summary.counts.items())
    ]
    columns = next(iter(summary.counts.values()))
    total = {column: sum(counts[column] for counts in summary.counts.values()) for column in columns}
    return [*rows, {"label": None, "class": "all", **total}]


def _describe_data(summary: DataSummary) -> dict[str, Any]:
    """All but the counts, with the same keys for all data."""
    height, width, _ = summary.image_shape
    return {
        "source": summary.source,
        "simulated": summary.simulated,
        "images": summary.n_images,
        "width": width,
        "height": height,
        "digest": summary.digest,
        "split_digest": summary.split_digest,
        "split": "user-defined" if summary.own_split else "by fractions",
        "split_problem": summary.split_problem,
        "identical_to_another": summary.n_identical,
        "near_duplicates": summary.n_near,
        "channel_means": [round(value, 4) for value in summary.channel_means],
        "channel_deviations": [round(value, 4) for value in summary.channel_deviations],
        "preprocessing": summary.preprocessing.describe(),
        "understood": list(summary.notes),
        "skipped_files": len(summary.skipped),
        "skipped": list(summary.skipped),
        "other_files": summary.other_files,
        **_describe_votes(summary),
    }


def _describe_votes(summary: DataSummary) -> dict[str, Any]:
    """The questions, the median number of votes on each, and the share of images that volunteers agree on."""
    votes = summary.votes
    if votes is None:
        return {"votes": None, "questions": [], "median_votes": None, "agreement": None, "agreed": None}
    return {
        "votes": "counts" if votes.are_counts else "fractions",
        "questions": list(map(str, votes.questions.items)),
        "median_votes": None if votes.medians is None else list(votes.medians),
        "agreement": votes.agreement,
        "agreed": round(votes.agreed, 4),
    }


@data_command.command("preview")
@_source_options
@click.option("-o", "--output", default="preview.png", show_default=True, type=click.Path(path_type=Path), help="PNG")
@click.option("--per-class", default=8, show_default=True, type=click.IntRange(1, 40), help="images of each class")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="which images")
def preview_command(source: str, overrides: tuple[str, ...], output: Path, per_class: int, seed: int) -> None:
    """Draw some training images of each class of SOURCE into one PNG.

    SOURCE is as for info. Images are drawn as a model gets them, after crop, resize and greyscale; those of the
    held-out test set are left out.

    \b
    galaxy-exp data preview galaxies.h5 -o preview.png
    """
    if output.suffix.lower() != ".png":
        raise BadInputError(f"--output {output}: expected a name ending in .png")
    from galaxy_exp.data import load_dataset
    from galaxy_exp.report.galleries import pick_samples, plot_contact_sheet

    config = read_data_config(source, overrides)
    dataset = load_dataset(config)
    among = _training_indices(dataset, config)
    height, width, _ = dataset.image_shape
    kind = "images" if among is None else "images for training"
    with writing(output):
        path = plot_contact_sheet(
            dataset.images,
            pick_samples(dataset.labels, dataset.n_classes, per_class, seed, among),
            dataset.class_names,
            output,
            title=Path(dataset.source).name,
            note=f"{len(dataset if among is None else among):,} {kind}, {width}x{height} pixels",
            simulated=dataset.simulated,
        )
    say(f"wrote {path}")


def _training_indices(dataset: ImageDataset, config: DataConfig) -> NDArray[np.int64] | None:
    """None if the data cannot be split, which is reported; its images can be drawn all the same."""
    from galaxy_exp.data import split_dataset

    try:
        return split_dataset(dataset, config.split).train
    except DataError as error:
        say(f"cannot be split: {error}")
        return None


def read_data_config(source: str, overrides: Sequence[str], flags: Sequence[FlagValue] = ()) -> DataConfig:
    """The data section; SOURCE is a sweep file, or any value of `data.source`."""
    from galaxy_exp.cli.sweep import make_importable
    from galaxy_exp.config.reading import load_sweep, parse_overrides

    make_importable()
    if not source:
        raise BadInputError("the source of the data is empty; expected what data.source may be: galaxy-exp data list")
    if Path(source).suffix.lower() in (".yaml", ".yml"):
        return load_sweep(source, overrides, flags).data
    return parse_overrides(overrides, flags).data.model_copy(update={"source": source})
