import math

import pytest

from galaxy_exp.records import Objective
from galaxy_exp.search.history import best_key, promise

SCORE, LOSS = Objective("score", "max"), Objective("loss", "min")


def test_the_best_value_counts_whatever_comes_later():
    assert best_key(SCORE, [0.1, 0.7, 0.3]) == -0.7
    assert best_key(LOSS, [0.9, 0.2, 0.4]) == 0.2


@pytest.mark.parametrize("curve", [[], [math.nan], [math.nan] * 4])
def test_without_a_value_a_trial_is_the_worst(curve):
    assert best_key(SCORE, curve) == math.inf
    assert promise(SCORE, curve, len(curve), 20) == math.inf


def test_after_one_epoch_and_after_the_last_one_nothing_is_added():
    assert promise(SCORE, [0.4], 1, 20) == -0.4
    assert promise(SCORE, [0.1, 0.2, 0.4, 0.5], 4, 4) == -0.5


def test_a_curve_that_gains_promises_more_than_it_reached_and_one_that_does_not_what_it_reached():
    assert promise(SCORE, [0.1, 0.4], 2, 20) < -0.4
    assert promise(SCORE, [0.4, 0.1], 2, 20) == -0.4


def test_of_two_that_reached_the_same_the_one_that_gained_more_promises_more():
    steep, flat = [0.1, 0.2, 0.4, 0.5], [0.45, 0.48, 0.49, 0.5]
    assert promise(SCORE, steep, 4, 20) < promise(SCORE, flat, 4, 20)


def test_the_longer_the_training_the_more_is_promised():
    promised = [promise(SCORE, [0.1, 0.4], 2, epochs) for epochs in (2, 4, 20, 80)]
    assert promised == sorted(promised, reverse=True)
    assert len(set(promised)) == 4


def test_only_the_first_epochs_are_looked_at():
    assert promise(SCORE, [0.1, 0.4, 0.9, 0.9], 2, 20) == promise(SCORE, [0.1, 0.4], 2, 20)


def test_nan_is_passed_over():
    assert promise(SCORE, [0.1, math.nan, 0.3, math.nan], 4, 20) < -0.3
    assert promise(SCORE, [math.nan, 0.3], 2, 20) == -0.3


def test_smaller_is_better_when_minimising():
    curve = [0.9, 0.6, 0.5, 0.4]
    assert promise(LOSS, curve, 4, 20) == pytest.approx(promise(SCORE, [-value for value in curve], 4, 20))
    assert promise(LOSS, curve, 4, 20) < 0.4


def test_the_gain_of_the_first_epochs_is_trusted_less_than_a_later_one():
    """Both gained 0.2 in the latest doubling of their epochs."""
    early = promise(SCORE, [0.3, 0.5], 2, 32)
    late = promise(SCORE, [0.1, 0.3, 0.4, 0.5], 4, 64)
    assert late < early < -0.5
