"""`galaxy-exp predict`: the registered model on files, folders, tables and HDF5."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from galaxy_exp.cli.options import image_folder_flags, image_folder_options, model_options, set_option, uri_option
from galaxy_exp.cli.output import progress_bar, say, writing
from galaxy_exp.errors import BadInputError, UnusableImagesError, escape_unprintable
from galaxy_exp.registry.prediction import FORMATS, Row, choose_format, write_lines_to_terminal, write_rows_to_stdout

if TYPE_CHECKING:
    from galaxy_exp.config.data_section import DataConfig, FitsConfig
    from galaxy_exp.config.reading import FlagValue
    from galaxy_exp.data.inputs import InputFile
    from galaxy_exp.registry.classifier import GalaxyClassifier
    from galaxy_exp.registry.prediction_run import PredictionCount, RunIdentity

__all__ = ["predict_command"]


@click.command("predict", short_help="Classify images with the registered model, into a table.")
@click.argument("images", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="a .csv, .json, .jsonl or .parquet file; left out: one line per image on a terminal, CSV in a pipe",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    help="left out: by the ending of the file; json is one list, jsonl one object per line",
)
@model_options
@click.option("--calibrated", is_flag=True, help="probabilities at the model's temperature; the classes are the same")
@click.option("--batch-size", default=256, show_default=True, type=click.IntRange(min=1), help="images read at a time")
@click.option("--restart", is_flag=True, help="start again and ignore what an interrupted run left in FILE.partial")
@set_option(
    "data.fits.*: how FITS files are read, left out: as in the model's training; data.table.*: a table's columns"
)
@image_folder_options
@uri_option
def predict_command(
    images: tuple[Path, ...],
    output: Path | None,
    output_format: str | None,
    model: str,
    alias: str,
    calibrated: bool,
    batch_size: int,
    restart: bool,
    overrides: tuple[str, ...],
    image_folder: str | None,
    file_suffix: str | None,
    uri: str | None,
) -> None:
    """Classify IMAGES: pictures, FITS files, folders of them, .h5 or .npz files with `images`, tables.

    A picture is PNG, JPEG, TIFF, WebP or another format that Pillow reads. Other files in a folder are skipped
    and counted. A table (.csv, .tsv, .txt or .parquet) lists files, or ids that become file names with --file-suffix.
    Each of its rows gives a row, with its id as it is in the table; data.table.id_column names the column.

    With - the paths are read from standard input, one per line.

    Images of another size than the model's are centre-cropped to its aspect ratio and resized; those under
    half its size are refused. An image that cannot be used gets a row with the reason and does not stop
    the others; the exit code is 3 then.

    The same command resumes a run that was interrupted or killed: until the output is complete, its rows
    are in FILE.partial. It refuses to continue if the model or the images have changed.

    FITS files are read with the stretch that the model was trained with. A model that was trained on 8-bit images
    has none and refuses FITS files, unless a stretch is stated: --set data.fits.stretch=asinh.

    A model of votes gives the fraction of each answer, p_ANSWER, the ends of its 90% interval, low_ANSWER and
    high_ANSWER, and the concentration of each question, concentration_QUESTION. Intervals and
    concentrations are empty if the model was trained with a loss that gives none.

    \b
    galaxy-exp predict galaxies/ extra.h5 -o classes.parquet
    galaxy-exp predict catalogue.csv --image-folder stamps --file-suffix .jpg -o classes.csv
    find /survey -name '*.png' | galaxy-exp predict - -o classes.csv
    """
    chosen_format = choose_format(output, output_format)
    if output is not None:
        _check_output(output, images)
    config, stated = _read_stated(overrides, image_folder_flags(image_folder, file_suffix))
    from galaxy_exp.data.inputs import first_fits_file, iter_images

    files = _find_files(images, config)  # a wrong path is reported before TensorFlow is imported
    from galaxy_exp.registry.classifier import load_model
    from galaxy_exp.registry.prediction import choose_stretch, columns_of, name_id_columns, predict_to_rows
    from galaxy_exp.registry.prediction_run import PredictionCount, count_rows, predict_to_file

    classifier = load_model(model, alias, uri, calibrated=calibrated)
    say(f"model: {classifier.uri}{', trained on SIMULATED galaxies' if classifier.simulated else ''}")
    fits_file = first_fits_file(files)
    stretch = choose_stretch(classifier.fits, stated, fits_file, classifier.uri) if fits_file else None
    id_columns = name_id_columns((file.id[0] for file in files if file.id is not None), columns_of(classifier))
    columns = columns_of(classifier, id_columns)

    def rows_after(skip: int) -> Iterator[Row]:
        return predict_to_rows(classifier, iter_images(files, batch_size, stretch, skip), id_columns)

    if output is None and output_format is None and sys.stdout.isatty():
        count = PredictionCount()
        rows = count_rows(rows_after(0), count)
        write_lines_to_terminal(rows, _longest_name(files), max(map(len, classifier.class_names)))
        _summarise(count, None)
        return
    with progress_bar(sum(file.n_images for file in files), transient=False) as report:

        def rows_from(skip: int) -> Iterable[Row]:
            if skip:
                say(f"{skip} images are done already; continuing with the next")
            report(skip)
            return _reported(rows_after(skip), skip, report)

        if output is None:
            count = PredictionCount()
            write_rows_to_stdout(count_rows(rows_from(0), count), columns, chosen_format)
        else:
            identity = _identify(classifier, files, stretch)
            try:
                count = predict_to_file(rows_from, columns, output, chosen_format, identity, batch_size, restart)
            except KeyboardInterrupt:
                say(f"interrupted; the same command continues, from the rows in {output}.partial")
                sys.exit(130)
    _summarise(count, output)


def _check_output(output: Path, images: Sequence[Path]) -> None:
    """Refuses, before anything is read, a file that could not be written in the end, or that would replace an input."""
    with writing(output):
        if output.is_dir():
            raise BadInputError(f"--output {output}: is a folder; expected the name of a file, as {output}/out.csv")
        if not output.parent.is_dir():
            raise BadInputError(f"--output {output}: no such folder: {output.parent}; make it first")
        if output.exists() and any(path.exists() and path.samefile(output) for path in images):
            raise BadInputError(f"--output {output}: is one of IMAGES and would be overwritten; expected another name")


_STATED = ("data.fits.", "data.table.", "data.image_folder=", "data.file_suffix=")


def _read_stated(overrides: Sequence[str], flags: Sequence[FlagValue]) -> tuple[DataConfig, dict[str, Any]]:
    """The data section that `--set` and flags give, and those keys of `data.fits` that they set."""
    from galaxy_exp.config.reading import parse_overrides

    for override in overrides:
        if not override.replace(" ", "").startswith(_STATED):
            raise BadInputError(
                f"--set {override}: expected data.fits.KEY=VALUE, or data.table.KEY=VALUE for a table; "
                "everything else comes from the model"
            )
    config = parse_overrides(overrides, flags).data
    return config, config.fits.model_dump(include=config.fits.model_fields_set)


def _find_files(paths: Sequence[Path], config: DataConfig) -> list[InputFile]:
    from galaxy_exp.data.inputs import find_files

    files: list[InputFile] = []
    for path in paths:
        is_list, named = str(path) == "-", [path]
        if is_list:
            named = [Path(os.fsdecode(line)) for line in sys.stdin.buffer.read().splitlines() if line.strip()]
        if not named:
            raise BadInputError("-: standard input names no file; expected a path a line")
        files += find_files(named, keep_unusable=is_list, config=config)
    return files


_WIDEST_NAME = 60
"""Characters of a file name in a line on a terminal; what follows a longer one is not aligned."""


def _longest_name(files: Sequence[InputFile]) -> int:
    names = (f"{file.path}[{file.n_images - 1}]" if file.n_images > 1 else str(file.path) for file in files)
    return min(_WIDEST_NAME, max((len(escape_unprintable(name)) for name in names), default=0))


def _identify(classifier: GalaxyClassifier, files: Sequence[InputFile], stretch: FitsConfig | None) -> RunIdentity:
    from galaxy_exp.data.inputs import digest_files
    from galaxy_exp.registry.prediction_run import RunIdentity

    return RunIdentity(
        model=classifier.uri,
        model_metadata=classifier.metadata,
        inputs=digest_files(files),
        n_images=sum(file.n_images for file in files),
        stretch=None if stretch is None else stretch.record(),
        calibrated=classifier.is_calibrated,
    )


def _reported(rows: Iterable[Row], done: int, report: Callable[[int], None]) -> Iterator[Row]:
    """Passes rows on, and reports how many are done."""
    for number, row in enumerate(rows, start=done + 1):
        yield row
        report(number)


def _summarise(count: PredictionCount, output: Path | None) -> None:
    shown = output is None and sys.stdout.isatty()
    if not shown:
        rows = "row" if count.n_rows == 1 else "rows"
        say(f"wrote {count.n_rows} {rows}{f' to {output}' if output else ''}")
    for error in () if shown else count.errors:
        say(f"unusable: {error}")
    if not shown and count.n_errors > len(count.errors):
        say(f"and {count.n_errors - len(count.errors)} more")
    if count.n_errors:
        raise UnusableImagesError(
            f"{count.n_errors} of {count.n_rows} images could not be classified"
            f"{'' if shown else '; see the column error'}"
        )
