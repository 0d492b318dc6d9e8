"""Hypermodels as people write them, by what is unusual about each; sweep files name them as `user_hypermodels:...`."""

import functools

import keras
import keras_tuner
import numpy as np
from keras import layers, losses, ops

SIDE = 16


def network(n_outputs, filters=4, activation="softmax"):
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(filters, 3, strides=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(n_outputs, activation=activation),
        ]
    )


class Subclassed(keras.Model):
    """Gets its weights by its first call, demands `training`, and Keras cannot describe it."""

    def __init__(self, filters, n_outputs, activation):
        super().__init__()
        self.rescale = layers.Rescaling(1 / 255)
        self.blocks = [layers.Conv2D(filters, 3, strides=2), layers.BatchNormalization(), layers.Dropout(0.1)]
        self.head = layers.Dense(n_outputs, activation=activation)

    def call(self, images, training):
        x = self.rescale(images)
        for block in self.blocks:
            x = block(x, training=training) if not isinstance(block, layers.Conv2D) else block(x)
        return self.head(ops.mean(x, axis=(1, 2)))


def subclassed_softmax(hp, n_classes):
    model = Subclassed(hp.Int("filters", 2, 8, step=2), n_classes, "softmax")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def subclassed_logits(hp, n_classes):
    model = Subclassed(hp.Int("filters", 2, 8, step=2), n_classes, None)
    model.compile("adam", losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


class OwnStep(keras.Model):
    """A `train_step` of its own, with a loss and trackers of its own; compiled with an optimizer alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.tracker = keras.metrics.Mean(name="my_loss")

    def call(self, images):
        return self.inner(images)

    def train_step(self, data):
        import tensorflow as tf

        images, labels = data
        with tf.GradientTape() as tape:
            loss = ops.mean(losses.sparse_categorical_crossentropy(labels, self(images, training=True)))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.tracker.update_state(loss)
        return {"my_loss": self.tracker.result()}

    def test_step(self, data):
        return {}


def own_train_step(hp, n_classes):
    model = OwnStep(network(n_classes, hp.Choice("filters", [2, 4])))
    model.compile("adam")
    return model


class OwnLoop(keras_tuner.HyperModel):
    """Never compiled, and trained by a loop that calls `on_epoch_end` alone, with logs of no single number."""

    def __init__(self, n_classes):
        super().__init__()
        self.n_classes = n_classes

    def build(self, hp):
        return network(self.n_classes, hp.Choice("filters", [2, 4]), None)

    def fit(self, hp, model, x, y, validation_data, callbacks=None, epochs=1, **kwargs):
        import tensorflow as tf

        optimizer, loss = keras.optimizers.Adam(0.01), losses.SparseCategoricalCrossentropy(from_logits=True)
        values = []
        for epoch in range(epochs):
            with tf.GradientTape() as tape:
                value = loss(y, model(np.asarray(x)))
            weights = model.trainable_weights
            optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))
            values.append(float(value))
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"mine": value, "per_class": np.zeros(3), "nothing": None})
        return {"loss": min(values)}


class PassesOn(keras_tuner.HyperModel):
    """KerasTuner's guide: `fit` passes on what it gets. Compiled for one-hot labels."""

    loss = "categorical_crossentropy"

    def __init__(self, image_shape, n_classes):
        super().__init__()
        self.n_classes = n_classes

    def build(self, hp):
        model = network(self.n_classes, hp.Choice("filters", [2, 4]))
        model.compile("adam", self.loss, metrics=["accuracy", "categorical_accuracy", keras.metrics.AUC(name="auc")])
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, shuffle=True, **kwargs)


class ConvertsItself(PassesOn):
    """Its `fit` makes one-hot labels itself, in a data set of its own, and counts the classes before."""

    loss = staticmethod(functools.partial(losses.categorical_crossentropy, label_smoothing=0.1))

    def fit(self, hp, model, x, y, validation_data, **kwargs):
        import tensorflow as tf

        weights = len(y) / np.bincount(y)
        one_hot = keras.utils.to_categorical(y, self.n_classes)
        data = tf.data.Dataset.from_tensor_slices((np.asarray(x), one_hot, weights[y])).batch(16)
        return model.fit(data, validation_data=validation_data, **kwargs)


def own_focal(labels, outputs):
    return ops.mean(ops.sum((1 - outputs) ** 2 * -labels * ops.log(outputs + 1e-7), axis=-1))


def functional_with_own_layer(hp, n_classes):
    """A layer that takes a layer, which Keras cannot describe either, and a loss of the user's own."""

    class Scaled(layers.Layer):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, inputs):
            return 2 * self.inner(inputs)

    images = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(Scaled(layers.Conv2D(hp.Choice("filters", [2, 4]), 3))(images / 255))
    model = keras.Model(images, layers.Dense(n_classes, "softmax")(x))
    model.compile("adam", own_focal, metrics=[keras.metrics.F1Score(average="macro")])
    return model


class Scale(layers.Layer):
    def call(self, inputs):
        return inputs / 255


def functional_augmenting(hp, n_classes):
    """Keras's augmentation in a network that is kept as a graph."""
    images = keras.Input((SIDE, SIDE, 3))
    x = layers.RandomBrightness(0.5)(layers.RandomRotation(0.2)(images))
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(hp.Choice("filters", [2, 4]), 3)(Scale()(x)))
    model = keras.Model(images, layers.Dense(n_classes, "softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Augmenting(keras.Model):
    """Its `call` has no `training`; then Keras tells nothing to the layers within."""

    def __init__(self, filters, n_outputs):
        super().__init__()
        self.brightness = layers.RandomBrightness(0.5)
        self.convolution = layers.Conv2D(filters, 3)
        self.head = layers.Dense(n_outputs, "softmax")

    def call(self, images):
        return self.head(ops.max(self.convolution(ops.cast(self.brightness(images), "float32") / 255), (1, 2)))


def subclassed_augmenting(hp, n_classes):
    model = Augmenting(hp.Choice("filters", [2, 4]), n_classes)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def single_sigmoid(hp):
    model = network(1, hp.Choice("filters", [2, 4]), "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    return model


def single_logit(hp):
    model = Subclassed(hp.Choice("filters", [2, 4]), 1, None)
    model.compile("adam", losses.BinaryCrossentropy(from_logits=True))
    return model


class SlowToStop(OwnLoop):
    """Goes on whatever it is told."""

    def fit(self, hp, model, x, y, *args, callbacks=None, epochs=1, **kwargs):
        for epoch in range(epochs):
            for callback in callbacks:
                callback.on_epoch_end(epoch, None)
        raise AssertionError("it was never ended")


class Unkeepable(keras.Model):
    """Its `call` looks at values, so that no graph of it can be made."""

    def __init__(self, n_outputs):
        super().__init__()
        self.inner = network(n_outputs)

    def call(self, images):
        return self.inner(images) if float(ops.max(images)) > 0 else self.inner(images + 1)


def unkeepable(hp, n_classes):
    hp.Choice("nothing", [1, 2])
    model = Unkeepable(n_classes)
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def two_outputs(hp, n_classes):
    hp.Choice("nothing", [1, 2])
    images = keras.Input((SIDE, SIDE, 3))
    return keras.Model(images, {"a": network(n_classes)(images), "b": network(2)(images)})


def no_model(hp):
    hp.Choice("nothing", [1, 2])


class FloatsOnly(Subclassed):
    """Its first layer takes no uint8."""

    def call(self, images, training):
        return self.head(ops.mean(self.blocks[0](images), axis=(1, 2)))


def floats_only(hp, n_classes):
    model = FloatsOnly(hp.Choice("filters", [2, 4]), n_classes, "softmax")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class TwoInputs(Subclassed):
    """Expects what it does not get."""

    def call(self, inputs, training):
        images, _redshift = inputs
        return super().call(images, training)


def two_inputs(hp, n_classes):
    model = TwoInputs(hp.Choice("filters", [2, 4]), n_classes, "softmax")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def sparse_on_one(hp):
    model = network(1, hp.Choice("filters", [2, 4]), "sigmoid")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Deaf(PassesOn):
    """Calls no callbacks."""

    def fit(self, hp, model, x, y, **kwargs):
        model.fit(x, y, verbose=0)
        return 0.5
