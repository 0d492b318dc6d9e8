import keras_tuner
import pytest
from search.driving import distinct, finite_space, mixed_space
from search.test_optuna_distributions import CASES

from galaxy_exp.space.search_space import SearchSpace, fingerprint


def dimension_of(declare):
    space = keras_tuner.HyperParameters()
    declare(space)
    return SearchSpace.of(space).hyperparameters[0]


@pytest.mark.parametrize("declare", [case[0] for case in CASES.values()], ids=list(CASES))
class TestEveryKindOfDimension:
    def test_a_share_gives_a_value_of_the_space_and_the_value_its_share(self, declare):
        domain = dimension_of(declare).domain
        for u in (0.0, 0.1, 0.37, 0.5, 0.93, 1.0):
            value = domain.from_unit(u)
            assert domain.find(value) == pytest.approx(value)
            assert domain.from_unit(domain.to_unit(value)) == pytest.approx(value)
            if domain.n_choices is None:
                assert domain.to_unit(value) == pytest.approx(u, abs=1e-9)

    def test_shares_grow_with_the_value(self, declare):
        domain = dimension_of(declare).domain
        shares = [domain.to_unit(domain.from_unit(u / 20)) for u in range(21)]
        assert shares == sorted(shares)

    def test_all_values_are_listed_unless_there_is_no_end_to_them(self, declare):
        dimension = dimension_of(declare)
        if dimension.is_continuous:
            with pytest.raises(TypeError, match="has no finite list of values"):
                dimension.domain.values()
            return
        values = list(dimension.domain.values())
        assert len(values) == dimension.domain.n_choices > 1
        assert all(dimension.domain.find(value) is not None for value in values)
        assert len(set(values)) == len(values)


def test_values_outside_the_space_are_left_out():
    space = SearchSpace.of(mixed_space())
    assert space.find({"width": 999, "rate": 5.0, "kind": "z", "depth": 2, "growth": 1.3}) == {"depth": 2}
    assert space.find({"width": 64, "depth": 1, "growth": 1.5, "fixed": "yes"}) == {"width": 64, "depth": 1}


def test_a_finite_space_lists_each_configuration_once():
    configurations = list(SearchSpace.of(finite_space()).configurations())
    assert len(configurations) == len(distinct(configurations)) == 9
    assert all(("c" in values) == values["b"] for values in configurations)


def test_conditions_within_conditions_and_a_name_under_two_of_them():
    space = keras_tuner.HyperParameters()
    space.Choice("kind", ["a", "b"])
    with space.conditional_scope("kind", ["a"]):
        space.Boolean("deep")
        with space.conditional_scope("deep", [True]):
            space.Int("n", 1, 2)
    with space.conditional_scope("kind", ["b"]):
        space.Int("n", 5, 6)
    assert list(SearchSpace.of(space).configurations()) == [
        {"kind": "a", "deep": False},
        {"kind": "a", "deep": True, "n": 1},
        {"kind": "a", "deep": True, "n": 2},
        {"kind": "b", "n": 5},
        {"kind": "b", "n": 6},
    ]
    assert SearchSpace.of(space).find({"kind": "b", "n": 6}) == {"kind": "b", "n#2": 6}


def test_configurations_are_equal_whatever_their_order_and_kind_of_number():
    assert fingerprint({"a": 1, "b": "x"}) == fingerprint({"b": "x", "a": 1.0})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
