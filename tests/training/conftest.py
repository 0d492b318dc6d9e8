"""A tiny split on disk, and trials of networks with two filters."""

import sys
import types
from dataclasses import replace

import keras
import keras_tuner
import numpy as np
import pytest

from galaxy_exp.hypermodel import discover_space, load_hypermodel
from galaxy_exp.questions import Question, Questions
from galaxy_exp.records import Objective, SplitFiles, TrialSpec, VoteFiles

SIDE = 24
CLASSES = ("dark", "middle", "bright")
ONE = Questions((Question("shape", ("dark", "middle", "bright")),))
TREE = Questions((*ONE.items, Question("bar", ("yes", "no"), after="shape.bright")))
SMALL = {"filters_1": 2, "filters_2": 2, "dense_width": 8, "learning_rate": 3e-3}


def _classes_of_brightness(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    images = rng.normal(60 + 60 * labels[:, None, None, None], 20, (n, SIDE, SIDE, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int64)


@pytest.fixture(scope="session")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    paths = {}
    for part, n in (("train", 60), ("validation", 30)):
        images, labels = _classes_of_brightness(n, seed=len(paths))
        for kind, array in (("images", images), ("labels", labels)):
            paths[f"{part}_{kind}"] = folder / f"{part}_{kind}.npy"
            np.save(paths[f"{part}_{kind}"], array)
    return SplitFiles(**paths, class_names=CLASSES)


def add_votes(split, folder, questions, are_counts=True):
    """The same split with votes, most of them for the label."""
    rng, paths = np.random.default_rng(4), []
    for part in ("train", "validation"):
        labels = np.load(getattr(split, f"{part}_labels"))
        fractions = np.full((len(labels), 3), 0.1)
        fractions[np.arange(len(labels)), labels] = 0.8
        counts = rng.multinomial(20, fractions).astype(np.float32)
        if len(questions) > 1:
            bars = rng.binomial(counts[:, 2].astype(int), 0.25)
            counts = np.column_stack([counts, bars, counts[:, 2] - bars]).astype(np.float32)
        paths.append(folder / f"{part}_votes.npy")
        np.save(paths[-1], counts if are_counts else counts / 20)
    train, validation = paths
    return replace(split, votes=VoteFiles(train, validation, questions, are_counts))


@pytest.fixture
def make_spec(split, tmp_path):
    def make(hypermodel="galaxy-cnn", values=None, **changes):
        space = discover_space(load_hypermodel(hypermodel, (SIDE, SIDE, 3), len(CLASSES)))
        chosen = space.defaults | (SMALL if hypermodel == "galaxy-cnn" else {}) | (values or {})
        fields = {
            "sweep_id": "s",
            "number": 4,
            "values": chosen,
            "space": space.get_config(),
            "hypermodel": hypermodel,
            "data": split,
            "epochs": 3,
            "seed": 11,
            "precision": "float32",
            "deterministic": False,
            "jit_compile": False,
            "objective": Objective("val_loss", "min"),
            "folder": tmp_path / "trial",
            "attempt": 2,
        }
        return TrialSpec(**fields | changes)

    return make


@pytest.fixture
def user_models(monkeypatch):
    """An importable module whose attributes a test sets."""
    module = types.ModuleType("user_models")
    monkeypatch.setitem(sys.modules, "user_models", module)
    return module


class UserModel(keras_tuner.HyperModel):
    """A dense network of a user's own, with what a test wants changed."""

    n_outputs = len(CLASSES)
    activation = "softmax"

    def build(self, hp):
        units = hp.Int("units", 2, 8, default=4)
        model = keras.Sequential(
            [
                keras.Input((SIDE, SIDE, 3), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(units),
                keras.layers.Dense(self.n_outputs, activation=self.activation),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=self.activation is None)
        model.compile("adam", loss, metrics=["accuracy"])
        return model
