"""Networks beside GalaxyCNN: those of benchmarks/blocks.py, with one part exchanged, and another order or `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from galaxy_exp.hypermodel.augmentation import RandomAffine, RandomDihedral
from galaxy_exp.hypermodel.batches import Batches, class_weights
from galaxy_exp.hypermodel.equivariant import (
    EquivariantBatchNormalization,
    EquivariantConv2D,
    orientation_mean_layers,
)
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.galaxy_network import NORM_MOMENTUM, FastDropout
from galaxy_exp.hypermodel.galaxy_space import declare_hyperparameters
from galaxy_exp.hypermodel.on_device import fit_batches
from galaxy_exp.hypermodel.optimizers import build_optimizer, cosine_schedule
from galaxy_exp.hypermodel.scoring import MacroF1, build_loss

if TYPE_CHECKING:
    from benchmarks.blocks import Recipe

__all__ = ["BlockCNN", "MeanWeights", "MixedBatches", "NormFirstCNN", "PlainFitCNN", "build_network"]

SQUEEZE = 16
"""Squeeze-excite narrows the channels by this factor (Hu et al. 2018, arXiv:1709.01507)."""

Tensor = Any
Step = Callable[[Tensor], Tensor]


class BlockCNN(GalaxyCNN):
    """GalaxyCNN's training of a network with a part exchanged."""

    def __init__(self, image_shape: Sequence[int], n_classes: int, recipe: Recipe) -> None:
        super().__init__(image_shape, n_classes)
        self.recipe = recipe

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled network; see `GalaxyCNN.build`."""
        values = self.read(hp)
        model = build_network(self.recipe, self.image_shape, self.n_classes, values.dropout_2)
        if self.recipe.mixup:
            model.compile(optimizer=build_optimizer(values), loss="categorical_crossentropy")
        else:
            self.compile_network(hp, model, build_optimizer(values))
        return model

    def fit(
        self, hp: Any, model: Any, x: Any, y: Any, *, epochs: int = 1, seed: int | None = None, **kwargs: Any
    ) -> Any:
        """As `GalaxyCNN.fit`, on mixed images if the recipe says so."""
        if not self.recipe.mixup:
            return super().fit(hp, model, x, y, epochs=epochs, seed=seed, **kwargs)
        values = self.read(hp)
        is_within = self.recipe.mixup == "within"
        batches = MixedBatches(x, y, values.batch_size, seed or 0, self.n_classes, is_within)
        model.optimizer.learning_rate = cosine_schedule(values.learning_rate, epochs * len(batches))
        return fit_batches(model, batches, epochs=epochs, **kwargs)


def build_network(recipe: Recipe, image_shape: Sequence[int], n_classes: int, dropout: float = 0.3) -> keras.Model:
    """The uncompiled network: uint8 images (n, height, width, 3) in, float32 probabilities (n, n_classes) out."""
    images = keras.Input(tuple(image_shape), dtype="uint8")
    augment = RandomAffine if recipe.affine else RandomDihedral
    x = layers.Rescaling(1 / 255, dtype="float32")(augment()(images))
    for block, width in enumerate(recipe.widths):
        x = _block(recipe, width, is_first=block == 0)(x)
    x = FastDropout(dropout)(_features(recipe, x))
    return keras.Model(images, layers.Dense(n_classes, activation="softmax", dtype="float32")(x))


def _block(recipe: Recipe, width: int, is_first: bool) -> Step:
    convolve = _convolution(recipe, is_first)

    def block(x: Tensor) -> Tensor:
        x = convolve(width)(x)
        if recipe.pool == "relu, average":
            x = layers.Activation("relu")(_norm(recipe)(x))
            return layers.AveragePooling2D(2)(x)
        x = layers.Activation("relu")(_norm(recipe)(_pool(recipe.pool)(x)))
        if recipe.second:
            inner = _norm(recipe)(_convolution(recipe, False)(width)(x))
            x = layers.Activation("relu")(layers.Add()([x, inner]) if recipe.second == "residual" else inner)
        return _squeeze_excite(x) if recipe.squeeze_excite else x

    return block


def _convolution(recipe: Recipe, is_first: bool) -> Callable[[int], layers.Layer]:
    if recipe.equivariant:
        return lambda width: EquivariantConv2D(width, 3, use_bias=False, lifts=is_first)
    kind = layers.SeparableConv2D if recipe.separable and not is_first else layers.Conv2D
    return lambda width: kind(width, 3, padding="same", use_bias=False)


def _norm(recipe: Recipe) -> layers.Layer:
    kind = EquivariantBatchNormalization if recipe.equivariant else layers.BatchNormalization
    return kind(momentum=NORM_MOMENTUM)


def _pool(kind: str) -> Step:
    def pool(x: Tensor) -> Tensor:
        if kind == "average":
            return layers.AveragePooling2D(2)(x)
        if kind == "blur":  # Zhang 2019, arXiv:1904.11486: the maximum at every place, a triangle filter, every other
            x = layers.AveragePooling2D(2, strides=1)(layers.MaxPooling2D(2, strides=1, padding="same")(x))
            return layers.AveragePooling2D(2)(x)
        return layers.MaxPooling2D(3 if kind == "centred" and x.shape[1] % 2 else 2, strides=2)(x)

    return pool


def _squeeze_excite(x: Tensor) -> Tensor:
    width = x.shape[-1]
    gate = layers.Dense(max(width // SQUEEZE, 4), activation="relu")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Dense(width, activation="sigmoid")(gate)
    return layers.Multiply()([x, layers.Reshape((1, 1, width))(gate)])


def _features(recipe: Recipe, x: Tensor) -> Tensor:
    """The map to features (n, channels)."""
    if recipe.equivariant:
        for layer in orientation_mean_layers(x.shape[1:]):
            x = layer(x)
    average = layers.GlobalAveragePooling2D()(x)
    return layers.Concatenate()([average, layers.GlobalMaxPooling2D()(x)]) if recipe.average_and_max else average


class MixedBatches(Batches):
    """Each image mixed with another of its batch (Zhang et al. 2018, arXiv:1710.09412), and labels in proportion.

    Args:
        is_within: mix images of the same class only, so that no label changes.
    """

    def __init__(self, images: Any, labels: Any, batch_size: int, seed: int, n_classes: int, is_within: bool) -> None:
        self._n_classes, self._is_within, self._mix_seed = n_classes, is_within, seed
        super().__init__(images, labels, batch_size, seed=seed)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        """uint8 images, and float32 (n, n_classes)."""
        images, labels = super().__getitem__(index)
        rng = np.random.default_rng((self._mix_seed, self._epoch + 1, index))
        partners = rng.permutation(len(labels))
        if self._is_within:
            partners = np.array([rng.choice(np.flatnonzero(labels == label)) for label in labels])
        share = rng.beta(0.2, 0.2, len(labels)).astype(np.float32)
        part = share[:, None, None, None]
        mixed = np.rint(part * images + (1 - part) * images[partners]).astype(np.uint8)
        known = np.eye(self._n_classes, dtype=np.float32)[labels]
        return mixed, share[:, None] * known + (1 - share[:, None]) * known[partners]


class MeanWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """The exponential moving averages of a network's weights, as `use_ema` of Keras's optimizers computes them.

    Args:
        momenta: one average for each.
    """

    def __init__(self, momenta: Sequence[float]) -> None:
        super().__init__()
        self._momenta = momenta
        self.means: dict[float, list[NDArray[np.float32]]] = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves each average towards the weights; it begins with those after the first step."""
        now = [ops.convert_to_numpy(variable) for variable in self.model.trainable_variables]
        if not self.means:
            self.means = {momentum: [value.copy() for value in now] for momentum in self._momenta}
        for momentum, means in self.means.items():
            for mean, value in zip(means, now, strict=True):
                mean += (1 - momentum) * (value - mean)

    def put(self, momentum: float) -> None:
        """Gives the network the average."""
        for variable, mean in zip(self.model.trainable_variables, self.means[momentum], strict=True):
            variable.assign(mean)


class NormFirstCNN(GalaxyCNN):
    """As GalaxyCNN, with pooling moved behind the ReLU of its block."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Sequential:
        """The compiled network; see `GalaxyCNN.build`."""
        values = declare_hyperparameters(hp)
        layers = pool_last(super().build(hp).layers)
        model = keras.Sequential([keras.Input(self.image_shape, dtype="uint8"), *layers], name="norm_first_cnn")
        model.compile(
            optimizer=build_optimizer(values),
            loss=build_loss(values.label_smoothing),
            metrics=["accuracy", MacroF1(self.n_classes)],
            jit_compile=keras.backend.backend() == "jax",
        )
        return model


def pool_last(layers: Iterable[keras.layers.Layer]) -> Iterator[keras.layers.Layer]:
    """Fresh copies of the layers, each pooling behind the next activation."""
    waiting = None
    for layer in layers:
        if isinstance(layer, keras.layers.MaxPooling2D):
            waiting = layer
            continue
        yield type(layer).from_config(layer.get_config())
        if waiting is not None and isinstance(layer, keras.layers.Activation):
            yield type(waiting).from_config(waiting.get_config())
            waiting = None


class PlainFitCNN(GalaxyCNN):
    """GalaxyCNN trained as by hand: all images in memory, given to `model.fit` as NumPy arrays.

    It draws no classes evenly, so leave `class_weighting: sampling` out.
    """

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, x: NDArray[Any], y: NDArray[Any], **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains with the batch size, schedule and class weights in `hp`, in an order that Keras draws."""
        values = declare_hyperparameters(hp)
        weights = class_weights(y, self.n_classes, values.class_weighting)
        if values.schedule == "cosine":
            steps = kwargs["epochs"] * -(-len(y) // values.batch_size)
            model.optimizer.learning_rate = cosine_schedule(float(model.optimizer.learning_rate), steps)
        kwargs = {name: value for name, value in kwargs.items() if name not in ("seed", "validation_data")}
        sample_weight = None if weights is None else weights[y]
        return model.fit(np.array(x), y, batch_size=values.batch_size, sample_weight=sample_weight, **kwargs)
