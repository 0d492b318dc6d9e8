"""`galaxy-exp predict`: the registered model on files, folders and HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from galaxy_exp.cli.output import say, uri_option
from galaxy_exp.errors import BadInputError

__all__ = ["predict_command"]


@click.command("predict")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="a .csv or .json file; left out: CSV on stdout")
@click.option(
    "--model", default="galaxy10-cnn", show_default=True, help="registered name (its champion), or a model URI"
)
@click.option("--alias", default="champion", show_default=True, help="which version, with a registered name")
@click.option("--batch-size", default=256, show_default=True, type=click.IntRange(min=1), help="images held at a time")
@uri_option
def predict_command(
    images: tuple[Path, ...], output: Path | None, model: str, alias: str, batch_size: int, uri: str | None
) -> None:
    """Classify IMAGES: PNG, JPEG or TIFF files, folders of them, .h5 or .npz files with `images`.

    Images of another size than the model's are centre-cropped to its aspect ratio and resized; those under
    half its size are refused. An image that cannot be used gets a row with the reason and does not stop
    the others.
    """
    output_format = _format_of(output)
    from galaxy_exp.data.inputs import iter_images

    batches = iter_images(images, batch_size)  # a wrong path is told before TensorFlow is imported
    from galaxy_exp.quiet import import_keras_quietly

    import_keras_quietly()
    from galaxy_exp.registry.champion import load_model
    from galaxy_exp.registry.prediction import predict_to_rows, write_predictions

    classifier = load_model(model, alias, uri)
    say(f"model: {classifier.uri}")
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
