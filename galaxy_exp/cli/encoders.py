"""`galaxy-exp encoders`: make encoders, from which networks start."""

from __future__ import annotations

from pathlib import Path

import click

from galaxy_exp.cli.convert import check_new_encoder, convert_command
from galaxy_exp.cli.output import say

__all__ = ["encoders_command"]


@click.group("encoders")
def encoders_command() -> None:
    """Encoders, from which networks start: pretrain one on simulated galaxies, or convert one of PyTorch's."""


encoders_command.add_command(convert_command)


@encoders_command.command("pretrain")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.keras", help="a new file")
@click.option(
    "--images", default=24000, show_default=True, type=click.IntRange(60, 1_000_000), help="galaxies to simulate"
)
@click.option("--epochs", default=16, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="of galaxies, weights and shuffling")
@click.option("--image-size", default=69, show_default=True, type=click.IntRange(24, 512), help="side in pixels")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="a hyperparameter of galaxy-cnn as in a sweep file, e.g. space.n_blocks=5; repeatable",
)
@click.option("-q", "--quiet", is_flag=True, help="no progress, only the summary")
def pretrain_command(
    output: Path, images: int, epochs: int, seed: int, image_size: int, settings: tuple[str, ...], quiet: bool
) -> None:
    """Train a network on simulated galaxies, and write its body to FILE.keras.

    `space: {start: FILE.keras}` of a sweep file starts from it. It is trained as a sweep of one trial, named encoder:
    in MLflow with its curve, in the registry as simulated-encoder with its card. After Ctrl-C, the same command
    continues. By default it is a network like the encoder that comes with the package, `start: pretrained`, with as
    many images and epochs, but with other galaxies and other weights.

    \b
    galaxy-exp encoders pretrain -o wide.keras --images 50000 --set space.filters_1=64
    """
    from galaxy_exp.cli.sweep import print_summary
    from galaxy_exp.display import open_display
    from galaxy_exp.encoder_file import describe_encoder
    from galaxy_exp.pretraining import pretrain_encoder, pretraining_sweep

    check_new_encoder(output)
    config = pretraining_sweep(images, epochs, seed, image_size, settings)
    with open_display(quiet) as display:
        result = pretrain_encoder(config, output, observers=[display], say=display.say)
    print_summary(result)
    say(f"wrote {output}, {output.stat().st_size / 1e6:.1f} MB: {describe_encoder(output)}")
    click.echo(output)
