"""A name that MLflow's filters cannot quote is refused before anything is trained."""

from __future__ import annotations

import pytest

from galaxy_exp.config import parse_sweep
from galaxy_exp.errors import ConfigError


@pytest.mark.parametrize("name", ["galaxy10-cnn", "My model_2.1"])
def test_plain_names_are_taken(name: str) -> None:
    assert parse_sweep({"registry": {"model": name}}, "sweep.yaml").registry.model == name


@pytest.mark.parametrize("name", ["my'model", 'my"model', "a/b", "a:b", "a@b", "a`b", "a%b", "line\n", ""])
def test_other_names_are_refused_with_the_key_and_the_rule(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_sweep({"registry": {"model": name}}, "sweep.yaml")
    (problem,) = caught.value.problems
    assert problem == f"sweep.yaml: registry.model: found {name!r}; expected text matching ^[A-Za-z0-9 ._-]+$"
