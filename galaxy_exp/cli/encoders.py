"""`galaxy-exp encoders`: make encoders, from which networks start."""

from __future__ import annotations

from pathlib import Path

import click

from galaxy_exp.cli.options import quiet_option, set_option
from galaxy_exp.cli.output import say, writing
from galaxy_exp.encoder_file import EXPECTED_DESCRIPTION, describe_encoder, file_sha256, is_description
from galaxy_exp.errors import BadInputError, one_line

__all__ = ["encoders_command"]


@click.group("encoders")
def encoders_command() -> None:
    """Encoders, from which networks start: pretrain or convert one."""


@encoders_command.command("pretrain")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.keras", help="a new file")
@click.option(
    "--images", default=24000, show_default=True, type=click.IntRange(60, 1_000_000), help="galaxies to simulate"
)
@click.option("--epochs", default=16, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="of galaxies, weights and shuffling")
@click.option("--image-size", default=69, show_default=True, type=click.IntRange(24, 512), help="side in pixels")
@set_option("a hyperparameter of galaxy-cnn as in a sweep file, e.g. space.n_blocks=5; repeatable", "KEY.PATH=VALUE")
@quiet_option
def pretrain_command(
    output: Path, images: int, epochs: int, seed: int, image_size: int, overrides: tuple[str, ...], quiet: bool
) -> None:
    """Train a network on simulated galaxies and keep its body.

    The body is written to FILE.keras; `space: {start: FILE.keras}` of a sweep file starts from it. The network is
    trained as a sweep of one trial, named encoder: in MLflow with its curve, in the registry as simulated-encoder with
    its card. After Ctrl-C, the same command continues. By default it is like the encoder that comes with the package,
    `start: pretrained`: as many images and epochs, but other galaxies and other weights.

    \b
    galaxy-exp encoders pretrain -o wide.keras --images 50000 --set space.filters_1=64
    """
    from galaxy_exp.cli.sweep import print_summary
    from galaxy_exp.display import open_display
    from galaxy_exp.pretraining import pretrain_encoder, pretraining_sweep

    _check_new_encoder(output)
    config = pretraining_sweep(images, epochs, seed, image_size, overrides)
    with open_display(quiet) as display:
        result = pretrain_encoder(config, output, observers=[display], say=display.say)
    print_summary(result)
    say(f"wrote {output}, {output.stat().st_size / 1e6:.1f} MB: {describe_encoder(output)}")
    click.echo(output)


@encoders_command.command("convert")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.keras")
@click.option(
    "--scaling",
    required=True,
    type=click.Choice(["unit", "imagenet"]),
    help="what it was trained on: values from 0 to 1 (Zoobot), or those with ImageNet's mean and deviation removed",
)
@click.option("--architecture", metavar="NAME", help="timm's name, such as efficientnet_b0; default: recognised")
@click.option("--prefix", metavar="TEXT", help="prefix of tensors' names, such as encoder; default: found")
@click.option(
    "--image-size",
    type=click.IntRange(0, 2048),
    metavar="PIXELS",
    help="side to which the encoder resizes images; 0 leaves them as they are; default: the architecture's, 224",
)
@click.option(
    "--channels",
    type=click.Choice(["1", "3"]),
    help="of the images; 3 averages the colours for an encoder of 1; default: the encoder's",
)
@click.option(
    "--to",
    "output_kind",
    default="features",
    show_default=True,
    type=click.Choice(["features", "map"]),
    help="features of the whole image, or a map of features at 1/32 of the image's size",
)
@click.option("--trained-on", metavar="TEXT", help="for the cards of the models that start from it: one line")
def convert_command(
    weights: Path,
    output: Path,
    scaling: str,
    architecture: str | None,
    prefix: str | None,
    image_size: int | None,
    channels: str | None,
    output_kind: str,
    trained_on: str | None,
) -> None:
    """Convert PyTorch weights, such as Zoobot's, to an encoder.

    WEIGHTS is a state dictionary of timm's EfficientNet-B0 or ConvNeXt as .safetensors, or as torch.save writes it
    (.pth, .pt, .ckpt, .bin). Only tensors are read, nothing in the file is executed, and PyTorch is not needed. `space:
    {start: FILE.keras}` of a sweep file starts from the encoder. Whether the weights' licence allows your use is for
    you to check; the page "Convert PyTorch encoders" says more.

    \b
    galaxy-exp encoders convert pytorch_model.bin -o zoobot.keras --scaling unit
    galaxy-exp encoders convert finetuned.ckpt -o mine.keras --scaling unit --prefix encoder --image-size 128
    """
    from galaxy_exp.encoders.weight_files import open_weights

    _check_new_encoder(output)
    if not is_description(trained_on or ""):
        raise BadInputError(f"--trained-on: {EXPECTED_DESCRIPTION}")
    opened = open_weights(weights)  # before the seconds in which Keras is imported
    say(f"{weights}: {len(opened.tensors)} tensors")

    from galaxy_exp.encoders.conversion import ConversionOptions, convert_weights
    from galaxy_exp.hypermodel.encoders import write_encoder

    options = ConversionOptions(
        scaling, architecture, prefix, image_size, None if channels is None else int(channels), output_kind
    )
    encoder = convert_weights(opened, options)
    card = {
        "trained_on": trained_on or f"unknown images ({one_line(weights.name)[:100]})",
        "architecture": encoder.name,
        "scaling": scaling,
        "weights": weights.name,
        "weights_sha256": file_sha256(weights),
    }
    with writing(output):
        write_encoder(encoder, output, card)
    shape = " x ".join("?" if side is None else str(side) for side in encoder.output_shape[1:])
    say(f"wrote {output}: {encoder.name}, {encoder.count_params():,} parameters, {output_kind} {shape}")
    say(f"its identity in sweeps: {describe_encoder(output)}")
    click.echo(output)


def _check_new_encoder(output: Path) -> None:
    """Raises BadInputError unless an encoder can be written there: a new file, called .keras, in a folder."""
    if output.suffix != ".keras":
        raise BadInputError(f"--output {output}: expected a name ending in .keras")
    if output.exists():
        raise BadInputError(f"{output}: exists already; expected a new name")
    if not output.parent.is_dir():
        raise BadInputError(f"--output {output}: no such folder: {output.parent}")
