"""What is left of a trial when the next one begins."""

import sys
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from galaxy_exp.records import Decision, TrialState
from galaxy_exp.training import run_trial
from galaxy_exp.training.machine import fresh_session
from galaxy_exp.training.trial_network import build_network, trial_session


def trace_a_swish():
    """A weak reference to the graph of a function with a custom gradient, which TensorFlow registers for ever."""
    function = tf.function(tf.nn.silu)
    return weakref.ref(function.get_concrete_function(tf.TensorSpec([2], tf.float32)).graph)


def test_graphs_of_earlier_trials_are_let_go():
    with fresh_session(1, "float32", deterministic=False):
        graph = trace_a_swish()
    with fresh_session(2, "float32", deterministic=False):
        assert graph() is None


MODULE = """
import keras
keras.mixed_precision.set_global_policy("mixed_bfloat16")
keras.utils.set_random_seed(42)
def build(hp):
    units = hp.Int("units", 2, 4)
    layers = [keras.Input((24, 24, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(units)]
    model = keras.Sequential([*layers, keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
def build_clean(hp):
    keras.backend.clear_session()
    return build(hp)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that sets for all what a sweep sets for each trial."""
    (tmp_path / "settings_of_a_user.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    before = keras.config.dtype_policy()
    yield "settings_of_a_user"
    keras.config.set_dtype_policy(before)
    sys.modules.pop("settings_of_a_user", None)


def test_what_a_module_sets_when_it_is_imported_does_not_change_the_first_trial_alone(make_spec, module):
    spec = make_spec(f"{module}:build")
    del sys.modules[module]
    built = []
    for _ in range(2):
        with trial_session(spec):
            model = build_network(spec, np.load(spec.data.train_images)).model
        built.append((model.dtype_policy.name, *map(np.ndarray.tolist, model.get_weights())))
    assert built[0] == built[1]
    assert built[0][0] == "float32"


def test_a_build_that_changes_the_policy_is_refused(make_spec, module):
    result = run_trial(make_spec(f"{module}:build_clean", precision="mixed_bfloat16"), lambda report: Decision.CONTINUE)
    assert result.state is TrialState.FAILED
    assert "changes Keras's dtype policy from mixed_bfloat16 to float32" in result.reason
