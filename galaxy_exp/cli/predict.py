"""`galaxy-exp predict`: the registered model on files, folders and HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from galaxy_exp.cli.output import say, uri_option
from galaxy_exp.errors import BadInputError

__all__ = ["predict_command"]


@click.command("predict")
@click.argument("images", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="a .csv or .json file; left out: CSV on stdout")
@click.option(
    "--model", default="galaxy10-cnn", show_default=True, help="registered name (its champion), or a model URI"
)
@click.option("--alias", default="champion", show_default=True, help="which version, with a registered name")
@click.option("--batch-size", default=256, show_default=True, type=click.IntRange(min=1), help="images held at a time")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="data.fits.KEY=VALUE",
    help="how FITS files are read, as in a sweep file; left out: as in the model's training",
)
@uri_option
def predict_command(
    images: tuple[Path, ...],
    output: Path | None,
    model: str,
    alias: str,
    batch_size: int,
    overrides: tuple[str, ...],
    uri: str | None,
) -> None:
    """Classify IMAGES: PNG, JPEG, TIFF or FITS files, folders of them, .h5 or .npz files with `images`.

    Images of another size than the model's are centre-cropped to its aspect ratio and resized; those under
    half its size are refused. An image that cannot be used gets a row with the reason and does not stop
    the others.

    FITS files are read with the stretch that the model was trained with. A model that was trained on 8-bit images
    has none and refuses FITS files, unless a stretch is stated: --set data.fits.stretch=asinh.
    """
    output_format = _format_of(output)
    stated = _read_stated(overrides)
    from galaxy_exp.data.inputs import find_files, first_fits_file, iter_images

    files = find_files(images)  # a wrong path is told before TensorFlow is imported
    from galaxy_exp.quiet import import_keras_quietly

    import_keras_quietly()
    from galaxy_exp.registry.champion import load_model
    from galaxy_exp.registry.prediction import choose_stretch, predict_to_rows, write_predictions

    classifier = load_model(model, alias, uri)
    say(f"model: {classifier.uri}")
    fits_file = first_fits_file(files)
    stretch = choose_stretch(classifier.fits, stated, fits_file, classifier.uri) if fits_file else None
    batches = iter_images(files, batch_size, stretch)
    count = write_predictions(predict_to_rows(classifier, batches), output, output_format)
    where = f" to {output}" if output else ""
    failed = f", {count.n_errors} of them unusable (see the column error)" if count.n_errors else ""
    say(f"wrote {count.n_rows} rows{where}{failed}")


def _format_of(output: Path | None) -> Literal["csv", "json"]:
    if output is None or output.suffix == ".csv":
        return "csv"
    if output.suffix == ".json":
        return "json"
    raise BadInputError(f"--output {output}: expected a name ending in .csv or .json")


def _read_stated(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The keys of `data.fits` that `--set` gives, and no others."""
    if not overrides:
        return {}
    from galaxy_exp.config.reading import parse_overrides

    for override in overrides:
        if not override.strip().startswith("data.fits."):
            raise BadInputError(
                f"--set {override}: expected data.fits.KEY=VALUE; predict takes all else from the model"
            )
    fits = parse_overrides(overrides).data.fits
    return fits.model_dump(include=fits.model_fields_set)
