import math

import pytest

from galaxy_exp.config.sweep import SearchConfig
from galaxy_exp.errors import ConfigError
from galaxy_exp.records import Objective
from galaxy_exp.search.pruners import AshaPruner, NoPruner, build_pruner

ASHA = AshaPruner(Objective("score", "max"), first_rung=2, reduction_factor=3)


def test_rungs_grow_by_the_factor():
    assert [epoch for epoch in range(1, 60) if ASHA.is_rung(epoch)] == [2, 6, 18, 54]


def test_between_rungs_nothing_is_stopped():
    assert not ASHA.should_stop([0.0], [[1.0, 1.0]] * 9)


def test_with_too_few_to_compare_a_trial_goes_on():
    assert not ASHA.should_stop([0.0, 0.0], [[1.0, 1.0]])


@pytest.mark.parametrize(("own", "stops"), [(0.95, False), (0.75, False), (0.65, False), (0.55, True), (0.0, True)])
def test_the_top_third_goes_on(own, stops):
    others = [[0.0, value] for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)]
    assert ASHA.should_stop([0.0, own], others) is stops


def test_a_rung_counts_the_best_epoch_so_far_and_nothing_later():
    others = [[0.1, 0.2, 0.9], [0.1, 0.2, 0.9], [0.1, 0.2, 0.9]]
    assert not ASHA.should_stop([0.3, 0.1], others)


def test_trials_that_did_not_reach_the_rung_do_not_count():
    assert not ASHA.should_stop([0.0, 0.0], [[1.0]] * 9)


def test_smaller_is_better_when_minimising():
    pruner = AshaPruner(Objective("loss", "min"), 1, 2)
    assert pruner.should_stop([2.0], [[1.0], [1.5]])
    assert not pruner.should_stop([0.5], [[1.0], [1.5]])


def test_nan_is_the_worst():
    assert ASHA.should_stop([math.nan, math.nan], [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]])


def test_none_never_stops():
    assert not NoPruner().is_rung(2)
    assert isinstance(build_pruner(SearchConfig(pruner="none")), NoPruner)


def test_the_sweep_file_sets_the_rungs():
    pruner = build_pruner(SearchConfig(first_rung=4, reduction_factor=2))
    assert [epoch for epoch in range(1, 20) if pruner.is_rung(epoch)] == [4, 8, 16]


def test_an_unknown_pruner_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r'search.pruner: unknown pruner "asah"; did you mean "asha"'):
        build_pruner(SearchConfig(pruner="asah"))
