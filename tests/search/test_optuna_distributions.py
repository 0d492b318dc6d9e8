import keras_tuner
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from galaxy_exp.search.optuna_samplers import distribution_of, from_optuna, to_optuna
from galaxy_exp.space.search_space import SearchSpace

CASES = {
    "ordered choice": (lambda hp: hp.Choice("x", [16, 64, 32]), IntDistribution(0, 2), 2, 32),
    "text choice": (lambda hp: hp.Choice("x", ["a", "b"]), CategoricalDistribution(["a", "b"]), "b", "b"),
    "boolean": (lambda hp: hp.Boolean("x"), CategoricalDistribution([False, True]), True, True),
    "int": (lambda hp: hp.Int("x", 2, 9), IntDistribution(2, 9), 5, 5),
    "int with a step past the end": (lambda hp: hp.Int("x", 2, 9, step=3), IntDistribution(2, 8, step=3), 8, 8),
    "log int": (lambda hp: hp.Int("x", 1, 100, sampling="log"), IntDistribution(1, 100, log=True), 7, 7),
    "int in factors": (lambda hp: hp.Int("x", 8, 64, step=2, sampling="log"), IntDistribution(0, 3), 3, 64),
    "float": (lambda hp: hp.Float("x", 0.0, 1.0), FloatDistribution(0, 1), 0.25, 0.25),
    "float with step": (
        lambda hp: hp.Float("x", 0.0, 0.5, step=0.05),
        FloatDistribution(0, 0.5, step=0.05),
        0.05 * 7,
        0.35,
    ),
    "log float": (
        lambda hp: hp.Float("x", 1e-4, 1e-2, sampling="log"),
        FloatDistribution(1e-4, 1e-2, log=True),
        1e-3,
        1e-3,
    ),
}


@pytest.mark.parametrize(("declare", "distribution", "sampled", "value"), CASES.values(), ids=list(CASES))
def test_there_and_back(declare, distribution, sampled, value):
    space = keras_tuner.HyperParameters()
    declare(space)
    domain = SearchSpace.of(space).hyperparameters[0].domain
    assert distribution_of(domain) == distribution
    assert from_optuna(domain, sampled) == value
    assert to_optuna(domain, domain.find(value)) == pytest.approx(sampled)


def test_a_value_that_is_not_a_choice_is_not_found():
    space = keras_tuner.HyperParameters()
    space.Choice("x", [1, 2])
    assert SearchSpace.of(space).hyperparameters[0].domain.find(3) is None


def test_what_has_one_value_is_not_tunable():
    space = keras_tuner.HyperParameters()
    space.Fixed("a", 1)
    space.Choice("b", [1])
    space.Int("c", 4, 4)
    space.Float("d", 0.5, 0.5)
    space.Choice("e", [1, 2])
    space.Boolean("f")
    assert [each.is_tunable for each in SearchSpace.of(space).hyperparameters] == [
        False,
        False,
        False,
        False,
        True,
        True,
    ]


def test_a_name_under_two_conditions_gets_two_keys():
    space = keras_tuner.HyperParameters()
    space.Choice("kind", ["a", "b"])
    with space.conditional_scope("kind", ["a"]):
        space.Int("n", 1, 3)
    with space.conditional_scope("kind", ["b"]):
        space.Int("n", 5, 9)
    assert [each.key for each in SearchSpace.of(space).hyperparameters] == ["kind", "n", "n#2"]
