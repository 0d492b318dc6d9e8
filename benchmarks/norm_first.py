"""GalaxyCNN with the order of layers that textbooks have: convolution, normalisation, ReLU, pooling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import keras_tuner

from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.hypermodel.galaxy_space import declare_hyperparameters
from galaxy_exp.hypermodel.optimizers import build_optimizer
from galaxy_exp.hypermodel.scoring import MacroF1, build_loss

__all__ = ["NormFirstCNN"]


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
