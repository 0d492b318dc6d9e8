from types import SimpleNamespace

import pytest

from benchmarks.runs import _has_mixed_curve, has_hyperparameters

NAMES = ["filters_1", "learning_rate"]


@pytest.mark.parametrize(
    ("params", "has"),
    [
        ({"filters_1": "32", "learning_rate": "0.1"}, True),
        ({"filters_1": "32", "opt_learning_rate": "0.1"}, True),
        ({"opt_learning_rate": "0.1", "batch_size": "32"}, False),
    ],
)
def test_every_hyperparameter_is_needed(params, has):
    assert has_hyperparameters(params, NAMES) is has


@pytest.mark.parametrize(("steps", "mixed"), [([0, 1, 2], False), ([0, 1, 0, 1], True)])
def test_curve_with_an_epoch_twice_is_mixed(steps, mixed):
    client = SimpleNamespace(get_metric_history=lambda run_id, name: [SimpleNamespace(step=step) for step in steps])
    run = SimpleNamespace(data=SimpleNamespace(metrics={"val_accuracy": 0.5}), info=SimpleNamespace(run_id="1"))
    assert _has_mixed_curve(client, run) is mixed
