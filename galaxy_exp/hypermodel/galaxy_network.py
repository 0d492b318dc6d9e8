"""The layers of GalaxyCNN for one point of its space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from galaxy_exp.encoder_file import SCRATCH
from galaxy_exp.hypermodel.augmentation import AugmentationLayer, RandomAffine, RandomDihedral, RandomFlips
from galaxy_exp.hypermodel.encoders import HEAD_BEGINS, encoder_layers
from galaxy_exp.hypermodel.equivariant import EquivariantBatchNormalization, EquivariantConv2D, orientation_mean_layers
from galaxy_exp.hypermodel.galaxy_space import NetworkValues
from galaxy_exp.questions import Questions

__all__ = ["FastDropout", "build_network", "convolution_widths"]

MAX_WIDTH = 512
"""No convolution that grows from `filters_2` gets wider than this."""

NORM_MOMENTUM = 0.9
"""Of the running statistics that batch normalisation predicts with. Keras's 0.99 needs some 500 steps to come near
the true ones; with 3,000 images that is ten epochs in which validation means nothing and schedulers are misled."""

ImageShape = tuple[int, int, int]

_AUGMENTATION: dict[str, type[AugmentationLayer]] = {
    "flips": RandomFlips,
    "flips+rotations": RandomDihedral,
    "flips+rotations+shift+zoom": RandomAffine,
}


def build_network(
    values: NetworkValues,
    image_shape: ImageShape,
    n_classes: int,
    stored_encoders: Path | None = None,
    questions: Questions | None = None,
) -> keras.Sequential:
    """The uncompiled network: uint8 images (n, *image_shape) in, float32 probabilities (n, n_classes) out.

    With questions, it gives (n, n_answers): fractions, or concentrations for the Dirichlet-multinomial loss.

    Rescaling to 0..1 and the softmax compute in float32 whatever the precision, the layers between in the
    global dtype policy.
    """
    layers = [keras.Input(image_shape, dtype="uint8", name="images")]
    if values.augmentation != "none":
        layers.append(_AUGMENTATION[values.augmentation](name="augmentation"))
    if values.start == SCRATCH:
        layers.append(keras.layers.Rescaling(1.0 / 255.0, dtype="float32", name="rescaling"))
        layers += _convolution_layers(values, image_shape)
    else:
        layers += encoder_layers(
            values.start,
            values.encoder,
            image_shape,
            trainable=not values.is_frozen,
            frozen_share=values.frozen_share or 0.0,
            stored=stored_encoders,
        )
    gives_features = values.start != SCRATCH and len(layers[-1].output_shape) == 2
    layers += [FastDropout(values.dropout_1, name=HEAD_BEGINS), *_head_layers(values, gives_features)]
    if questions is None:
        layers.append(_probabilities(n_classes, "probabilities"))
        return keras.Sequential(layers, name="galaxy_cnn")
    network = keras.Sequential(layers, name="galaxy_cnn")
    network.add(_vote_head(network.output_shape[1], questions, values.loss == "dirichlet_multinomial"))
    return network


def convolution_widths(values: NetworkValues) -> list[list[int]]:
    """Filters of each convolution, block by block.

    The first two convolutions have `filters_1` and `filters_2`; a later one has `filters_2` times `width_growth`
    for each block that it is after the second convolution, rounded to a multiple of 8, at most `MAX_WIDTH`.
    A single block has the tutorial's two convolutions. Of equivariant layers all widths are rounded to multiples of 8.
    """
    per_block = 2 if values.n_blocks == 1 else values.convs_per_block or 1
    growth = values.width_growth or 1.0
    block_of_second = 0 if per_block > 1 else 1
    grown = [_grown_width(values.filters_2, growth, block - block_of_second) for block in range(values.n_blocks)]
    widths = [[width] * per_block for width in grown]
    widths[0][0] = values.filters_1
    if values.equivariant:
        return [[_multiple_of_8(width) for width in block] for block in widths]
    return widths


def _grown_width(filters: int, growth: float, blocks: int) -> int:
    if blocks <= 0:
        return filters
    return min(_multiple_of_8(filters * growth**blocks), max(MAX_WIDTH, filters))


def _multiple_of_8(width: float) -> int:
    return max(8 * math.floor(width / 8 + 0.5), 8)


def _convolution_layers(values: NetworkValues, image_shape: ImageShape) -> Iterator[keras.layers.Layer]:
    """The blocks: convolutions, the last of which is pooled, and a residual unit if there are any.

    The ReLU comes after the pooling, which computes the same numbers with a quarter of the work. Batch normalisation
    comes after the pooling too, which halves the memory of training large images (docs/performance.md).
    """
    padding = "valid" if values.n_blocks == 1 else "same"
    height, width = image_shape[:2]
    for block, widths in enumerate(convolution_widths(values), start=1):
        for index, filters in enumerate(widths, start=1):
            suffix = f"{block}_{index}"
            yield _convolution(values, filters, padding, suffix)
            lost = values.kernel_size - 1 if padding == "valid" else 0
            height, width = height - lost, width - lost
            if index == len(widths) and min(height, width) >= 2:
                yield _pooling(values, (height, width), block)
                height, width = height // 2, width // 2
            if values.batch_norm:
                yield _normalisation(values, suffix)
            yield keras.layers.Activation("relu", name=f"relu_{suffix}")
        if values.residual:
            yield _residual_unit(values, (height, width, widths[-1]), block)
    if values.equivariant:
        yield from orientation_mean_layers((height, width, widths[-1]))


def _convolution(values: NetworkValues, filters: int, padding: str, suffix: str) -> keras.layers.Layer:
    name, size, use_bias = f"conv_{suffix}", values.kernel_size, not values.batch_norm
    if values.equivariant:
        return EquivariantConv2D(filters, size, use_bias, lifts=suffix == "1_1", name=name)
    return keras.layers.Conv2D(filters, size, padding=padding, use_bias=use_bias, name=name)


def _pooling(values: NetworkValues, size: tuple[int, int], block: int) -> keras.layers.Layer:
    """Halves a map. For equivariant layers the windows are symmetric about its centre: 3 pixels on an odd side."""
    window = tuple(2 + side % 2 for side in size) if values.equivariant else 2
    return keras.layers.MaxPooling2D(window, strides=2, name=f"pool_{block}")


def _normalisation(values: NetworkValues, suffix: str) -> keras.layers.Layer:
    kind = EquivariantBatchNormalization if values.equivariant else keras.layers.BatchNormalization
    return kind(momentum=NORM_MOMENTUM, name=f"norm_{suffix}")


def _residual_unit(values: NetworkValues, shape: ImageShape, block: int) -> keras.Model:
    """A map plus its convolution (He et al. 2016, arXiv:1512.03385, section 3.2), then ReLU; the shape stays.

    It works on the pooled map, a quarter of the numbers, and so costs less than a second convolution of the block; see
    docs/performance.md.
    """
    maps = keras.Input(shape, dtype=keras.config.dtype_policy().compute_dtype, name=f"map_{block}")
    change = _convolution(values, shape[-1], "same", f"{block}_residual")(maps)
    if values.batch_norm:
        change = _normalisation(values, f"{block}_residual")(change)
    total = keras.layers.Add(name=f"add_{block}")([maps, change])
    activation = keras.layers.Activation("relu", name=f"relu_{block}_residual")
    return keras.Model(maps, activation(total), name=f"residual_{block}")


def _head_layers(values: NetworkValues, gives_features: bool) -> Iterator[keras.layers.Layer]:
    """From a map, or from the features of an encoder that gives such, to what the outputs are computed from."""
    if not gives_features and values.head == "gap":
        yield keras.layers.GlobalAveragePooling2D(name="average")
    elif not gives_features:
        yield keras.layers.Flatten(name="flatten")
    if values.dense_width:
        yield keras.layers.Dense(values.dense_width, activation="relu", name="dense")
    yield FastDropout(values.dropout_2, name="dropout_2")


def _probabilities(n: int, name: str) -> keras.layers.Dense:
    return keras.layers.Dense(n, activation="softmax", dtype="float32", name=name)


def _vote_head(n_features: int, questions: Questions, has_concentrations: bool) -> keras.Model:
    """Features to (n, n_answers), by a softmax for each question; a network of Keras's own layers within the network.

    With concentrations, the fractions of a question are multiplied by their sum, which the network states between
    e and e^7: always above 1, unlike that of fractions. With the 1 to 101 for each answer of Walmsley et al. 2022
    (arXiv:2102.08414, section 3.2), no answer could be rarer than one in the sum.
    """
    features = keras.Input((n_features,), dtype="float32", name="features")
    outputs = []
    for number, question in enumerate(questions.items, start=1):
        answers = _probabilities(len(question.answers), f"fractions_{number}")(features)
        if has_concentrations:
            bounded = keras.layers.Dense(1, activation="tanh", dtype="float32", name=f"sureness_{number}")(features)
            logarithm = keras.layers.Rescaling(3.0, 4.0, dtype="float32", name=f"logarithm_{number}")(bounded)
            total = keras.layers.Activation("exponential", dtype="float32", name=f"concentration_{number}")(logarithm)
            answers = keras.layers.Multiply(dtype="float32", name=f"concentrations_{number}")([answers, total])
        outputs.append(answers)
    together = keras.layers.Concatenate(dtype="float32", name="answers")(outputs) if len(outputs) > 1 else outputs[0]
    return keras.Model(features, together, name="votes")


@keras.saving.register_keras_serializable("galaxy_exp")
class FastDropout(keras.layers.Dropout):  # type: ignore[misc]
    """`keras.layers.Dropout`, several times faster on TensorFlow; an exported model has Keras's own in its place.

    Each element gets 8 random bits if the rate is a multiple of 1/256, else 16, which meet any rate within 1/131,072,
    in place of a random number in 0..1.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Inputs of any shape to the same shape and dtype."""
        is_fast = keras.backend.backend() == "tensorflow" and self.noise_shape is None
        if not training or self.rate == 0 or not is_fast:
            return super().call(inputs, training=training)
        import tensorflow as tf

        bits = tf.uint8 if (self.rate * 256).is_integer() else tf.uint16
        levels = 256**bits.size
        dropped = min(max(round(self.rate * levels), 1), levels - 1)
        n_elements = tf.size(inputs)
        words = tf.random.stateless_uniform(
            (-(-n_elements // (4 // bits.size)),),
            seed=self.seed_generator.next(),
            minval=None,
            maxval=None,
            dtype=tf.int32,
        )
        drawn = tf.reshape(tf.bitcast(words, bits), (-1,))[:n_elements]
        is_kept = tf.reshape(drawn >= tf.constant(dropped, bits), tf.shape(inputs))
        return inputs * (tf.cast(is_kept, inputs.dtype) * tf.cast(levels / (levels - dropped), inputs.dtype))
