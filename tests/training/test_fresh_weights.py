"""A trial begins with weights of its own, and not with what an earlier one in the same process learned."""

import keras
import numpy as np
import pytest

from galaxy_exp.records import Decision, TrialState
from galaxy_exp.training.fresh_weights import SharedWeightsError, refuse_shared_weights
from galaxy_exp.training.trial import run_trial
from galaxy_exp.training.trial_network import build_network, trial_session


def network(*layers):
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])


def test_new_layers_are_fresh():
    for _ in range(3):
        refuse_shared_weights(network(keras.layers.Dense(3), keras.layers.Dropout(0.5)))


def test_layers_of_an_earlier_network_are_refused_if_they_are_trained():
    shared = keras.layers.Dense(3, name="shared")
    first = network(shared)
    refuse_shared_weights(first)
    for _ in range(2):  # a refusal is remembered
        with pytest.raises(SharedWeightsError, match=r"the weights .*shared/kernel are those of an earlier trial"):
            refuse_shared_weights(network(shared))


def test_frozen_layers_may_be_shared_until_a_trial_changes_them():
    shared = keras.layers.Dense(3, trainable=False)
    networks = [network(shared) for _ in range(3)]
    for each in networks[:2]:
        refuse_shared_weights(each)
    shared.bias.assign(np.ones(3))
    with pytest.raises(SharedWeightsError):
        refuse_shared_weights(networks[2])


def test_a_trial_whose_build_returns_the_model_of_the_one_before_fails(make_spec, user_models):
    model = keras.Sequential([keras.Input((24, 24, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    user_models.build = lambda hp: model
    spec = make_spec("user_models:build", epochs=1)
    states = [run_trial(spec, lambda report: Decision.CONTINUE) for _ in range(2)]
    assert [each.state for each in states] == [TrialState.COMPLETED, TrialState.FAILED]
    assert "expected a build that makes its layers anew" in states[1].reason


def test_shared_random_layers_begin_with_the_seed_of_the_trial(make_spec, user_models):
    """Whatever the trials before drew from them; those that are made in `build` have seeds already."""
    shared = keras.layers.Dropout(0.5, name="shared")

    def build(hp):
        layers = [keras.Input((24, 24, 3)), keras.layers.Flatten(), shared, keras.layers.Dropout(0.1, seed=5)]
        model = keras.Sequential([*layers, keras.layers.Dense(3)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    user_models.build = build
    spec = make_spec("user_models:build")
    states = []
    for _ in range(2):
        with trial_session(spec):
            model = build_network(spec, np.load(spec.data.train_images)).model
        states.append([np.asarray(each) for each in model.variables if each.dtype != "float32"])
        shared.seed_generator.next()
    assert len(states[0]) == 2
    assert [5, 0] in np.asarray(states[0]).tolist()
    np.testing.assert_array_equal(*states)
