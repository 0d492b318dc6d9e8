"""Configurations that a user writes down, held against the space."""

import pytest

from galaxy_exp.config.sweep import RangeSpace, ValuesSpace
from galaxy_exp.errors import ConfigError
from galaxy_exp.hypermodel.discovery import discover_space
from galaxy_exp.hypermodel.galaxy_cnn import GalaxyCNN
from galaxy_exp.space.overrides import build_space, complete_configuration
from galaxy_exp.space.search_space import SearchSpace

HYPERMODEL = GalaxyCNN((32, 32, 3), 4)
DECLARED = discover_space(HYPERMODEL)


@pytest.fixture(scope="module")
def space():
    return build_space(
        HYPERMODEL,
        {"filters_1": ValuesSpace(values=(16, 32)), "n_blocks": RangeSpace(min=2, max=4), "optimizer": "adam"}
        | {"dense_width": RangeSpace(min=16, max=64, step=16)},
        DECLARED,
    )


def test_what_is_left_out_takes_the_default_of_the_sweeps_space(space):
    values = complete_configuration(HYPERMODEL, space, {"filters_1": 16}, "enqueue.0", DECLARED)
    assert values["filters_1"] == 16
    assert values["n_blocks"] == 2
    assert values["convs_per_block"] == 1
    assert "weight_decay" not in values
    assert space.misfit(values) is None


def test_values_may_lie_outside_the_space_and_bring_their_conditional_ones(space):
    values = complete_configuration(
        HYPERMODEL, space, {"optimizer": "adamw", "weight_decay": 0.01}, "enqueue.0", DECLARED
    )
    assert values["weight_decay"] == 0.01
    assert space.misfit(values) == "optimizer = adamw is outside the space"


def test_a_hypermodel_that_was_edited_meanwhile_is_no_obstacle(space):
    """Its hyperparameters come in another order now, and one is gone."""
    edited = SearchSpace(each for each in reversed(DECLARED.hyperparameters) if each.name != "batch_size")
    stated = {"filters_1": 32, "batch_size": 64}
    values = complete_configuration(HYPERMODEL, space, stated, "try", edited)
    assert values == complete_configuration(HYPERMODEL, space, stated, "try", DECLARED)


def test_a_number_takes_the_type_of_its_hyperparameter(space):
    values = complete_configuration(HYPERMODEL, space, {"dropout_1": 0, "batch_size": 64.0}, "enqueue.0", DECLARED)
    assert (values["dropout_1"], values["batch_size"]) == (0.0, 64)
    assert isinstance(values["dropout_1"], float)
    assert isinstance(values["batch_size"], int)


def test_every_mistake_is_told_with_its_place(space):
    wrong = {"filter_1": 16, "dropout_1": 2.0, "optimizer": "adan", "weight_decay": 0.1}
    with pytest.raises(ConfigError) as caught:
        complete_configuration(HYPERMODEL, space, wrong, "search.enqueue.3", DECLARED)
    lines = str(caught.value)
    assert 'search.enqueue.3.filter_1: unknown hyperparameter; did you mean "filters_1"?' in lines
    assert "search.enqueue.3.dropout_1: 2 was found; expected 0 to 0.95" in lines
    assert "search.enqueue.3.optimizer: 'adan' is not possible" in lines
    assert "search.enqueue.3.weight_decay: has no effect here" in lines


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"filters_1": 64}, "filters_1 = 64 is outside the space"),
        ({"n_blocks": 5}, "n_blocks = 5 is outside the space"),
        ({"dense_width": 48.5}, "dense_width = 48.5 is outside the space"),
        ({"dense_width": 50}, "dense_width = 50 is outside the space"),
        ({"convs_per_block": True}, "convs_per_block = True is outside the space"),
        ({"batch_norm": 1}, "batch_norm = 1 is outside the space"),
        ({"batch_norm": "yes"}, "batch_norm = yes is outside the space"),
        ({"learning_rate": None}, "learning_rate is missing"),
        ({"weight_decay": 0.1}, "weight_decay is not among its hyperparameters"),
    ],
)
def test_why_a_configuration_is_not_one_of_the_space(space, change, why):
    values = complete_configuration(HYPERMODEL, space, {}, "x", DECLARED) | change
    assert space.misfit({name: value for name, value in values.items() if value is not None}) == why


@pytest.mark.parametrize("name", ["residual", "equivariant"])
def test_a_stored_space_that_lacks_a_new_hyperparameter_is_completed_as_it_was(space, name):
    stored = SearchSpace(tuple(each for each in space.hyperparameters if each.name != name))
    values = complete_configuration(HYPERMODEL, stored, {"filters_1": 16, "dropout_1": 0.5}, "tell", DECLARED)
    assert (values["filters_1"], values["dropout_1"]) == (16, 0.5)
    assert name not in values
    with pytest.raises(ConfigError, match=rf"tell\.{name}: unknown hyperparameter"):
        complete_configuration(HYPERMODEL, stored, {name: True}, "tell", DECLARED)
