"""Names of hyperparameters and metrics in MLflow, which refuses some characters and some paths."""

from __future__ import annotations

import pytest
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name, _validate_param

from galaxy_exp.tracking.names import allowed_name, trial_params

ODD = ("head/", "/lr", "a//b", "./x", "..", "../x", "a/./b", "/", "", "units (1)", "é/ü", "x" * 300, f"{'x' * 239}/y")


@pytest.mark.parametrize("name", ODD)
def test_mlflow_accepts_every_name(name: str) -> None:
    allowed = allowed_name(name)
    assert _validate_param(allowed, "1").key == allowed
    _validate_metric_name(allowed)
    assert len(allowed) <= MAX_ENTITY_KEY_LENGTH


@pytest.mark.parametrize("name", ["learning_rate", "tuner/trial_id", "conv-1.width: a", "spirale é"])
def test_a_name_that_mlflow_accepts_stays(name: str) -> None:
    assert allowed_name(name) == name


def test_no_hyperparameter_is_lost() -> None:
    params = trial_params({"units (1)": 4, "units [1]": 8, "units _1_": 16, "units {1}": 32}, {"seed": 1})
    assert params == {"units _1_": 16, "units _1__2": 32, "units _1__3": 8, "units _1__4": 4, "seed": 1}
    long = trial_params({"x" * 300: "1", "x" * 299: "2"}, {})
    assert [_validate_param(name, value).value for name, value in long.items()] == ["2", "1"]
    assert trial_params({"a (1)": 1, "a [1]": 2}, {})["a _1_"] == 2  # as in earlier releases


def test_a_hyperparameter_called_like_another_param_keeps_its_name() -> None:
    assert trial_params({"seed": 3}, {"seed": 1}) == {"seed": 3, "galaxy_exp.seed": 1}
