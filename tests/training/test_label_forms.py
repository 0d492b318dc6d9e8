"""Losses get labels in the form that they take, however they are named or written."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from galaxy_exp.training.label_forms import LabelForm, LossError, accept_classes, encode_labels, find_label_form

CLASSES, ONE_HOT, BINARY = LabelForm.CLASSES, LabelForm.ONE_HOT, LabelForm.BINARY
LOSSES = keras.losses
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)


def network(units):
    return keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(units, "sigmoid")])


def own_focal(labels, outputs):
    return keras.ops.mean((1 - outputs) ** 2 * -labels * keras.ops.log(outputs + 1e-7))


def own_sparse(labels, outputs):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(tf.reshape(labels, [-1]), tf.int32), outputs)


class OwnCrossentropy(keras.losses.Loss):
    def call(self, labels, outputs):
        return -keras.ops.sum(labels * keras.ops.log(outputs + 1e-7), axis=-1)


def smoothed(labels, outputs):
    return LOSSES.categorical_crossentropy(labels, outputs, label_smoothing=0.1)


SPARSE = [
    "sparse_categorical_crossentropy",
    LOSSES.SparseCategoricalCrossentropy(from_logits=True),
    LOSSES.sparse_categorical_crossentropy,
    own_sparse,
]
CATEGORICAL = [
    "categorical_crossentropy", "CategoricalCrossentropy", "categorical_focal_crossentropy", "KLD", "kl_divergence",
    "categorical_hinge", "mse", "poisson", "cosine_similarity", "dice", LOSSES.CategoricalFocalCrossentropy(),
    LOSSES.KLDivergence(), LOSSES.categorical_crossentropy, ["categorical_crossentropy"], own_focal, OwnCrossentropy(),
    smoothed, functools.partial(LOSSES.categorical_crossentropy, from_logits=True),
]  # fmt: skip
BINARY_LOSSES = ["binary_crossentropy", LOSSES.BinaryFocalCrossentropy(), LOSSES.BinaryCrossentropy(from_logits=True)]
TABLE = [
    *[(loss, 3, 3, CLASSES) for loss in SPARSE],
    *[(loss, n, n, ONE_HOT) for loss in CATEGORICAL for n in (2, 3)],
    *[(loss, 3, 3, ONE_HOT) for loss in BINARY_LOSSES],
    *[(loss, 1, 2, BINARY) for loss in [*BINARY_LOSSES, "mse", "hinge"]],
]


@pytest.mark.parametrize(("loss", "n_outputs", "n_classes", "form"), TABLE)
def test_the_form_is_found(loss, n_outputs, n_classes, form):
    model = network(n_outputs)
    model.compile("sgd", loss)
    assert find_label_form(model, n_outputs, IMAGES, n_classes) is form


def test_labels_stay_whole_numbers_where_nothing_is_known():
    model = network(3)
    assert find_label_form(model, 3, IMAGES, 3) is CLASSES
    model.compile("sgd")
    assert find_label_form(model, 3, IMAGES, 3) is CLASSES


def test_a_compute_loss_of_the_user_s_own_is_tried():
    class Own(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return keras.ops.mean(keras.losses.categorical_crossentropy(y, y_pred)) + 0 * keras.ops.max(
                keras.ops.cast(x, "float32")
            )

    model = Own(network(3).layers)
    model.compile("sgd")
    assert find_label_form(model, 3, IMAGES[:2], 3) is ONE_HOT


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_a_loss_that_does_not_fit_is_named_in_one_line(loss):
    model = network(1)
    model.compile("sgd", loss)
    with pytest.raises(LossError, match=f"^the loss {loss} does not fit a network that gives 1 number for each image"):
        find_label_form(model, 1, IMAGES, 2)


def test_a_partial_loss_is_known_by_the_name_of_its_function():
    model = network(1)
    model.compile("sgd", functools.partial(LOSSES.categorical_crossentropy, from_logits=True))
    with pytest.raises(LossError, match=r"^the loss categorical_crossentropy .* it needs one number for each class"):
        find_label_form(model, 1, IMAGES, 2)


def test_metrics_decide_where_the_loss_takes_both():
    def either(labels, outputs):
        if len(labels.shape) == 1:
            labels = keras.ops.one_hot(keras.ops.cast(labels, "int32"), 3)
        return keras.losses.categorical_crossentropy(labels, outputs)

    model = network(3)
    for metrics, form in ((["accuracy"], CLASSES), ([keras.metrics.F1Score()], ONE_HOT)):
        model.compile("sgd", either, metrics=metrics)
        assert find_label_form(model, 3, IMAGES, 3) is form
        assert all(not np.any(variable) for variable in model.metrics_variables if "threshold" not in variable.name)


def test_a_metric_that_does_not_fit_is_named():
    model = network(3)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    with pytest.raises(LossError, match=r"takes whole numbers \(n,\), and a metric does not: FBetaScore expects 2D"):
        find_label_form(model, 3, IMAGES, 3)


def test_what_a_loss_raises_is_kept():
    def strange(labels, outputs):
        raise ValueError("made for:\n  something else")

    model = network(3)
    model.compile("sgd", strange)
    with pytest.raises(LossError, match=r"whole numbers \(n,\): made for: something else; one-hot rows"):
        find_label_form(model, 3, IMAGES, 3)


@pytest.mark.parametrize("feed", ["whole numbers", "encoded", "data set", "batch by batch"])
@pytest.mark.parametrize(("n_outputs", "n_classes", "form"), [(3, 3, ONE_HOT), (1, 2, BINARY)])
def test_a_fit_of_the_user_s_own_may_convert_labels_or_not(feed, n_outputs, n_classes, form):
    labels = np.arange(len(IMAGES)) % n_classes
    model = network(n_outputs)
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    expected = model.evaluate(IMAGES, encode_labels(labels, form, n_classes), verbose=0, return_dict=True)
    with accept_classes(model, form, n_classes):
        if feed == "batch by batch":
            found = model.test_on_batch(IMAGES, labels, return_dict=True)
        elif feed == "data set":
            data = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(4)
            found = model.evaluate(data, verbose=0, return_dict=True)
        else:
            given = labels if feed == "whole numbers" else encode_labels(labels, form, n_classes)
            found = model.evaluate(IMAGES, given, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert "compute_loss" not in vars(model)


def test_a_fit_that_compiles_decides_again():
    labels = np.arange(len(IMAGES)) % 3
    model = network(3)
    with accept_classes(model, CLASSES, 3, IMAGES[:4]):
        for loss in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
            model.compile("sgd", loss, metrics=["accuracy"])
            model.fit(IMAGES, labels, verbose=0)
    assert "compile" not in vars(model)
