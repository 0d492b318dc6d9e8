"""Trials on volunteers' votes: the built-in network, users' own, checkpoints, and what is refused."""

from dataclasses import replace

import keras
import keras_tuner
import numpy as np
import pytest

from galaxy_exp.evaluation.vote_metrics import summarise_votes
from galaxy_exp.hypermodel import discover_space, load_hypermodel
from galaxy_exp.questions import Votes
from galaxy_exp.records import Decision, Objective, TrialState
from galaxy_exp.training.fitting import open_split
from galaxy_exp.training.trial import run_trial
from galaxy_exp.training.trial_files import load_network

from .conftest import ONE, TREE, add_votes

DEVIANCE = Objective("val_deviance", "min")


@pytest.fixture
def make_vote_spec(make_spec, split, tmp_path):
    def make(questions=TREE, are_counts=True, hypermodel="galaxy-cnn", values=None, **changes):
        votes = (questions, are_counts)
        space = discover_space(load_hypermodel(hypermodel, (24, 24, 3), 3, *votes))
        spec = make_spec(values={**({"loss": "crossentropy"} if are_counts else {}), **(values or {})})
        if hypermodel != "galaxy-cnn":
            spec = replace(spec, values=space.defaults | (values or {}))
        data = add_votes(split, tmp_path, *votes)
        fields = {"space": space.get_config(), "hypermodel": hypermodel, "data": data, "objective": DEVIANCE}
        return replace(spec, **fields | changes)

    return make


def run(spec, decide=lambda report: Decision.CONTINUE):
    reports = []

    def report(each):
        reports.append(each)
        return decide(each)

    return run_trial(spec, report), reports


@pytest.mark.parametrize("loss", ["crossentropy", "dirichlet_multinomial"])
@pytest.mark.parametrize("questions", [ONE, TREE], ids=["one question", "tree"])
def test_a_trial_on_counts_reports_scores_of_votes_and_keeps_its_best_epoch(make_vote_spec, questions, loss):
    spec = make_vote_spec(questions, values={"loss": loss, "augmentation": "flips"})
    result, reports = run(spec)
    assert result.state is TrialState.COMPLETED, result.traceback
    votes = open_split(spec.data).validation_votes
    outputs = np.load(spec.folder / "validation_probabilities.npy")
    assert outputs.shape == (30, questions.n_answers)
    expected = {f"val_{name}": value for name, value in summarise_votes(votes, outputs, 0.8).items()}
    assert {name: result.metrics[name] for name in expected} == expected
    assert result.metrics["val_deviance"] == min(each.metrics["val_deviance"] for each in reports)
    assert {"loss", "accuracy", "macro_f1", "val_nll", "val_coverage"} <= set(result.metrics)
    loaded = load_network(spec.folder)
    images = np.load(spec.data.validation_images)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(images)), outputs, rtol=1e-4, atol=1e-5)


def test_a_trial_on_fractions_has_no_scores_of_counts(make_vote_spec):
    result, _ = run(make_vote_spec(are_counts=False))
    assert result.state is TrialState.COMPLETED, result.traceback
    assert {"val_nll", "val_coverage"}.isdisjoint(result.metrics)
    assert result.metrics["val_loss"] >= result.metrics["val_deviance"]


def test_counts_and_their_fractions_train_the_same_network(make_vote_spec):
    values = {"class_weighting": "sqrt", "label_smoothing": 0.1}
    losses = [run(make_vote_spec(TREE, counts, values=values))[1][-1].metrics["loss"] for counts in (True, False)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("weighting", ["balanced", "sampling"])
def test_a_paused_trial_continues_bit_for_bit(make_vote_spec, tmp_path, weighting):
    values = {"loss": "dirichlet_multinomial", "class_weighting": weighting, "schedule": "cosine"}
    spec = make_vote_spec(values=values, checkpoints=tmp_path / "checkpoints", deterministic=True)
    _, whole_reports = run(replace(spec, checkpoints=None, folder=tmp_path / "whole"))
    paused, first = run(spec, lambda each: Decision.PAUSE if each.epoch == 2 else Decision.CONTINUE)
    assert (paused.state, paused.reason) == (TrialState.STOPPED, "paused after epoch 2 of 3")
    checkpoint = next((tmp_path / "checkpoints").glob("*.npz"))
    continued, rest = run(replace(spec, resume_from=checkpoint, first_epoch=2, attempt=3))
    assert continued.state is TrialState.COMPLETED, continued.reason
    assert "anew" not in continued.reason
    timed = {"epoch_seconds", "images_per_second"}
    found = [{k: v for k, v in each.metrics.items() if k not in timed} for each in (*first, *rest)]
    assert found == [{k: v for k, v in each.metrics.items() if k not in timed} for each in whole_reports]
    arrays = [np.load(tmp_path / name / "validation_probabilities.npy") for name in ("whole", "trial")]
    np.testing.assert_array_equal(*arrays)


class Own(keras_tuner.HyperModel):
    """A user's network for votes."""

    activation = "softmax"
    loss = "categorical_crossentropy"
    scale = 1.0

    def __init__(self, n_answers=0):
        super().__init__()
        self.n_answers = n_answers

    def build(self, hp):
        model = keras.Sequential(
            [
                keras.Input((24, 24, 3), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(hp.Int("units", 2, 8, default=4)),
                keras.layers.Dense(self.n_answers, activation=self.activation),
                keras.layers.Rescaling(self.scale),
            ]
        )
        model.compile("adam", self.loss)
        return model


class OwnFit(Own):
    seen: list[tuple[int, ...]] = []

    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        self.seen.append((*y.shape, *validation_data[1].shape))
        return model.fit(x, y, validation_data=validation_data, **kwargs)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_a_user_defined_network_is_trained_on_votes(make_vote_spec, user_models, scale):
    user_models.M = type("M", (Own,), {"scale": scale, "loss": "mse"})
    result, _ = run(make_vote_spec(ONE, hypermodel="user_models:M"))
    assert result.state is TrialState.COMPLETED, result.traceback
    assert result.metrics["val_deviance"] > 0


def test_a_user_defined_fit_gets_votes(make_vote_spec, user_models):
    user_models.M = OwnFit
    result, _ = run(make_vote_spec(ONE, hypermodel="user_models:M"))
    assert result.state is TrialState.COMPLETED, result.traceback
    assert OwnFit.seen[-1] == (60, 3, 30, 3)


@pytest.mark.parametrize(
    ("questions", "changes", "message"),
    [
        (
            ONE,
            {"loss": "sparse_categorical_crossentropy"},
            r"does not fit a network that gives 3 numbers.*refuses votes",
        ),
        (ONE, {"activation": "linear", "loss": "mse"}, "the network gives -.* for an answer; expected fractions"),
        (ONE, {"activation": "sigmoid", "loss": "mse"}, "sum to .*; expected fractions .* or concentrations"),
        (TREE, {}, r"the network's numbers for a question sum to .*; expected fractions"),
        (TREE, {"n_answers": 3}, r"output has shape \(None, 3\); expected \(images, 5\), one per answer"),
    ],
)
def test_networks_that_give_no_fractions_are_refused(make_vote_spec, user_models, questions, changes, message):
    build = Own.build

    def with_few_answers(self, hp):
        self.n_answers = changes.get("n_answers", self.n_answers)
        return build(self, hp)

    user_models.M = type(
        "M", (Own,), {**{k: v for k, v in changes.items() if k != "n_answers"}, "build": with_few_answers}
    )
    result, _ = run(make_vote_spec(questions, hypermodel="user_models:M"))
    assert result.state is TrialState.FAILED
    assert "\n" not in result.reason
    assert __import__("re").search(message, result.reason), result.reason


def test_agreement_says_which_images_count_for_accuracy(make_vote_spec):
    votes = open_split(make_vote_spec(ONE).data).validation_votes
    assert isinstance(votes, Votes)
    spec = make_vote_spec(ONE, agreement=1.0)
    result, _ = run(spec)
    outputs = np.load(spec.folder / "validation_probabilities.npy")
    assert result.metrics["val_accuracy"] == summarise_votes(votes, outputs, 1.0)["accuracy"]


def test_lost_votes_are_lost_data(make_vote_spec):
    spec = make_vote_spec()
    spec.data.votes.train.unlink()
    result, _ = run(spec)
    assert result.reason.startswith("the prepared images are gone or damaged")
