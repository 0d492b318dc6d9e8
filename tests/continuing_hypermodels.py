"""Hypermodels whose trials continue from a checkpoint, or cannot."""

import keras
import keras_tuner
import numpy as np


class Averaged(keras_tuner.HyperModel):
    """Dropout, batch normalisation, augmentation with Keras's shared generator, and averaged weights; no `fit`."""

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
                keras.layers.GaussianNoise(0.05),
                keras.layers.Dense(hp.Int("units", 2, 32, default=8)),
                keras.layers.BatchNormalization(),
                keras.layers.Activation("relu"),
                keras.layers.Dropout(0.3),
                keras.layers.Dense(self.n_classes, activation="softmax"),
            ]
        )
        model.compile(self.optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def optimizer(self):
        return keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7)


class Scheduled(Averaged):
    """A schedule of its own, given to the optimizer that is built."""

    def optimizer(self):
        return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), momentum=0.9)


class Passing(Averaged):
    """Its `fit` passes on what it does not know; the order of the images is fixed."""

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, shuffle=False, **kwargs)


class Drawing(Averaged):
    """Its `fit` draws from NumPy's and Python's shared generators in each epoch, by Keras's own callback."""

    def fit(self, hp, model, x, y, epochs, callbacks, initial_epoch=0, verbose=0):
        noise = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: model.layers[-1].bias.assign_add(
                0.01 * np.random.normal(size=self.n_classes)
            )
        )
        return model.fit(
            x, y, epochs=epochs, initial_epoch=initial_epoch, callbacks=[noise, *callbacks], shuffle=False, verbose=0
        )


class Adapting(Averaged):
    """Its `fit` adapts a layer to the images, before the first epoch only."""

    def build(self, hp):
        model = keras.Sequential([keras.Input(self.image_shape), keras.layers.Normalization(), super().build(hp)])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, x, y, initial_epoch=0, **kwargs):
        if initial_epoch == 0:
            model.layers[0].adapt(np.asarray(x, "float32"))
        return model.fit(x, y, shuffle=False, initial_epoch=initial_epoch, **kwargs)


class WithoutInitialEpoch(Averaged):
    def fit(self, hp, model, x, y, epochs, callbacks, verbose=0):
        return model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=verbose)


class Ignoring(Averaged):
    """Takes `initial_epoch` and does not use it."""

    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        return model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=0)


class Refusing(Averaged):
    """Raises if it gets `initial_epoch`."""

    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        if "initial_epoch" in kwargs:
            raise KeyError("what is an initial_epoch?")
        return model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=0)


class InTwoParts(Averaged):
    """Trains in two calls of `model.fit`, as for fine-tuning."""

    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        model.fit(x, y, epochs=1, callbacks=callbacks, **kwargs)
        return model.fit(x, y, epochs=epochs - 1, callbacks=callbacks, **kwargs)


class Looping(Averaged):
    """A training loop without `model.fit`."""

    def fit(self, hp, model, x, y, epochs, callbacks, initial_epoch=0, **kwargs):
        for epoch in range(initial_epoch, epochs):
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
            loss, _ = model.train_on_batch(x, y)
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"loss": loss})


class Wrapping(Averaged):
    """Trains another model that has this one within."""

    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        other = keras.Sequential([model])
        other.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return other.fit(x, y, epochs=epochs, callbacks=callbacks, **kwargs)


class TwoOptimizers(Averaged):
    def build(self, hp):
        model = super().build(hp)
        model.second_optimizer = keras.optimizers.SGD(0.1)
        return model
