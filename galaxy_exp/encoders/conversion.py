"""From weights of PyTorch's to an encoder: EfficientNet and ConvNeXt with timm's names, such as Zoobot's encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from galaxy_exp.encoders.architectures import ARCHITECTURES, CONVNEXTS, timm_names
from galaxy_exp.encoders.torch_layers import TorchLayers
from galaxy_exp.encoders.weight_files import WeightFile
from galaxy_exp.errors import BadInputError
from galaxy_exp.wording import did_you_mean

__all__ = ["ConversionOptions", "convert_weights"]

_STEMS = ("_conv_stem.weight", "conv_stem.weight", "stem.0.weight")
_HEADS = ("classifier.", "head.fc.", "fc.")
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_N_NAMED = 4


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """What weights do not say."""

    scaling: str
    """What the encoder was trained on: "unit", values from 0 to 1, or "imagenet", those with ImageNet's mean and
    deviation removed."""
    architecture: str | None = None
    """One of `ARCHITECTURES`; None recognises it."""
    prefix: str | None = None
    """Of the names of the encoder's tensors; None finds it."""
    image_size: int | None = None
    """Side in pixels to which images are resized; 0 leaves them as they are; None takes the architecture's."""
    channels: int | None = None
    """Of the images; None takes the encoder's. Colours are averaged for an encoder of one channel."""
    output: str = "features"
    """Or "map"."""


def convert_weights(weights: WeightFile, options: ConversionOptions) -> keras.Model:
    """A Keras model with these weights: images (n, height, width, channels), 0 to 255, to features or to a map.

    It computes in float32 what PyTorch's network without classes computes, and is called by the architecture's name.

    Raises:
        BadInputError: the weights are of an unknown architecture, lack tensors of it, have others, or of other shapes.
    """
    names = _names_within(weights, options.prefix)
    architecture = options.architecture or _recognise(weights, names)
    if architecture not in ARCHITECTURES:
        raise BadInputError(
            f"--architecture {architecture}: unknown; {did_you_mean(architecture, list(ARCHITECTURES))}"
        )
    network = ARCHITECTURES[architecture]
    n_channels = _channels_of_stem(weights, names)
    size = network.image_size if options.image_size is None else options.image_size
    if 0 < size < 32:
        raise BadInputError(f"--image-size {size}: expected 32 or more, or 0; the network halves it five times")
    layers = TorchLayers()
    images = keras.Input((None, None, options.channels or n_channels), name="images", dtype="float32")
    spatial, features = network.build(layers, _prepared(images, size, n_channels, options))
    _check_tensors(weights, names, layers.expected(), architecture)
    model = keras.Model(images, features if options.output == "features" else spatial, name=architecture)
    layers.load(lambda name: weights.read(names[name]))
    return model


def _names_within(weights: WeightFile, prefix: str | None) -> dict[str, str]:
    """The names in the file by timm's names, of the tensors of one encoder."""
    ends = [(name, stem) for name in weights.tensors for stem in _STEMS if f".{name}".endswith(f".{stem}")]
    found = sorted({name.removesuffix(stem) for name, stem in ends})
    listed = ", ".join(each.rstrip(".") or '""' for each in found)
    if prefix is not None:
        prefix = f"{prefix.rstrip('.')}." if prefix else ""
        if not any(name.startswith(prefix) for name in weights.tensors):
            raise BadInputError(
                f"{weights.path}: no tensor begins with --prefix {prefix}; encoders: {listed or 'none'}"
            )
        found = [prefix]
    if len(found) > 1:
        raise BadInputError(f"{weights.path}: has several encoders; choose one with --prefix: {listed}")
    if not found:
        raise BadInputError(
            f"{weights.path}: no tensor is called {' or '.join(_STEMS[1:])}, with any prefix, as in EfficientNet and "
            f"ConvNeXt; found {_few(sorted(weights.tensors))}"
        )
    inside = {name.removeprefix(found[0]): name for name in weights.tensors if name.startswith(found[0])}
    if _STEMS[0] in inside:
        return {timm: inside[name] for timm, name in timm_names(list(inside)).items()}
    return inside


def _recognise(weights: WeightFile, names: Mapping[str, str]) -> str:
    """The architecture with the first layer's width, and the most similar depth and parts."""
    if "conv_stem.weight" in names:
        has_squeeze = any(".se." in name for name in names)
        is_package = names["conv_stem.weight"].endswith("_conv_stem.weight")  # weights that TensorFlow trained
        return f"{'tf_' if is_package else ''}efficientnet_{'b0' if has_squeeze else 'lite0'}"
    width = _shape(weights, names, "stem.0.weight")[0]
    depth = len({name.split(".")[3] for name in names if name.startswith("stages.2.blocks.")})
    fitting = [name for name, network in CONVNEXTS.items() if network.width == width]
    if not fitting:
        known = ", ".join(f"{name} {network.width}" for name, network in CONVNEXTS.items())
        raise BadInputError(
            f"{weights.path}: unknown architecture: its first layer has {width} channels; expected one of {known}"
        )
    return min(fitting, key=lambda name: abs(CONVNEXTS[name].depths[2] - depth))


def _channels_of_stem(weights: WeightFile, names: Mapping[str, str]) -> int:
    stem = next((name for name in _STEMS if name in names), None)
    if stem is None:
        raise BadInputError(f"{weights.path}: no tensor is called {' or '.join(_STEMS[1:])} after the prefix")
    n_channels = _shape(weights, names, stem)[1]
    if n_channels not in (1, 3):
        raise BadInputError(f"{weights.path}: takes images of {n_channels:,} channels; expected 1 or 3")
    return n_channels


def _shape(weights: WeightFile, names: Mapping[str, str], name: str) -> tuple[int, ...]:
    shape = weights.tensors[names[name]].shape
    if len(shape) != 4 or 0 in shape:
        raise BadInputError(f"{weights.path}: tensor {names[name]} has the shape {shape}; expected a convolution's")
    return shape


def _prepared(images: Any, size: int, n_channels: int, options: ConversionOptions) -> Any:
    """From images of 0 to 255 to what the first convolution was trained on."""
    given = images.shape[-1]
    if given != n_channels and n_channels != 1:
        raise BadInputError(f"--channels {given}: the encoder takes {n_channels}; colours can be averaged, not made up")
    x = images
    if size:
        x = keras.layers.Resizing(size, size, dtype="float32", name="resizing")(x)
    if given != n_channels:
        x = ops.mean(x, axis=-1, keepdims=True)
    if options.scaling == "unit":
        return keras.layers.Rescaling(1 / 255, dtype="float32", name="scaling")(x)
    if n_channels != 3:
        raise BadInputError(f"--scaling imagenet: the encoder takes {n_channels} channel(s), ImageNet has 3; use unit")
    scale = [1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True)]
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="scaling")(x)


def _check_tensors(
    weights: WeightFile, names: Mapping[str, str], expected: Mapping[str, tuple[int, ...]], architecture: str
) -> None:
    lacking = [name for name in expected if name not in names]
    if lacking:
        raise BadInputError(f"{weights.path}: lacks {len(lacking)} tensor(s) of {architecture}: {_few(lacking)}")
    ignored = {name for name in names if name.startswith(_HEADS) or name.endswith(".num_batches_tracked")}
    unused = [name for name in names if name not in expected and name not in ignored]
    if unused:
        raise BadInputError(
            f"{weights.path}: has {len(unused)} tensor(s) that {architecture} has not: {_few(unused)}; "
            "expected exactly its tensors, or another --architecture"
        )
    for name, shape in expected.items():
        found = weights.tensors[names[name]].shape
        if found != shape and not (shape[-2:] == (1, 1) and found == shape[:-2]):
            raise BadInputError(
                f"{weights.path}: tensor {names[name]} has the shape {found}; {architecture} has {shape} there"
            )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_N_NAMED]) + (", ..." if len(names) > _N_NAMED else "")
