import keras_tuner
import pytest

from galaxy_exp.check.sweep_check import count_configurations, reachable
from galaxy_exp.hypermodel import discover_space, load_hypermodel
from galaxy_exp.space.overrides import build_space
from galaxy_exp.space.search_space import SearchSpace


@pytest.fixture
def hp():
    return keras_tuner.HyperParameters()


def test_values_of_each_kind(hp):
    hp.Fixed("fixed", 3)
    hp.Choice("choice", ["a", "b", "c"])
    hp.Boolean("boolean")
    hp.Int("int", 2, 7, step=2)
    hp.Float("grid", 0.0, 0.6, step=0.05)
    hp.Float("continuous", 1e-4, 1e-2, sampling="log")
    assert [each.domain.n_values for each in SearchSpace.of(hp).hyperparameters] == [1, 3, 2, 3, 13, None]


def test_what_is_not_active_makes_no_configurations(hp):
    hp.Choice("kind", ["a", "b", "c"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Int("depth", 1, 2)
        with hp.conditional_scope("depth", [2]):
            hp.Choice("inner", [1, 2, 3, 4, 5])
    hp.Boolean("other")
    space = SearchSpace.of(hp)
    assert count_configurations(space) == (1 + (1 + 5) + 1) * 2
    assert len(list(space.configurations())) == 16


def test_a_continuous_range_counts_only_where_it_can_be_active(hp):
    hp.Fixed("optimizer", "adam")
    with hp.conditional_scope("optimizer", ["adamw"]):
        hp.Float("decay", 1e-4, 1e-2, sampling="log")
    hp.Choice("filters", [1, 2, 3])
    space = SearchSpace.of(hp)
    assert count_configurations(space) == 3
    assert reachable(space) == {"optimizer", "filters"}
    hp.Float("rate", 1e-4, 1e-2)
    assert count_configurations(SearchSpace.of(hp)) is None


def test_a_large_space_is_counted_without_going_through_it():
    hypermodel = load_hypermodel("galaxy-cnn", (69, 69, 3), 10)
    space = build_space(hypermodel, {"learning_rate": 1e-3, "optimizer": "adam"}, discover_space(hypermodel))
    per_depth = 4 * 4 * 2 * 2 * 13 * 2 * 5 * 15 * 4 * 3 * 2 * 4 * 4
    deeper = 4 * 2 * 3 * 2 * 2  # depths; convolutions, growth, residual units and equivariant layers need two blocks
    assert count_configurations(space) == (1 + deeper) * per_depth
