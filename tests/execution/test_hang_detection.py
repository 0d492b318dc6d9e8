"""When a silent worker counts as hung."""

import pytest

from galaxy_exp.execution.hang_detection import LATER_EPOCH_SECONDS, SLOWNESS, HangDetector


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def detector(clock):
    return HangDetector(clock=clock)


def is_hung_after(detector, clock, seconds):
    clock.now += seconds
    return bool(detector.hung_trials())


def test_a_first_epoch_has_time_to_start(detector, clock):
    detector.watch(0)
    assert not is_hung_after(detector, clock, 600)
    assert is_hung_after(detector, clock, 1)
    assert detector.hung_trials() == {
        0: "hung: no report for 601 s, the limit is 600 s for a first epoch (execution.first_epoch_minutes)"
    }


def test_how_long_that_is_can_be_said(clock):
    detector = HangDetector(3600, clock=clock)
    detector.watch(0)
    assert not is_hung_after(detector, clock, 3600)
    assert is_hung_after(detector, clock, 1)


def test_a_first_epoch_is_compared_with_those_of_other_trials(detector, clock):
    detector.watch(0)
    clock.now += 500
    detector.note_report(0)
    detector.forget(0)
    detector.watch(1)
    assert not is_hung_after(detector, clock, 500 * SLOWNESS)
    assert is_hung_after(detector, clock, 1)


def test_later_epochs_are_compared_with_the_trial_itself(detector, clock):
    for number, seconds in ((0, 2), (1, 30)):
        detector.watch(number)
        clock.now += seconds
        detector.note_report(number)
        detector.forget(1 - number)
    assert not is_hung_after(detector, clock, 30 * SLOWNESS)
    assert is_hung_after(detector, clock, 1)


def test_short_epochs_are_not_judged_by_moments(detector, clock):
    detector.watch(0)
    clock.now += 0.01
    detector.note_report(0)
    assert not is_hung_after(detector, clock, LATER_EPOCH_SECONDS)
    assert is_hung_after(detector, clock, 1)


def test_a_trial_that_ended_is_never_overdue(detector, clock):
    detector.watch(0)
    detector.forget(0)
    detector.note_report(0)
    assert not is_hung_after(detector, clock, 1e9)


def test_while_the_driver_stood_still_no_trial_hung(detector, clock):
    detector.watch(0)
    detector.note_report(0)
    detector.note_alive()
    clock.now += 3600
    detector.note_alive()
    assert not is_hung_after(detector, clock, LATER_EPOCH_SECONDS)
    detector.note_report(0)  # after an epoch of 60 s
    assert not is_hung_after(detector, clock, 60 * SLOWNESS)
    assert is_hung_after(detector, clock, 1)
