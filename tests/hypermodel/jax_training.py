"""Run with KERAS_BACKEND=jax by test_jax.py in a folder with `tensorflow.keras`: prints what it found as JSON."""

import json
import logging
import sys
from pathlib import Path

import jax
import keras
import keras_tuner
import numpy as np

from galaxy_exp.hypermodel import GalaxyCNN, on_device, to_inference_model
from galaxy_exp.hypermodel.batches import Batches
from galaxy_exp.hypermodel.encoders import cut_encoder, load_encoder
from galaxy_exp.hypermodel.equivariant import restore_equivariant_layers
from galaxy_exp.hypermodel.head_warm_up import warm_up_head
from galaxy_exp.questions import Question, Questions
from galaxy_exp.training.machine import fresh_session, resolve_precision

SHAPE, N_CLASSES, N_IMAGES, EPOCHS = (24, 24, 3), 4, 52, 2
SMALL = {"filters_1": 2, "filters_2": 4, "dense_width": 8, "batch_size": 16, "learning_rate": 3e-3}
EVERYTHING = {
    "augmentation": "flips+rotations+shift+zoom",
    "n_blocks": 2,
    "residual": True,
    "equivariant": True,
    "batch_norm": True,
    "optimizer": "adamw",
    "schedule": "cosine",
    "label_smoothing": 0.1,
    "class_weighting": "sqrt",
}
QUESTIONS = Questions((Question("a", ("w", "x", "y", "z")), Question("b", ("u", "v"), "a.w")))
VOTES = {"loss": "dirichlet_multinomial", "class_weighting": "balanced", "label_smoothing": 0.1}
DRAWN_EVENLY = {"augmentation": "flips+rotations", "class_weighting": "sampling"}


class StepCounter(keras.callbacks.Callback):
    """Looks at single steps, as a progress bar does."""

    steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


class Heir(StepCounter):
    """Has the hook from the class between it and Keras's."""


def hooks(heir, count):
    """`heir` and callbacks that call `count` for each step, by the way in which they have their hook."""
    replaced, older = keras.callbacks.Callback(), keras.callbacks.Callback()
    replaced.on_train_batch_end = older.on_batch_end = lambda batch, logs=None: count()
    by_lambda = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs=None: count())
    return {
        "class": heir,
        "lambda": by_lambda,
        "lambda, older name": keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs=None: count()),
        "attribute": replaced,
        "attribute, older name": older,
        "within a list": keras.callbacks.CallbackList([keras.callbacks.Callback(), by_lambda]),
        "none": keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs=None: count()),
        "a list of none": keras.callbacks.CallbackList([keras.callbacks.EarlyStopping("loss")]),
    }


def steps_seen(images, labels):
    """Of two epochs of four steps, by the way in which a callback has its hook."""
    heir, calls, seen = Heir(), [], {}
    for way, callback in hooks(heir, lambda: calls.append(1)).items():
        calls.clear()
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(N_CLASSES)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
        on_device.fit_batches(model, Batches(images, labels, 16, seed=1), callbacks=[callback], epochs=EPOCHS)
        seen[way] = heir.steps if way == "class" else len(calls)
    return seen


def train(values, images, labels, precision="float32", callbacks=()):
    """The trained network and its history."""
    hp = keras_tuner.HyperParameters()
    hp.values = SMALL | values
    asked = {"questions": QUESTIONS, "are_counts": True} if np.ndim(labels) == 2 else {}
    hypermodel = GalaxyCNN(SHAPE, N_CLASSES, **asked)
    with fresh_session(7, precision, False):
        model = hypermodel.build(hp)
        history = hypermodel.fit(hp, model, images, labels, epochs=EPOCHS, callbacks=callbacks, seed=3)
    return model, history.history


def differences(one, other):
    """The largest of the weights and of the history of two trainings."""
    (first, first_history), (second, history) = one, other
    weights = zip(first.get_weights(), second.get_weights(), strict=True)
    return {
        "weights": max(float(np.abs(one - other).max()) for one, other in weights),
        "history": max(float(np.abs(np.subtract(first_history[name], history[name])).max()) for name in history),
        "names": sorted(history),
    }


def restore(model_file, images):
    """The largest difference of the body of a saved network and the same with its equivariant layers restored."""
    cut_encoder(model_file, Path("body.keras"), {})
    body = load_encoder("body.keras")
    restored = restore_equivariant_layers(body)
    assert body.count_params() == 8 * restored.count_params()
    return float(np.abs(body.predict(images, verbose=0) - restored.predict(images, verbose=0)).max())


def warm_up(images, labels):
    """The largest changes of the body and of the head, and the accuracy, by the fraction for images on the device."""
    hypermodel, found = GalaxyCNN(SHAPE, N_CLASSES, ["body.keras"]), {}
    hp = keras_tuner.HyperParameters()
    hp.values = SMALL | {"start": "body.keras", "head": "gap", "dense_width": 0}
    for fraction in (0.0, 0.25):
        on_device.MAX_FRACTION = fraction
        model = hypermodel.build(hp)
        before = model.get_weights()
        warm_up_head(hypermodel, hp, model, Batches(images, labels, 16, seed=1), seed=1)
        *body, kernel, bias = [float(np.abs(a - b).max()) for a, b in zip(before, model.get_weights(), strict=True)]
        accuracy = float((model.predict(images, verbose=0).argmax(axis=1) == labels).mean())
        found[fraction] = {"body": max(body), "head": min(kernel, bias), "accuracy": accuracy}
    return found


def note_transfers():
    """Of what NumPy arrays are put on the device from now on: shapes and types."""
    noted, put = [], jax.device_put

    def device_put(x, *arguments, **keywords):
        if isinstance(x, np.ndarray):
            noted.append([list(x.shape), str(x.dtype)])
        return put(x, *arguments, **keywords)

    jax.device_put = device_put
    return noted


def note_epochs():
    """Whose orders are trained in from now on."""
    noted, positions = set(), Batches.positions

    def noting(self, index):
        noted.add(self._epoch)
        return positions(self, index)

    Batches.positions = noting
    return noted


def main():
    rng = np.random.default_rng(0)
    labels = np.arange(N_IMAGES) % N_CLASSES
    noise = rng.normal(60 + 40 * labels[:, None, None, None], 30, (N_IMAGES, *SHAPE))
    np.save("images.npy", np.clip(noise, 0, 255).astype(np.uint8))
    images = np.load("images.npy", mmap_mode="r")
    logging.basicConfig(filename="log.txt")
    on_device.PLATFORMS = ("cpu",)
    transfers, epochs, counter = note_transfers(), note_epochs(), StepCounter()
    device = train(EVERYTHING, images, labels)
    on_device._on_device(np.zeros((N_IMAGES, 8), np.float32))  # features in memory, between two trainings on a file
    device_mixed = train(DRAWN_EVENLY, images, labels, "mixed_bfloat16")
    put_there = list(transfers)
    seen_by_steps = train(EVERYTHING, images, labels, callbacks=[counter])
    by_hooks = steps_seen(images, labels)
    votes = rng.integers(0, 20, (N_IMAGES, 6)).astype(np.float32)
    on_votes = [train(VOTES, images, votes, callbacks=callbacks) for callbacks in ((), (StepCounter(),))]
    on_device.MAX_FRACTION = 0.0
    on_device._kept.clear()
    too_large = train(DRAWN_EVENLY, images, labels, "mixed_bfloat16")

    exported = to_inference_model(device[0])
    exported.save("jax.keras")
    np.save("jax.npy", exported.predict(images, verbose=0))
    restored = restore(Path("jax.keras"), images)
    of_tensorflow = keras.saving.load_model("tensorflow.keras", compile=False, safe_mode=True)
    np.save("tensorflow_in_jax.npy", of_tensorflow.predict(images, verbose=0))
    Path("cpuinfo").write_text("flags : avx512_bf16 amx_bf16\n")
    found = {
        "everything": differences(device, seen_by_steps),
        "drawn evenly, mixed": differences(device_mixed, too_large),
        "votes": differences(*on_votes),
        "transfers": put_there,
        "steps": counter.steps,
        "hooks": by_hooks,
        "epochs": sorted(epochs),
        "log": Path("log.txt").read_text().splitlines(),
        "restored": restored,
        "precision": resolve_precision("auto", Path("cpuinfo")),
        "warm up": warm_up(images, labels),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
