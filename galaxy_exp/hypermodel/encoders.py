"""Encoders: a trained model from a file as the body of GalaxyCNN."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from galaxy_exp.encoder_file import check_classes, describe_encoder, find_encoder, pack_encoder
from galaxy_exp.errors import ConfigError, reason_of
from galaxy_exp.hypermodel.equivariant import restore_equivariant_layers, weighted_layers

__all__ = [
    "ENCODER_LAYER",
    "HEAD_BEGINS",
    "check_encoder",
    "cut_encoder",
    "encoder_layers",
    "load_encoder",
    "write_encoder",
]

ENCODER_LAYER = "encoder"
"""Name of the layer of GalaxyCNN that is the encoder, a model."""

HEAD_BEGINS = "dropout_1"
"""Name of the first layer of GalaxyCNN after its body."""

_IN_FLOAT32 = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.Resizing)
"""Layers on raw values, which bfloat16 would round to 8 bits."""


def check_encoder(start: str, image_shape: tuple[int, int, int]) -> tuple[str, int]:
    """Checks that a network for such images can start from this encoder.

    Returns:
        Its identity, see `describe_encoder`, and the number of dimensions of its output: 2 of features, 4 of a map.

    Raises:
        ConfigError: no network can; one line.
    """
    identity = describe_encoder(find_encoder(start))
    encoder = load_encoder(start)
    _refuse_broken_weights(start, encoder)
    _needs_grey_repeated(start, encoder, image_shape)
    height, width, channels = (*_input_size(encoder, image_shape), encoder.input_shape[-1])
    taken = f"images of {image_shape[0]}x{image_shape[1]} pixels"
    try:
        output = encoder(keras.KerasTensor((None, height, width, channels)))
    except Exception as error:  # its layers can raise anything
        raise ConfigError(f"start: {start} cannot take {taken}: {reason_of(error)}") from error
    shape = getattr(output, "shape", None)
    if shape is None:
        raise ConfigError(f"start: {start}: its output is a {type(output).__name__}; expected one array")
    if not all(shape[1:]) or min(shape[1:]) < 1:
        raise ConfigError(f"start: {start} cannot take {taken}: its output is {shape}; expected sizes of at least 1")
    return identity, len(shape)


def _refuse_broken_weights(start: str, encoder: keras.Model) -> None:
    """Refuses weights that are NaN or infinite: on a processor a ReLU makes 0 of them, and training continues."""
    for variable in encoder.variables:
        values = keras.ops.convert_to_numpy(variable)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise ConfigError(
                f"start: {start}: its weights {variable.path} are NaN or infinite; expected a model whose training "
                "went well"
            )


def load_encoder(start: str, identity: str | None = None, stored: Path | None = None) -> keras.Model:
    """The model of a file, named "encoder"; nothing in the file is executed.

    A model whose layers are all in float32, as Keras saves one by default, computes in the global precision, but for
    layers on raw values. If any layer has another precision, its author chose them all, and they stay.

    Args:
        start: `pretrained`, or the name of a `.keras` file.
        identity, stored: see `find_encoder`.

    Raises:
        ConfigError: one line: there is no such file, it is another one than expected, it is no Keras model, or no model
            from images (n, height, width, channels) to a map (n, height, width, channels) or features (n, channels).
    """
    path = find_encoder(start, identity, stored)
    check_classes(path)
    try:
        encoder = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file can raise anything
        raise ConfigError(f"start: {path}: no Keras model that loads in safe mode: {reason_of(error)}") from error
    _check_shapes(path, encoder)
    _use_global_precision(path, encoder)
    encoder.name = ENCODER_LAYER
    return encoder


def _use_global_precision(path: Path, encoder: keras.Model) -> None:
    policy = keras.config.dtype_policy()
    without_policy = (keras.Model, keras.layers.InputLayer)
    layers = [each for each in encoder._flatten_layers(include_self=False) if not isinstance(each, without_policy)]
    if policy.name == "float32" or any(layer.dtype_policy.name != "float32" for layer in layers):
        return
    for layer in layers:
        if isinstance(layer, _IN_FLOAT32):
            continue
        try:
            layer.dtype_policy = policy
        except Exception as error:  # a layer can raise anything
            problem = f"start: {path}: its layer {layer.name} does not compute in {policy.name}: {reason_of(error)}"
            raise ConfigError(problem) from error


def encoder_layers(
    start: str,
    identity: str | None,
    image_shape: tuple[int, int, int],
    *,
    trainable: bool,
    frozen_share: float = 0.0,
    stored: Path | None = None,
) -> Iterator[keras.layers.Layer]:
    """The layers from images of any dtype, values from 0 to 255, to the encoder's output.

    Images of another size are resized to that of the encoder; one channel is repeated if it takes three.

    Args:
        trainable: False: the encoder is frozen, and its dropout and random layers do nothing, as in inference. True:
            layers that its file has frozen stay so, and an encoder that was trained as an equivariant network is
            trained further as one.
        frozen_share: the share of the layers with weights that are not trained, counted from the images and rounded to
            whole layers. Only with `trainable`.
        identity, stored: see `find_encoder`.
    """
    encoder = load_encoder(start, identity, stored)
    if trainable:
        encoder = restore_equivariant_layers(encoder) or encoder
        layers = weighted_layers(encoder)
        for layer in layers[: round(frozen_share * len(layers))]:
            layer.trainable = False
    else:
        _freeze(encoder)
    yield keras.layers.Rescaling(1.0, dtype="float32", name="as_float32")
    if _needs_grey_repeated(start, encoder, image_shape):
        grey = keras.Input(image_shape, name="grey")
        colours = keras.layers.Concatenate(dtype="float32", name="repeat")([grey] * 3)
        yield keras.Model(grey, colours, name="grey_to_colours")
    size = _input_size(encoder, image_shape)
    if size != image_shape[:2]:
        yield keras.layers.Resizing(*size, dtype="float32", name="encoder_size")
    yield encoder


def _freeze(encoder: keras.Model) -> None:
    encoder.trainable = False
    call = encoder.call

    def call_in_inference(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return call(inputs, training=False, mask=mask)

    encoder.call = call_in_inference


def _input_size(encoder: keras.Model, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """(height, width) of the images that it gets: its own, and that of the images where it has none."""
    height, width = encoder.input_shape[1:3]
    return height or image_shape[0], width or image_shape[1]


def write_encoder(encoder: keras.Model, path: Path, card: Mapping[str, Any]) -> None:
    """Writes an encoder with its card: equal weights and cards give equal files.

    Args:
        path: of the `.keras` file; an existing one is replaced when the new one is complete.
        card: `trained_on` in words, which stands in the cards of the networks that start from it, and any other facts.

    Raises:
        ConfigError: it is no encoder; see `load_encoder`.
    """
    _check_shapes(path, encoder)
    with tempfile.TemporaryDirectory(prefix="galaxy_exp_encoder_") as folder:
        saved = Path(folder, "encoder.keras")
        encoder.save(saved)
        pack_encoder(saved, path, card)


def cut_encoder(model_file: Path, path: Path, card: Mapping[str, Any]) -> None:
    """Writes the body of a trained GalaxyCNN, all layers before its head, as an encoder; see `write_encoder`.

    `model_file` is as a trial leaves it, in float32 and without augmentation.
    """
    model = keras.saving.load_model(model_file, compile=False, safe_mode=True)
    names = [layer.name for layer in model.layers]
    body = model.layers[: names.index(HEAD_BEGINS)]
    encoder = keras.Sequential([keras.Input(model.input_shape[1:], name="images"), *body], name=ENCODER_LAYER)
    encoder.trainable = True  # one that was frozen here may be trained where it is used
    write_encoder(encoder, path, card)


def _check_shapes(path: Path, encoder: Any) -> None:
    inputs, outputs = (getattr(encoder, name, None) or [] for name in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConfigError(f"start: {path}: {len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
    if len(inputs[0].shape) != 4 or inputs[0].shape[-1] not in (1, 3):
        raise ConfigError(
            f"start: {path}: its input is {inputs[0].shape}; expected images (n, height, width, 1 or 3 channels)"
        )
    if len(outputs[0].shape) not in (2, 4) or outputs[0].shape[-1] is None:
        raise ConfigError(
            f"start: {path}: its output is {outputs[0].shape}; expected a map (n, height, width, channels) or features "
            "(n, channels)"
        )


def _needs_grey_repeated(start: str, encoder: keras.Model, image_shape: tuple[int, int, int]) -> bool:
    """Whether the images have one channel and the encoder takes three."""
    expected, found = encoder.input_shape[-1], image_shape[-1]
    if expected == found:
        return False
    if (found, expected) == (1, 3):
        return True
    raise ConfigError(f"start: {start} takes images of {expected} channel(s), and the images have {found}")
