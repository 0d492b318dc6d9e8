"""Who gets the next epochs, without the numbers that are tuned: each scheduler runs a simulated sweep."""

import math
import random

import pytest

from galaxy_exp.config.search_section import SearchConfig
from galaxy_exp.records import Decision, Objective
from galaxy_exp.search.schedulers import (
    AshaScheduler,
    HyperbandScheduler,
    PromotionScheduler,
    StoppingScheduler,
    build_scheduler,
    no_scheduler,
)

SCORE, LOSS = Objective("score", "max"), Objective("loss", "min")
PROMOTING = ("promote", "asha", "hyperband")
EPOCHS = 20


def build(name="promote", epochs=EPOCHS, **search):
    return build_scheduler(SearchConfig(scheduler=name, **search), epochs)


class Simulation:
    """A sweep in which workers take turns, an epoch each.

    Args:
        heights: what each trial reaches; trials that rise to more are better after every epoch.
    """

    def __init__(self, scheduler, heights, workers=1, epochs=EPOCHS, sign=1.0):
        self.scheduler, self.heights, self.workers, self.epochs, self.sign = scheduler, heights, workers, epochs, sign
        self.curves, self.paused, self.running = {}, set(), []
        self.log = []

    def run(self):
        while self.step():
            pass
        return self

    def step(self):
        while len(self.running) < self.workers and (number := self.start()) is not None:
            self.running.append(number)
        if not self.running:
            return False
        number = self.running.pop(0)
        curve = self.curves[number]
        curve.append(self.sign * self.heights[number] * (1 - 0.5 ** (len(curve) + 1)))
        answer = Decision.CONTINUE
        if len(curve) < self.epochs:
            answer = self.scheduler.decide(number, self.curves, sorted(self.paused))
            if answer is Decision.CONTINUE:
                self.running.append(number)
            if answer is Decision.PAUSE:
                self.paused.add(number)
        self.log.append((number, len(curve), answer))
        return True

    def start(self):
        can_start_new = len(self.curves) < len(self.heights)
        number = self.scheduler.choose(self.curves, sorted(self.paused), can_start_new=can_start_new)
        if number is not None:
            self.paused.remove(number)
            self.log.append((number, len(self.curves[number]), "continues"))
        elif can_start_new:
            number = len(self.curves)
            self.curves[number] = []
        return number


def heights(n, seed=0):
    return random.Random(seed).sample([(rank + 1) / n for rank in range(n)], n)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", PROMOTING)
class TestEveryPromotingScheduler:
    def test_the_best_trial_is_trained_to_its_end_and_the_sweep_ends(self, name, workers):
        tall = heights(30)
        sweep = Simulation(build(name), tall, workers).run()
        assert len(sweep.curves) == 30
        assert len(sweep.curves[tall.index(1.0)]) == EPOCHS
        assert sum(map(len, sweep.curves.values())) < 30 * EPOCHS

    def test_better_trials_are_trained_longer(self, name, workers):
        tall = heights(40, seed=3)
        curves = Simulation(build(name), tall, workers).run().curves
        by_height = sorted(curves, key=lambda number: tall[number])
        worse, better = (sum(len(curves[number]) for number in half) for half in (by_height[:20], by_height[20:]))
        assert worse < better

    def test_trials_are_paused_and_never_stopped(self, name, workers):
        log = Simulation(build(name), heights(30), workers).run().log
        assert {answer for *_, answer in log} == {Decision.CONTINUE, Decision.PAUSE, "continues"}

    def test_no_epoch_is_trained_twice(self, name, workers):
        log = Simulation(build(name), heights(30), workers).run().log
        trained = [(number, epoch) for number, epoch, answer in log if answer != "continues"]
        assert len(set(trained)) == len(trained)

    def test_the_first_pause_is_not_before_the_first_decision(self, name, workers):
        scheduler = build(name, first_rung=2)
        for number, epoch, answer in Simulation(scheduler, heights(30), workers).run().log:
            if answer is Decision.PAUSE:
                assert epoch >= scheduler.first_decision(number)

    def test_smaller_is_better_when_minimising(self, name, workers):
        tall = heights(30)
        least = Simulation(build(name, objective="val_loss"), tall, workers, sign=-1.0).run()
        assert least.log == Simulation(build(name), tall, workers).run().log

    def test_trials_that_are_all_alike_come_to_an_end(self, name, workers):
        curves = Simulation(build(name), [0.5] * 12, workers).run().curves
        assert max(map(len, curves.values())) == EPOCHS

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_values_that_are_not_finite_are_no_obstacle(self, name, workers, bad):
        tall = [bad if number % 3 == 0 else height for number, height in enumerate(heights(20))]
        assert len(Simulation(build(name), tall, workers).run().curves) == 20
        assert len(Simulation(build(name), [bad] * 8, workers).run().curves) == 8

    @pytest.mark.parametrize("epochs", [1, 2, 3])
    def test_short_trainings_end(self, name, workers, epochs):
        curves = Simulation(build(name, epochs), heights(12), workers, epochs).run().curves
        assert max(map(len, curves.values())) == epochs

    def test_the_same_curves_give_the_same_answer_whenever_it_was_built(self, name, workers):
        """What a resumed sweep decides follows from the curves: every step is done by a new scheduler."""
        tall = heights(25)
        unbroken = Simulation(build(name), tall, workers).run()
        resumed = Simulation(build(name), tall, workers)
        while resumed.step():
            resumed.scheduler = build(name)
            resumed.curves = {number: list(curve) for number, curve in reversed(resumed.curves.items())}
        assert resumed.log == unbroken.log


class TestPromotion:
    def test_the_best_at_the_highest_rung_comes_first(self):
        """At both rungs more trials may continue than have."""
        scheduler = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS)
        low = {number: [0.0, 0.01 * number] for number in range(12)}
        high = {number: [0.5, 0.5, 0.5, 0.5 + 0.01 * number] for number in range(12, 24)}
        paused = set(low) | set(high)
        assert scheduler.choose(low | high, paused, can_start_new=True) == 23
        assert scheduler.choose(low | high, paused - set(high), can_start_new=True) is None  # the best are in `high`

    def test_without_paused_trials_a_new_one_starts(self):
        scheduler = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS)
        curves = {number: [0.1, 0.2] for number in range(9)}
        assert scheduler.choose(curves, (), can_start_new=True) is None
        assert scheduler.choose(curves, (), can_start_new=False) is None

    def test_the_worst_waits_and_is_not_trained_after_the_last_new_trial_either(self):
        scheduler = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS)
        curves = {number: [0.1, 0.1 * number] for number in range(9)}
        assert scheduler.choose(curves, {0}, can_start_new=True) is None
        assert scheduler.choose(curves, {0}, can_start_new=False) is None

    def test_of_equal_trials_the_earlier_continues(self):
        scheduler = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS)
        curves = {number: [0.3, 0.4] for number in range(12)}
        assert scheduler.choose(curves, set(curves), can_start_new=True) == 0

    def test_a_trial_that_was_paused_between_rungs_continues_too(self):
        scheduler = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS)
        curves = {0: [0.1, 0.2, 0.9]} | {number: [0.0, 0.1] for number in range(1, 12)}
        assert scheduler.choose(curves, {0}, can_start_new=True) == 0

    def test_the_first_rung_moves_to_the_first_epoch_if_that_tells_as_much(self):
        agreeing = {number: [0.1 * number, 0.11 * number] for number in range(10)}
        contrary = {number: [0.1 * number, 1 - 0.1 * number] for number in range(10)}
        for curves, answer in ((agreeing, Decision.PAUSE), (contrary, Decision.CONTINUE)):
            adapting = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS, adapt_first_rung=True)
            fixed = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS)
            assert adapting.decide(10, curves | {10: [0.0]}, ()) is answer
            assert fixed.decide(10, curves | {10: [0.0]}, ()) is Decision.CONTINUE

    def test_the_trials_that_show_it_are_not_paused_after_one_epoch(self):
        adapting = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS, adapt_first_rung=True)
        agreeing = {number: [0.1 * number, 0.11 * number] for number in range(9)}
        assert adapting.decide(9, agreeing | {9: [0.0]}, ()) is Decision.CONTINUE

    @pytest.mark.parametrize("name", ["promote", "asha"])
    def test_a_trial_that_was_paused_before_its_first_rung_continues_first(self, name):
        """The budget, an order, or a first rung that has moved paused it."""
        curves = {number: [0.1, 0.2, 0.3, 0.4] for number in range(12)} | {12: [0.0]}
        for can_start_new in (True, False):
            assert build(name).choose(curves, sorted(curves), can_start_new=can_start_new) == 12

    def test_without_any_rung_paused_trials_continue(self):
        assert build(epochs=2).choose({0: [0.1]}, {0}, can_start_new=True) == 0

    def test_few_trials_do_not_move_it(self):
        adapting = PromotionScheduler(SCORE, first_rung=2, epochs=EPOCHS, adapt_first_rung=True)
        assert adapting.decide(2, {0: [0.1, 0.2], 1: [0.2, 0.3], 2: [0.0]}, ()) is Decision.CONTINUE


class TestAsha:
    SCHEDULER = AshaScheduler(SCORE, first_rung=1, epochs=27, reduction_factor=3)

    @pytest.mark.parametrize("epoch", range(1, 27))
    def test_rungs_grow_by_the_factor(self, epoch):
        curves = {0: [0.0] * epoch} | {number: [1.0] * 27 for number in range(1, 9)}
        is_rung = epoch in (1, 3, 9)
        assert self.SCHEDULER.decide(0, curves, ()) is (Decision.PAUSE if is_rung else Decision.CONTINUE)

    def test_one_in_so_many_continues(self):
        curves = {number: [0.1 * number] for number in range(9)}
        continued = []
        while (number := self.SCHEDULER.choose(curves, set(curves) - set(continued), can_start_new=True)) is not None:
            continued.append(number)
        assert continued == [8, 7, 6]


class TestHyperband:
    def test_a_trial_is_compared_within_its_bracket_only(self):
        scheduler = HyperbandScheduler(SCORE, first_rung=2, reduction_factor=3, epochs=EPOCHS)
        firsts = [scheduler.first_decision(number) for number in range(200)]
        assert {2, 6, 18, None} == set(firsts)
        rivals = [number for number, first in enumerate(firsts) if first == 2][:9]
        strangers = [number for number, first in enumerate(firsts) if first == 6][:9]
        curves = {number: [0.1, 0.1 + 0.01 * number] for number in rivals}
        chosen = scheduler.choose(curves, set(curves), can_start_new=True)
        assert chosen == rivals[-1]
        assert scheduler.choose(curves | {n: [1.0] * 6 for n in strangers}, set(rivals), can_start_new=True) == chosen


class TestStopping:
    def test_a_rule_stops_and_pauses_nothing(self):
        log = Simulation(build("asha-stop"), heights(30), 3).run().log
        assert {answer for *_, answer in log} == {Decision.CONTINUE, Decision.STOP}

    def test_what_was_paused_for_another_reason_continues_after_the_last_new_trial(self):
        scheduler = no_scheduler()
        assert isinstance(scheduler, StoppingScheduler)
        assert scheduler.choose({3: [0.1], 5: [0.2]}, {5, 3}, can_start_new=True) is None
        assert scheduler.choose({3: [0.1], 5: [0.2]}, {5, 3}, can_start_new=False) == 3

    def test_none_trains_every_trial_to_its_end(self):
        curves = Simulation(build("none"), heights(6), 2).run().curves
        assert {len(curve) for curve in curves.values()} == {EPOCHS}
