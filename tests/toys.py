"""Hypermodels that train in moments, and some that misbehave; sweep files in tests name them as `toys:...`."""

import os
import signal
import sys
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np


class TinyHyperModel(keras_tuner.HyperModel):
    """A few dozen weights on strongly shrunk images, with one conditional hyperparameter."""

    def __init__(self, image_shape, n_classes):
        super().__init__()
        self.image_shape = image_shape
        self.n_classes = n_classes

    def build(self, hp):
        model = keras.Sequential(
            [
                keras.Input(self.image_shape, dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.AveragePooling2D(6),
                keras.layers.Flatten(),
            ]
        )
        hidden = hp.Boolean("hidden", default=True)
        with hp.conditional_scope("hidden", [True]):
            units = hp.Int("units", 2, 32, default=8)
            if hidden:
                model.add(keras.layers.Dense(units, activation="relu"))
        model.add(keras.layers.Dense(self.n_classes, activation="softmax"))
        optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


class MoodyHyperModel(TinyHyperModel):
    """Does what the hyperparameter `mood` says; declares everything, as no sweep is to build it in all moods."""

    declares_everything = True

    def declare_hyperparameters(self, hp):
        hp.Choice("mood", ["fine", "raise", "diverge", "suicide", "segfault", "raise_until_mended"], default="fine")
        super().build(hp)

    def build(self, hp):
        mood = hp.get("mood")
        model = super().build(hp)
        if mood == "raise":
            raise RuntimeError("a bad day\nwith a second line")
        if mood == "suicide":
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if mood == "raise_until_mended" and not Path("mended").exists():
            raise RuntimeError("not mended yet")
        if mood == "diverge":
            layer = model.layers[-1]
            layer.set_weights([np.full_like(weights, np.nan) for weights in layer.get_weights()])
        return model


class OwnFitHyperModel(TinyHyperModel):
    """Declares hyperparameters in its `fit` too; with `quick` it trains an epoch less than it is asked for."""

    def build(self, hp):
        hp.Boolean("quick")
        return super().build(hp)

    def fit(self, hp, model, *args, **kwargs):
        size = hp.Choice("batch_size", [16, 32, 64], default=32)
        kind = hp.Choice("order", ["random", "fixed"])
        with hp.conditional_scope("order", ["random"]):
            hp.Int("buffer", 1, 2**31 - 1, sampling="log")
        kwargs["epochs"] -= hp.get("quick")
        return model.fit(*args, batch_size=size, shuffle=kind == "random", **kwargs)


class PreparingHyperModel(TinyHyperModel):
    """Does something for a second before it trains."""

    def fit(self, hp, model, *args, **kwargs):
        time.sleep(1)
        return super().fit(hp, model, *args, **kwargs)


class UnbuildableHyperModel(TinyHyperModel):
    """Cannot be built with its defaults, or only in one branch."""

    def build(self, hp):
        if hp.Choice("size", ["huge", "small"]) == "huge":
            raise keras_tuner.errors.FailedTrialError("network\ntoo large")
        return super().build(hp)


class TalkativeHyperModel(TinyHyperModel):
    """Prints while it builds, from Python and past it."""

    def build(self, hp):
        print("said on stdout")
        print("said on stderr", file=sys.stderr)
        os.write(1, b"written to descriptor 1\n")
        return super().build(hp)


NOT_A_HYPERMODEL = 3
