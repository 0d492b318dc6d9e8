"""A `fit` of a user's own is rehearsed without training, and may not change the number of epochs."""

import contextlib

import keras
import keras_tuner
import numpy as np
import pytest

from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel import discover_space
from galaxy_exp.training.fit_probe import FitRehearsal

IMAGES = np.zeros((30, 4, 4, 3), np.uint8)
LABELS = np.arange(30) % 3
EPOCHS = 5


class Base(keras_tuner.HyperModel):
    def build(self, hp):
        layers = [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        self.model = keras.Sequential(layers)
        self.model.compile("sgd", "sparse_categorical_crossentropy")
        self.before = self.model.get_weights()
        return self.model


class ByName(Base):
    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        return model.fit(x, y, batch_size=hp.Choice("batch_size", [16, 32]), validation_data=validation_data, **kwargs)


class ReadsItsHistory(Base):
    def fit(self, hp, model, *args, **kwargs):
        history = model.fit(*args, batch_size=hp.Int("batch", 8, 64, step=8), **kwargs)
        assert len(history.history["val_accuracy"]) == len(history.epoch) == EPOCHS
        hp.Float("threshold", 0.0, 1.0)
        return {"score": max(history.history["val_accuracy"])}


class TwoPhases(Base):
    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        warm_up = hp.Int("warm_up", 1, 3)
        model.fit(x, y, epochs=warm_up, callbacks=callbacks)
        model.compile(keras.optimizers.SGD(hp.Float("fine_rate", 1e-4, 1e-1, sampling="log")), model.loss)
        return model.fit(x, y, initial_epoch=warm_up, epochs=epochs, callbacks=callbacks)


class WarmUpOnTop(Base):
    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        model.fit(x, y, epochs=hp.Int("head_epochs", 2, 4))
        return model.fit(x, y, epochs=epochs, callbacks=callbacks)


class Strict(Base):
    def fit(self, hp, model, x, y, validation_data, callbacks, epochs):
        size = hp.Choice("batch_size", [16, 32])
        return model.fit(x, y, size, validation_data=validation_data, callbacks=callbacks, epochs=epochs)


class OneAtATime(Base):
    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        hp.Choice("batch_size", [16, 32])
        for epoch in range(epochs):
            model.fit(x, y, initial_epoch=epoch, epochs=epoch + 1, callbacks=callbacks)


class OwnLoop(Base):
    def fit(self, hp, model, x, y, validation_data, callbacks=None, **kwargs):
        size = hp.Choice("batch_size", [16, 32])
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(1000):
            assert epoch == 0
            model.train_on_batch(x[:size], y[:size])
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"loss": 1.0})


class OwnLoopOneHot(OwnLoop):
    def build(self, hp):
        model = super().build(hp)
        model.compile("sgd", "categorical_crossentropy")
        return model


class OnlyFloats(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = keras.layers.Conv2D(2, 3)
        self.head = keras.layers.Dense(3, activation="softmax")

    def call(self, images):
        return self.head(keras.ops.mean(self.convolution(images), (1, 2)))


class OwnLoopSubclassed(OwnLoop):
    def build(self, hp):
        self.model = OnlyFloats()
        self.model.compile("sgd", "sparse_categorical_crossentropy")
        return self.model


@pytest.mark.parametrize(
    ("hypermodel", "names"),
    [
        (Base, []),
        (ByName, ["batch_size"]),
        (ReadsItsHistory, ["batch", "threshold"]),
        (TwoPhases, ["warm_up", "fine_rate"]),
        (WarmUpOnTop, ["head_epochs"]),
        (Strict, ["batch_size"]),
        (OneAtATime, ["batch_size"]),
        (OwnLoop, ["batch_size"]),
        (OwnLoopOneHot, ["batch_size"]),
        (OwnLoopSubclassed, ["batch_size"]),
    ],
)
def test_what_every_way_of_training_declares_is_found_without_training(hypermodel, names):
    made = hypermodel()
    space = discover_space(made, probe_fit=FitRehearsal("m:M", IMAGES, LABELS, 3, EPOCHS), note=pytest.fail)
    assert [entry.name for entry in space.hyperparameters] == names
    if not issubclass(hypermodel, OwnLoop):
        assert all(map(np.array_equal, made.before, made.model.get_weights()))
    assert "fit" not in vars(made.model)


class TwoOptimizers(Base):
    def build(self, hp):
        model = super().build(hp)
        model.second = keras.optimizers.SGD()
        return model


class Uncompiled(OwnLoop):
    def fit(self, hp, model, x, y, validation_data, callbacks=(), **kwargs):
        model.optimizer = None
        callbacks[0].on_epoch_end(0)
        callbacks[-1].on_epoch_end(0)


@pytest.mark.parametrize(
    ("hypermodel", "obstacle"),
    [
        (Base, None),
        (ByName, None),
        (Strict, "its fit takes no initial_epoch"),
        (OwnLoop, "its fit does not train through model.fit"),
        (Uncompiled, "its model has no Keras optimizer"),
        (TwoOptimizers, "its model has more than one optimizer"),
    ],
)
def test_it_is_known_before_whether_trials_could_continue(hypermodel, obstacle):
    rehearse = FitRehearsal("m:M", IMAGES, LABELS, 3, EPOCHS)
    discover_space(hypermodel(), probe_fit=rehearse, note=pytest.fail)
    assert rehearse.obstacle == obstacle


class Searched(Base):
    def fit(self, hp, model, *args, **kwargs):
        kwargs["epochs"] = hp.Int("n_epochs", 7, 20)
        return model.fit(*args, **kwargs)


class SearchedFromTheTrialsOwn(Base):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        return model.fit(x, y, epochs=hp.Int("epochs", EPOCHS, 500), callbacks=callbacks)


class DeclaredInBuild(Base):
    def build(self, hp):
        hp.Int("epochs", 2, 50, default=EPOCHS)
        return super().build(hp)

    def fit(self, hp, model, *args, **kwargs):
        kwargs["epochs"] = hp.get("epochs")
        return model.fit(*args, **kwargs)


class Twice(Base):
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, epochs=hp.Int("epochs", 5, 20), **kwargs)


class Fewer(Base):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        return model.fit(x, y, None, 2, callbacks=callbacks)


class FewerAsItHappens(Base):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        return model.fit(x, y, epochs=4, batch_size=hp.Choice("filters", [4, 8]), callbacks=callbacks)


class Forgotten(Base):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        return model.fit(x, y, callbacks=callbacks)


class Scaled(Base):
    def fit(self, hp, model, x, y, **kwargs):
        return model.fit(x.astype("float32") / 255, y, **kwargs)


class Standardised(Base):
    def fit(self, hp, model, x, y, **kwargs):
        return model.fit((x - x.mean()) / x.std(), y, **kwargs)


class FromTensorFlow(Base):
    divisor = 1

    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, y)).map(lambda image, label: (image / self.divisor, label))
        return model.fit(data.batch(4), **kwargs)


class ScaledFromTensorFlow(FromTensorFlow):
    divisor = 255


class FromAGenerator(Base):
    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        return model.fit(((x[each : each + 4] / 255, y[each : each + 4]) for each in range(0, len(x), 4)), **kwargs)


class OneByOne(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels = images / 255, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index : index + 1], self.labels[index : index + 1]


class FromKeras(Base):
    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        return model.fit(OneByOne(x, y), **kwargs)


class WithoutABatch(Base):
    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        return model.fit(iter(()), **kwargs)


@pytest.mark.parametrize(
    ("hypermodel", "is_wrong"),
    [
        (Scaled, True),
        (Standardised, True),
        (ScaledFromTensorFlow, True),
        (FromAGenerator, True),
        (FromKeras, True),
        (FromTensorFlow, False),
        (WithoutABatch, False),
        (ByName, False),
    ],
)
def test_images_that_only_the_training_scales_are_refused(hypermodel, is_wrong):
    """The network is evaluated, and used later, on images as they are."""
    images = np.random.default_rng(1).integers(0, 256, IMAGES.shape, np.uint8)
    rehearse = FitRehearsal("m:M", images, LABELS, 3, EPOCHS)
    refused = pytest.raises(ConfigError, match=r"scaled to at most .* expected the scaling in the network")
    with refused if is_wrong else contextlib.nullcontext():
        discover_space(hypermodel(), probe_fit=rehearse)


class TrainsACopy(Base):
    """A slip that leaves the network that is evaluated as it was built."""

    def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
        other = self.other(model)
        other.compile("sgd", "sparse_categorical_crossentropy")
        return other.fit(x, y, epochs=epochs, callbacks=callbacks)

    def other(self, model):
        return keras.models.clone_model(model)


class TrainsAround(TrainsACopy):
    def other(self, model):
        return keras.Sequential([model])


@pytest.mark.parametrize(("hypermodel", "is_wrong"), [(TrainsACopy, True), (TrainsAround, False)])
def test_a_fit_that_trains_another_network_is_refused(hypermodel, is_wrong):
    rehearse = FitRehearsal("m:M", IMAGES, LABELS, 3, EPOCHS)
    refused = pytest.raises(ConfigError, match=r"m:M: its fit trains another network .* expected it to train its arg")
    with refused if is_wrong else contextlib.nullcontext():
        discover_space(hypermodel(), probe_fit=rehearse)


@pytest.mark.parametrize(
    ("hypermodel", "found"),
    [
        (Searched, 'its fit trains 7 epochs (hyperparameter "n_epochs")'),
        (SearchedFromTheTrialsOwn, 'its fit trains 500 epochs (hyperparameter "epochs")'),
        (DeclaredInBuild, 'its fit trains 2 epochs (hyperparameter "epochs")'),
        (Twice, "its fit passes epochs to model.fit beside the epochs that it is given"),
        (Fewer, "its fit trains 2 epochs"),
        (FewerAsItHappens, "its fit trains 4 epochs"),
        (Forgotten, "its fit trains 1 epoch"),
    ],
)
def test_epochs_of_its_own_are_refused_by_name(hypermodel, found):
    with pytest.raises(ConfigError) as caught:
        discover_space(hypermodel(), probe_fit=FitRehearsal("m:M", IMAGES, LABELS, 3, EPOCHS))
    (problem,) = caught.value.problems
    assert problem.startswith(f"hypermodel: m:M: {found}; a trial has training.epochs, 5, so that")


def test_a_fit_that_does_not_take_what_it_must_is_refused_by_name():
    class WithoutEpochs(Base):
        def fit(self, hp, model, x, y, validation_data, callbacks):
            return model.fit(x, y, validation_data=validation_data, callbacks=callbacks)

    class WithoutEither(Base):
        def fit(self, hp, model, x, y):
            return model.fit(x, y)

    for hypermodel, missing in ((WithoutEpochs, "epochs"), (WithoutEither, "epochs and callbacks")):
        with pytest.raises(ConfigError, match=f"hypermodel: m:M: its fit does not take {missing}; expected fit"):
            discover_space(hypermodel(), probe_fit=FitRehearsal("m:M", IMAGES, LABELS, 3, EPOCHS))


def test_epochs_of_its_own_in_one_branch_only_leave_a_note():
    class OneBranch(Base):
        def build(self, hp):
            hp.Boolean("quick")
            return super().build(hp)

        def fit(self, hp, model, x, y, epochs, callbacks, **kwargs):
            return model.fit(x, y, epochs=1 if hp.get("quick") else epochs, callbacks=callbacks)

    notes = []
    discover_space(OneBranch(), probe_fit=FitRehearsal("m:M", IMAGES, LABELS, 3, EPOCHS), note=notes.append)
    (note,) = notes
    assert note.startswith("note: with quick=True: hypermodel: m:M: its fit trains 1 epoch; a trial has")
