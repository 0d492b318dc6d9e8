"""Losses on votes equal NumPy's, networks for votes give what is expected, and their files need Keras alone."""

import keras
import keras_tuner
import numpy as np
import pytest

from galaxy_exp.evaluation.vote_metrics import fraction_intervals, image_losses, states_concentrations
from galaxy_exp.hypermodel import GalaxyCNN
from galaxy_exp.hypermodel.batches import Batches, replace_rare_winners
from galaxy_exp.hypermodel.saving import is_portable, to_inference_model
from galaxy_exp.hypermodel.scoring import (
    DirichletMultinomial,
    VoteCrossentropy,
    WinnerAccuracy,
    WinnerMacroF1,
    build_vote_loss,
)
from galaxy_exp.questions import Question, Questions, Votes

ONE = Questions((Question("shape", ("smooth", "disk", "star")),))
TREE = Questions((*ONE.items, Question("bar", ("yes", "no"), after="shape.disk")))
SMALL = {"filters_1": 2, "filters_2": 2, "dense_width": 8, "label_smoothing": 0.0}


def draw(questions: Questions, n: int = 40) -> tuple[Votes, np.ndarray]:
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 30, (n, questions.n_answers)).astype(np.float32)
    counts[: n // 4, 3:] = 0  # nobody got to the second question
    concentrations = np.exp(rng.normal(1.5, 1.5, counts.shape)).astype(np.float32) + 0.6
    return Votes(questions, counts, are_counts=True), concentrations


def compute(loss: keras.losses.Loss, votes: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(loss.call(votes, keras.ops.convert_to_tensor(outputs)))


@pytest.mark.parametrize("questions", [ONE, TREE], ids=["one question", "tree"])
def test_losses_equal_those_of_the_scores(questions):
    votes, concentrations = draw(questions)
    fractions = questions.fractions(concentrations).astype(np.float32)
    found = compute(build_vote_loss("dirichlet_multinomial", questions, 0.0), votes.values, concentrations)
    np.testing.assert_allclose(found, image_losses(votes, concentrations), rtol=2e-4, atol=2e-5)
    found = compute(build_vote_loss("crossentropy", questions, 0.0), votes.values, fractions)
    np.testing.assert_allclose(found, image_losses(votes, fractions), rtol=1e-4)


def test_crossentropy_of_certain_votes_is_that_of_labels():
    outputs = ONE.fractions(draw(ONE)[1]).astype(np.float32)
    labels = np.arange(40) % 3
    for scale in (1, 25):
        found = compute(VoteCrossentropy([3]), scale * np.eye(3, dtype=np.float32)[labels], outputs)
        known = keras.losses.sparse_categorical_crossentropy(labels, outputs)
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(known), rtol=1e-5)


@pytest.mark.parametrize("kind", [VoteCrossentropy, DirichletMultinomial])
def test_label_smoothing_spreads_votes_over_the_answers_of_their_question(kind):
    votes, concentrations = draw(TREE)
    spread = 0.9 * votes.values
    for part in TREE.slices.values():
        spread[:, part] += 0.1 * votes.values[:, part].mean(axis=1, keepdims=True)
    found = compute(kind([3, 2], label_smoothing=0.1), votes.values, concentrations)
    np.testing.assert_allclose(found, compute(kind([3, 2]), spread, concentrations), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [VoteCrossentropy, DirichletMultinomial])
def test_losses_and_gradients_are_finite_for_extreme_outputs(kind):
    votes = np.array([[0, 60, 0, 0, 0], [0, 0, 0, 0, 0], [1000, 0, 0, 3, 7]], np.float32)
    logarithms = keras.Variable(np.array([[30.0, -60, -90, 0, 0], [9, 9, 9, 9, -99], [7, -7, 0, 7, 7]], np.float32))
    model = keras.Sequential([keras.layers.Activation("exponential"), keras.layers.Rescaling(1.0)])
    loss = kind([3, 2])
    if keras.backend.backend() != "tensorflow":
        pytest.fail("expected TensorFlow")
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss.call(votes, model(keras.ops.minimum(logarithms, 7.0))))
    assert np.isfinite(total.numpy())
    assert np.isfinite(tape.gradient(total, logarithms.value).numpy()).all()


@pytest.mark.parametrize("kind", [VoteCrossentropy, DirichletMultinomial])
def test_losses_come_back_from_their_configuration(kind):
    loss = kind([3, 2], label_smoothing=0.05)
    back = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(back) is kind
    assert back.get_config() == loss.get_config()


def test_training_metrics_are_of_the_winning_answers():
    votes = np.array([[8, 2, 0, 0, 0], [1, 5, 4, 9, 1], [0, 1, 9, 0, 1]], np.float32)
    outputs = np.array([[9, 1, 1, 1, 99], [9, 1, 1, 1, 1], [1, 1, 9, 1, 1]], np.float32)
    accuracy, macro_f1 = WinnerAccuracy(3), WinnerMacroF1(3)
    for metric in (accuracy, macro_f1):
        metric.update_state(votes, outputs)
    assert float(accuracy.result()) == pytest.approx(2 / 3)
    assert float(macro_f1.result()) == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert keras.metrics.deserialize(keras.metrics.serialize(accuracy)).n_classes == 3


def build(questions: Questions, loss: str, **values: float) -> keras.Model:
    hp = keras_tuner.HyperParameters()
    hypermodel = GalaxyCNN((24, 24, 3), 3, questions=questions, are_counts=True)
    hypermodel.declare_hyperparameters(hp)
    hp.values |= SMALL | {"loss": loss} | values
    return hypermodel.build(hp)


@pytest.mark.parametrize("loss", ["crossentropy", "dirichlet_multinomial"])
@pytest.mark.parametrize("questions", [ONE, TREE], ids=["one question", "tree"])
def test_networks_give_fractions_or_concentrations_and_are_saved_without_galaxy_exp(questions, loss, tmp_path):
    model = build(questions, loss, augmentation="flips")
    images = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
    outputs = model.predict(images, verbose=0)
    assert outputs.shape == (6, questions.n_answers)
    assert outputs.dtype == np.float32
    assert states_concentrations(questions, outputs) == (loss == "dirichlet_multinomial")
    totals = questions.totals(outputs)
    if loss == "crossentropy":
        np.testing.assert_allclose(totals, 1, rtol=1e-5)
    else:
        assert (totals > 2.7).all()
        assert np.isfinite(fraction_intervals(outputs, questions)[0]).all()
    kept = to_inference_model(model)
    assert is_portable(kept)
    kept.save(tmp_path / "model.keras")
    assert b"galaxy_exp" not in (tmp_path / "model.keras").read_bytes()
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), outputs, rtol=1e-5)


def test_a_network_in_bfloat16_gives_float32_whose_fractions_sum_to_one():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(TREE, "crossentropy")
        outputs = model.predict(np.full((2, 24, 24, 3), 9, np.uint8), verbose=0)
        kept = to_inference_model(model)
    finally:
        keras.config.set_dtype_policy(before)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(TREE.totals(outputs), 1, rtol=1e-5)
    leaves = [layer for layer in kept._flatten_layers() if layer.weights and not isinstance(layer, keras.Model)]
    assert {layer.compute_dtype for layer in leaves} == {"float32"}


@pytest.mark.parametrize(("loss", "weighting"), [("crossentropy", "balanced"), ("dirichlet_multinomial", "sampling")])
def test_training_learns_fractions_that_follow_from_brightness(loss, weighting):
    rng = np.random.default_rng(1)
    brightness = rng.uniform(0, 1, 300)
    images = np.clip(255 * brightness[:, None, None, None] + rng.normal(0, 5, (300, 24, 24, 3)), 0, 255)
    fractions = np.stack([0.8 * brightness + 0.1, 0.9 - 0.8 * brightness - 0.05, np.full(300, 0.05)], axis=1)
    votes = rng.multinomial(40, fractions).astype(np.float32)
    keras.utils.set_random_seed(3)
    hypermodel = GalaxyCNN((24, 24, 3), 3, questions=ONE, are_counts=True)
    hp = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(hp)
    hp.values |= SMALL | {"loss": loss, "dropout_1": 0.0, "dropout_2": 0.0, "head": "gap", "learning_rate": 3e-3}
    hp.values["class_weighting"] = weighting
    model = hypermodel.build(hp)
    history = hypermodel.fit(hp, model, images.astype(np.uint8), votes, epochs=25, seed=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["accuracy"][-1] > 0.85
    predicted = ONE.fractions(model.predict(images.astype(np.uint8), verbose=0))
    assert np.abs(predicted - fractions).mean() < 0.06


def test_loss_is_a_hyperparameter_of_counts_alone():
    names = []
    for arguments in ({}, {"questions": ONE}, {"questions": ONE, "are_counts": True}):
        hp = keras_tuner.HyperParameters()
        GalaxyCNN((24, 24, 3), 3, **arguments).declare_hyperparameters(hp)
        names.append([entry.name for entry in hp.space])
    assert names[0] == names[1]
    assert names[2] == [*names[1], "loss"]
    assert hp.values["loss"] == "crossentropy"


def test_batches_of_votes_are_weighted_and_drawn_by_class():
    votes = np.arange(12, dtype=np.float32).reshape(6, 2)
    classes = np.array([0, 0, 0, 0, 1, 1])
    weights = np.array([1.0, 3.0], np.float32)
    batches = Batches(np.arange(6), votes, 4, seed=1, classes=classes, class_weights=weights, balanced=True)
    batches.on_epoch_begin()
    for index in range(2):
        chosen, targets, found = batches[index]
        np.testing.assert_array_equal(targets, votes[chosen])
        np.testing.assert_array_equal(found, weights[classes[chosen]])
    drawn = np.concatenate([batches.positions(index) for index in range(2)])
    assert np.bincount(classes[drawn]).tolist() == [3, 3]


def test_a_rare_winner_counts_as_the_most_common():
    winners = np.array([0] * 50 + [1] * 20 + [2])
    assert np.bincount(replace_rare_winners(winners)).tolist() == [51, 20]
    assert replace_rare_winners(winners[:70]).tolist() == winners[:70].tolist()
    assert len(replace_rare_winners(np.empty(0, np.int64))) == 0
