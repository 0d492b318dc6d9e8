"""What is left of a trial when the next one begins."""

import weakref

import tensorflow as tf

from galaxy_exp.training.machine import fresh_session


def trace_a_swish():
    """A weak reference to the graph of a function with a custom gradient, which TensorFlow registers for ever."""
    function = tf.function(tf.nn.silu)
    return weakref.ref(function.get_concrete_function(tf.TensorSpec([2], tf.float32)).graph)


def test_graphs_of_earlier_trials_are_let_go():
    with fresh_session(1, "float32", deterministic=False):
        graph = trace_a_swish()
    with fresh_session(2, "float32", deterministic=False):
        assert graph() is None
