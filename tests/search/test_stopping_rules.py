import math
from collections import Counter

import pytest

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.records import Objective
from galaxy_exp.search.schedulers import StoppingScheduler, build_scheduler
from galaxy_exp.search.stopping_rules import AshaStopping, HyperbandStopping, MedianStopping, PatienceStopping

RULES = ("asha-stop", "hyperband-stop", "median", "patience", "none")

SCORE = Objective("score", "max")
LOSS = Objective("loss", "min")
ASHA = AshaStopping(SCORE, first_rung=2, reduction_factor=3, epochs=100)
HYPERBAND = HyperbandStopping(SCORE, first_rung=2, reduction_factor=3, epochs=20)
MEDIAN = MedianStopping(SCORE, first_rung=2, epochs=10)
PATIENCE = PatienceStopping(SCORE, patience=3, epochs=20)


def rungs(rule, number=7, epochs=100):
    return [epoch for epoch in range(1, epochs + 1) if rule.is_rung(number, epoch)]


def build_rule(name, epochs, **search):
    scheduler = build_scheduler(SearchConfig(scheduler=name, **search), epochs)
    assert isinstance(scheduler, StoppingScheduler)
    return scheduler.rule


def against(curves):
    return dict(enumerate(curves, start=100))


@pytest.mark.parametrize("name", RULES)
class TestEveryRule:
    def test_the_first_decision_is_the_first_rung(self, name):
        rule = build_rule(name, 20)
        for number in range(60):
            assert rule.first_decision(number) == next(iter(rungs(rule, number, 20)), None)

    def test_after_the_last_epoch_there_is_nothing_to_decide(self, name):
        for epochs in (1, 2, 6, 18):
            rule = build_rule(name, epochs)
            assert not any(rule.is_rung(number, epochs) for number in range(60))

    def test_between_rungs_nothing_is_stopped(self, name):
        rule = build_rule(name, 20)
        others = {number: [1.0] * 20 for number in range(50)}
        for epoch in range(1, 21):
            stops = rule.should_stop(50, [0.0] * epoch, others)
            assert not stops or rule.is_rung(50, epoch)

    def test_a_curve_of_nan_is_no_obstacle(self, name):
        rule = build_rule(name, 20)
        others = {number: [math.nan, math.inf, -math.inf] * 7 for number in range(50)}
        for epoch in range(1, 20):
            assert rule.should_stop(50, [math.nan] * epoch, others) in (True, False)


class TestAsha:
    def test_rungs_grow_by_the_factor(self):
        assert rungs(ASHA) == [2, 6, 18, 54]

    def test_with_too_few_to_compare_a_trial_goes_on(self):
        assert not ASHA.should_stop(7, [0.0, 0.0], against([[1.0, 1.0]]))

    @pytest.mark.parametrize(("own", "stops"), [(0.95, False), (0.75, False), (0.65, False), (0.55, True), (0.0, True)])
    def test_the_top_third_goes_on(self, own, stops):
        others = against([0.0, value] for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))
        assert ASHA.should_stop(7, [0.0, own], others) is stops

    def test_a_rung_counts_the_best_epoch_so_far_and_nothing_later(self):
        assert not ASHA.should_stop(7, [0.3, 0.1], against([[0.1, 0.2, 0.9]] * 3))

    def test_trials_that_did_not_reach_the_rung_do_not_count(self):
        assert not ASHA.should_stop(7, [0.0, 0.0], against([[1.0]] * 9))

    def test_smaller_is_better_when_minimising(self):
        rule = AshaStopping(LOSS, 1, 2, 10)
        assert rule.should_stop(7, [2.0], against([[1.0], [1.5]]))
        assert not rule.should_stop(7, [0.5], against([[1.0], [1.5]]))

    def test_nan_is_the_worst(self):
        assert ASHA.should_stop(7, [math.nan, math.nan], against([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]))


class TestHyperband:
    def test_each_bracket_begins_a_rung_later_and_the_last_stops_nothing(self):
        found = {HYPERBAND.bracket_of(number): rungs(HYPERBAND, number) for number in range(49)}
        assert found == {0: [2, 6, 18], 1: [6, 18], 2: [18], 3: []}

    def test_the_shares_are_those_of_the_paper(self):
        counts = Counter(HYPERBAND.bracket_of(number) for number in range(49 * 3))
        assert [counts[bracket] for bracket in range(4)] == [27 * 3, 12 * 3, 6 * 3, 4 * 3]

    def test_every_stretch_of_trials_has_its_share(self):
        for n in range(1, 50):
            counts = Counter(HYPERBAND.bracket_of(number) for number in range(n))
            assert all(abs(counts[b] - n * share / 49) < 1 for b, share in enumerate((27, 12, 6, 4)))

    def test_only_its_own_bracket_is_compared_with(self):
        members = [number for number in range(100) if HYPERBAND.bracket_of(number) == 1]
        strangers = [number for number in range(100) if HYPERBAND.bracket_of(number) == 0]
        own, *rivals = members
        assert not HYPERBAND.should_stop(own, [0.0] * 6, {number: [1.0] * 6 for number in strangers})
        assert HYPERBAND.should_stop(own, [0.0] * 6, {number: [1.0] * 6 for number in rivals})


class TestMedian:
    OTHERS = against([value, value + 0.1, 0.0] for value in (0.1, 0.2, 0.3, 0.4, 0.5))

    def test_it_may_stop_after_every_epoch_from_the_first_rung_on(self):
        assert rungs(MEDIAN) == list(range(2, 10))

    @pytest.mark.parametrize(("own", "stops"), [(0.36, False), (0.34, True)])
    def test_the_best_so_far_is_held_against_the_median_of_running_averages(self, own, stops):
        assert MEDIAN.should_stop(7, [own, 0.0], self.OTHERS) is stops

    def test_fewer_than_five_others_are_not_enough(self):
        assert not MEDIAN.should_stop(7, [0.0, 0.0], dict(list(self.OTHERS.items())[:4]))

    def test_shorter_curves_do_not_count(self):
        assert not MEDIAN.should_stop(7, [0.0] * 4, self.OTHERS)

    def test_smaller_is_better_when_minimising(self):
        rule = MedianStopping(LOSS, 1, 10)
        assert rule.should_stop(7, [2.0], against([[1.0]] * 5))
        assert not rule.should_stop(7, [0.5], against([[1.0]] * 5))


class TestPatience:
    def test_it_ends_when_the_best_is_so_many_epochs_old(self):
        curve = [0.1, 0.5, 0.4, 0.5, 0.4]
        assert [PATIENCE.should_stop(7, curve[:n], {}) for n in range(1, 6)] == [False] * 4 + [True]

    def test_a_gain_in_time_lets_it_go_on(self):
        assert not PATIENCE.should_stop(7, [0.1, 0.5, 0.4, 0.4, 0.51], {})

    def test_smaller_is_better_when_minimising(self):
        assert PatienceStopping(LOSS, 2, 9).should_stop(7, [1.0, 1.1, 1.2], {})
        assert not PatienceStopping(LOSS, 2, 9).should_stop(7, [1.0, 0.9, 0.8], {})


def test_none_never_stops():
    rule = build_rule("none", 20)
    assert rungs(rule) == []


def test_the_sweep_file_sets_the_rungs():
    rule = build_rule("asha-stop", 20, first_rung=4, reduction_factor=2)
    assert rungs(rule) == [4, 8, 16]
