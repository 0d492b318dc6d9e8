import re
import time

import keras
import pytest

from galaxy_exp.check.prober import Prober
from galaxy_exp.check.probing import probe_network

pytestmark = pytest.mark.slow


def test_a_network_is_counted_and_timed(make_spec):
    found = probe_network(make_spec(), with_timing=True)
    assert found.problem == ""
    assert (found.parameters, found.batch_size, found.precision) == (1_792, 32, "float32")
    assert found.flops > 0 < found.memory_bytes
    assert found.timing is not None
    assert found.timing.epoch_seconds > 0 < found.timing.seconds_per_image
    assert keras.config.dtype_policy().name == "float32"


def test_what_a_fit_of_one_s_own_does_first_is_counted_at_each_start(make_spec):
    timing = probe_network(make_spec("toys:PreparingHyperModel"), with_timing=True).timing
    assert timing.start_seconds > 1
    assert timing.once_seconds == 0


def test_the_warm_up_of_a_head_is_counted_once_a_trial(make_spec, monkeypatch):
    def slow(*arguments):
        time.sleep(1)

    monkeypatch.setattr("galaxy_exp.hypermodel.galaxy_cnn.warm_up_head", slow)
    timing = probe_network(make_spec(start="pretrained"), with_timing=True).timing
    assert timing.once_seconds >= 1


def test_without_timing_nothing_is_trained(make_spec):
    assert probe_network(make_spec(), with_timing=False).timing is None


@pytest.mark.parametrize(
    ("hypermodel", "values", "problem"),
    [
        ("galaxy-cnn", {"kernel_size": 15}, "Computed output size would be zero or negative"),
        ("galaxy-cnn", {"filters_2": 2048, "dense_width": 10**9}, "weights, .* of them in layer dense, take .* GB"),
        ("galaxy-cnn", {"batch_size": 10**9}, "training takes about .* at batches of 1000000000"),
        ("toys:MoodyHyperModel", {"mood": "raise"}, "RuntimeError: a bad day with a second line$"),
    ],
)
def test_a_network_that_cannot_be_trained_here_says_why(make_spec, hypermodel, values, problem):
    found = probe_network(make_spec(hypermodel, **values), with_timing=True)
    assert re.search(problem, found.problem), found.problem
    assert found.timing is None


def test_a_network_that_ends_its_process_ends_nothing_else(make_spec):
    with Prober() as prober:
        killed = prober.probe(make_spec("toys:MoodyHyperModel", mood="suicide"), with_timing=False)
        fine = prober.probe(make_spec("toys:MoodyHyperModel"), with_timing=False)
    assert killed.problem == "its process was ended by the system, probably because memory ran out"
    assert (fine.problem, fine.parameters > 0) == ("", True)
